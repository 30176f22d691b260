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

from emoji_gpt2 import EmojiDataModule, EmojiGPT2, EmojiTable
from tests.invariant.uses.watch import Watch

TINY = {"n_layer": 1, "n_head": 2, "n_embd": 16}
ROWS = 96
MODEL: dict[str, Any] = {
    "config": TINY,
    "dropout": 0.0,
    "learning_rate": 0.01,
    "warmup_steps": 2,
}
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


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


def kaggle_table() -> str:
    """Write a table of one text per emoji, which is validated on built-in keywords."""
    table = EmojiTable.builtin()
    pairs = [(one, table.name(one)) for one in emojis(120)]
    return write_table(pairs, "kaggle.csv", "emoji,name")


def new_data(kind: type[EmojiDataModule] = EmojiDataModule, **arguments: Any) -> EmojiDataModule:
    """Return a data module of the small table: 96 rows, of which some 60 train, by 16."""
    defaults = {"batch_size": 16, "cache_dir": "../cache", "val_fraction": 0.2}
    if "path" not in arguments:
        arguments["path"] = write_table(rows())
    return kind(**defaults | arguments)


def ready_data(**arguments: Any) -> EmojiDataModule:
    """Return a data module whose rows are there, outside of any trainer."""
    data = new_data(**arguments)
    data.prepare_data()
    data.setup("fit")
    return data


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


@dataclass
class Fit:
    """A training that is done.

    Args:
        trainer: That trained.
        module: That was trained.
        data: That it was trained on.
        watch: What was seen meanwhile.
    """

    trainer: Trainer
    module: EmojiGPT2
    data: EmojiDataModule
    watch: Watch

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """The network's weights."""
        return weights(self.module)

    def value(self, name: str) -> float:
        """A metric that callbacks see."""
        return float(self.trainer.callback_metrics[name])


def trained(
    module: EmojiGPT2 | None = None,
    data: EmojiDataModule | None = None,
    callbacks: Iterable[Callback] = (),
    ckpt_path: str | None = None,
    **options: Any,
) -> Fit:
    """Train a tiny model on the small table with these options of the trainer."""
    watch = Watch()
    trainer = new_trainer(callbacks=[*callbacks, watch], **options)
    module = module or new_model()
    data = data or new_data()
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return Fit(trainer, module, data, watch)


def weights(module: EmojiGPT2) -> dict[str, torch.Tensor]:
    """Return a copy of the network's weights."""
    return {name: tensor.clone() for name, tensor in module.model.state_dict().items()}


def files(folder: str | Path = ".", pattern: str = "*.ckpt") -> list[str]:
    """Return the names of the files below a folder."""
    found = (path for path in Path(folder).rglob(pattern) if path.is_file() or path.is_symlink())
    return sorted(str(path.relative_to(folder)) for path in found)


def read_csv(path: str | Path) -> list[dict[str, str]]:
    """Return the rows of a CSV."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def logged(path: str | Path, name: str) -> dict[int, float]:
    """Return a metric of a metrics.csv by step."""
    return {int(r["step"]): float(r[name]) for r in read_csv(path) if r.get(name)}


def load(path: str | Path) -> dict[str, Any]:
    """Return a checkpoint's content: tensors and plain values."""
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content
