"""What the uses work with: a small table, a tiny model, a quiet trainer, and a fit of the three.

fit = trained(max_steps=3, accumulate_grad_batches=2)
fit.watch.steps, fit.module, fit.trainer, fit.data
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger

from emoji_gpt2 import EmojiDataModule, EmojiGPT2, EmojiTable
from tests.cli_runs import load, read_csv
from tests.invariant.uses.harness import Weights
from tests.invariant.uses.watch import Watch, saved_watches
from tests.tiny import FAST as MODEL
from tests.tiny import TINY

ROWS = 96
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
__all__ = ["TINY", "load"]


def emojis(count: int = 24) -> list[str]:
    """Return some emoji without skin tones."""
    table = EmojiTable.builtin()
    return [one for one in table if not table.tones(one)][:count]


def rows(count: int = ROWS) -> list[tuple[str, str]]:
    """Return texts of 2 to 6 words, each with one to three emoji."""
    emoji = emojis()
    return [
        (
            "word " * (number % 5) + f"thing {number}",
            "".join(emoji[(number + k) % len(emoji)] for k in range(1 + number % 3)),
        )
        for number in range(count)
    ]


def write_table(
    pairs: Iterable[tuple[str, str]], path: str = "table.csv", header: str = "text,emoji"
) -> str:
    """Write a CSV of texts and emoji."""
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header.split(","), *pairs])
    return path


def write_prompts(count: int = 21) -> list[str]:
    """Write prompts.csv, and return its texts."""
    texts = [text for text, _ in rows(count)]
    Path("prompts.csv").write_text("\n".join(["text", *texts]) + "\n", encoding="utf-8")
    return texts


def kaggle_table() -> str:
    """Write a table of one text per emoji, which is validated on built-in keywords."""
    table = EmojiTable.builtin()
    pairs = [(one, table.name(one)) for one in emojis(120)]
    return write_table(pairs, "kaggle.csv", "emoji,name")


def new_data(kind: type[EmojiDataModule] = EmojiDataModule, **arguments: Any) -> EmojiDataModule:
    """Return a data module of the small table: 96 rows, of which some 70 train, by 16."""
    defaults = {"batch_size": 16, "cache_dir": "../cache", "val_fraction": 0.2}
    if "path" not in arguments:
        arguments["path"] = write_table(rows())
    return kind(**defaults | arguments)


def ready(data: EmojiDataModule) -> EmojiDataModule:
    """Set the rows of a data module up, outside of any trainer."""
    data.prepare_data()
    data.setup("fit")
    return data


def ready_data(**arguments: Any) -> EmojiDataModule:
    return ready(new_data(**arguments))


def larger_data(**arguments: Any) -> EmojiDataModule:
    """Return a data module of so many rows that an epoch has 50 batches and more."""
    return new_data(path=write_table(rows(1_000), "larger.csv"), **arguments)


def new_model(kind: type[EmojiGPT2] = EmojiGPT2, **arguments: Any) -> EmojiGPT2:
    """Return a tiny model, the same each time."""
    torch.manual_seed(0)
    return kind(**MODEL | arguments)


def new_trainer(**options: Any) -> Trainer:
    """Return a trainer that says and writes nothing unless asked to."""
    if any("Checkpoint" in type(one).__name__ for one in options.get("callbacks", ())):
        options = {"enable_checkpointing": True} | options
    return Trainer(**QUIET | {"max_epochs": 2} | options)


def csv_logger() -> CSVLogger:
    """Return a logger that writes metrics.csv here."""
    return CSVLogger(".", name="", version="")


@dataclass
class Fit:
    """A training that is done, and what each process saw meanwhile."""

    trainer: Trainer
    module: EmojiGPT2
    data: EmojiDataModule
    watches: list[Watch]

    @property
    def watch(self) -> Watch:
        return self.watches[0]

    @property
    def weights(self) -> Weights:
        return weights(self.module)

    def value(self, name: str) -> float:
        return float(self.trainer.callback_metrics[name])

    def saved(self, path: str = "a.ckpt") -> str:
        """Write a checkpoint, and return its path."""
        self.trainer.save_checkpoint(path)
        return path


def trained(
    module: EmojiGPT2 | None = None,
    data: EmojiDataModule | None = None,
    callbacks: Iterable[Callback] = (),
    ckpt_path: str | None = None,
    loaders: Iterable[Any] = (),
    **options: Any,
) -> Fit:
    """Train a tiny model on the small table, or its ``loaders``, with options of the trainer."""
    two = options.get("devices") == 2
    watch = Watch(save="watch" if two else None)
    trainer = new_trainer(callbacks=[*callbacks, watch], **options)
    module, data = module or new_model(), data or new_data()
    rows = tuple(loaders) or (None, None, data)
    trainer.fit(module, *rows, ckpt_path=ckpt_path)
    return Fit(trainer, module, data, saved_watches("watch") if two else [watch])


def weights(module: EmojiGPT2) -> Weights:
    """Return a copy of the network's weights."""
    return {name: tensor.clone() for name, tensor in module.model.state_dict().items()}


def files(folder: str | Path = ".", pattern: str = "*.ckpt") -> list[str]:
    """Return the names of the files below a folder."""
    found = (path for path in Path(folder).rglob(pattern) if path.is_file() or path.is_symlink())
    return sorted(str(path.relative_to(folder)) for path in found)


def logged(name: str, path: str | Path = "metrics.csv") -> dict[int, float]:
    """Return a metric of a metrics.csv by step."""
    return {int(r["step"]): float(r[name]) for r in read_csv(path) if r.get(name)}
