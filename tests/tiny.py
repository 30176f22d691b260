"""A tiny model, a small table, a trainer that says nothing, and a callback that looks at the steps.

watch = Watch()
trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=[watch])
trainer.fit(tiny_model(), tiny_data(small_csv))
assert watch.rates[0] == pytest.approx(0.01 / 3)
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from emoji_gpt2.batch import Batch
from emoji_gpt2.data.datamodule import EmojiDataModule
from emoji_gpt2.model.module import EmojiGPT2
from emoji_gpt2.tokenizer import encode_texts

TINY: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 16}
RATE, WARMUP = 0.01, 2
FAST: dict[str, Any] = {
    "config": TINY,
    "dropout": 0.0,
    "learning_rate": RATE,
    "warmup_steps": WARMUP,
}

Row = tuple[int, ...]

NO_VALIDATION = [  # most tests train without it
    pytest.mark.filterwarnings(
        "ignore:You defined a .validation_step. but have no .val_dataloader.:UserWarning"
    ),
    # Lightning 2.6 sees no difference between no rows on purpose and by mistake
    pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero:UserWarning"),
]
_encoded: dict[Any, list[list[int]]] = {}


def encode_texts_once(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """``encode_texts`` in its place: each new model would spend a second on the descriptions."""
    key = (len(tokenizer), tuple(texts))
    if key not in _encoded:
        _encoded[key] = encode_texts(tokenizer, texts)
    return _encoded[key]


def tiny_model(kind: type[EmojiGPT2] = EmojiGPT2, **options: Any) -> EmojiGPT2:
    """A model of one layer, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(**FAST | options)


def tiny_data(table: Path, **options: Any) -> EmojiDataModule:
    """All of a table's rows in batches of 8, nothing held out; the cache is beside the table."""
    plain = {"batch_size": 8, "val_fraction": 0, "test_fraction": 0}
    cache = str(table.parent / "cache")
    return EmojiDataModule(**{"path": str(table), "cache_dir": cache} | plain | options)


def ready(data: EmojiDataModule, stage: str | None = "fit") -> EmojiDataModule:
    """The data module, prepared and set up by hand."""
    data.prepare_data()
    data.setup(stage)  # type: ignore[arg-type]
    return data


def quiet_trainer(folder: Path, **options: Any) -> Trainer:
    quiet = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
    }
    return Trainer(**quiet | options)


class Watch(Callback):
    """What each micro-batch was: its rows, its optimizer step and its rate; what it returned.

    Attributes:
        rows: The token ids of each row, as tuples.
        steps: ``trainer.global_step`` before it.
        rates: The learning rate of the first parameter group.
        outputs: The loss that Lightning hands to callbacks.
        losses: ``train/loss`` as logged, by optimizer step.
    """

    def __init__(self) -> None:
        self.rows: list[list[Row]] = []
        self.steps: list[int] = []
        self.rates: list[float] = []
        self.outputs: list[float] = []
        self.losses: dict[int, float] = {}

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self.rows.append(rows_of(batch))
        self.steps.append(trainer.global_step)
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.outputs.append(float(outputs["loss"]))
        if trainer.global_step > self.steps[-1] and "train/loss" in trainer.callback_metrics:
            self.losses[trainer.global_step] = float(trainer.callback_metrics["train/loss"])

    @property
    def rate_of_step(self) -> dict[int, float]:
        """The learning rate that each optimizer step was taken with."""
        return dict(zip(self.steps, self.rates, strict=True))


def rows_of(batch: Batch) -> list[Row]:
    """The token ids of each row of a batch, without its filling."""
    labels = torch.full((batch.ids_BT.numel(),), -1)
    labels[batch.positions_N] = batch.labels_N
    rows = []
    for ids, wanted in zip(batch.ids_BT, labels.view_as(batch.ids_BT), strict=True):
        last = int(torch.nonzero(wanted >= 0).max()) if (wanted >= 0).any() else -1
        rows.append((*ids[: last + 1].tolist(), *wanted[last : last + 1].tolist()))
    return rows[: len(batch.first_B)]


def weights(module: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters."""
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    """Whether all parameters are the same to the last digit."""
    return ours.keys() == theirs.keys() and all(ours[n].equal(theirs[n]) for n in ours)


def epoch_of(data: EmojiDataModule) -> list[list[Row]]:
    """The rows of each batch of the first epoch, as a loader gives them that has no trainer."""
    return [rows_of(batch) for batch in ready(data).train_dataloader()]


def all_rows(rows: Iterable[list[Row]]) -> list[Row]:
    """The rows of some batches, in one sorted list."""
    return sorted(row for batch in rows for row in batch)
