"""Callbacks of Lightning that change parameter groups and steps, also in a run that goes on."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    GradientAccumulationScheduler,
    ModelCheckpoint,
)
from torch import Tensor
from torch.optim import Optimizer

from emoji_gpt2.data.datamodule import EmojiDataModule
from emoji_gpt2.model.module import EmojiGPT2
from emoji_gpt2.model.optim import warmup_cosine
from tests.tiny import (
    NO_VALIDATION,
    RATE,
    WARMUP,
    Watch,
    quiet_trainer,
    same,
    tiny_data,
    tiny_model,
    weights,
)

pytestmark = [
    *NO_VALIDATION,
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning"),
    # Lightning's word for a hook that is a call per step, as it should be
    pytest.mark.filterwarnings(
        "ignore:When using `Trainer.accumulate_grad_batches != 1.` and overriding:UserWarning"
    ),
]
STEPS = 5
"""Of an epoch of ``small_csv``, 40 rows in batches of 8."""


def fit(
    model: EmojiGPT2, data: EmojiDataModule, folder: Path, *callbacks: Callback, **options: Any
) -> tuple[Trainer, Watch]:
    """Train, and look at each step."""
    ckpt_path = options.pop("ckpt_path", None)
    watch = Watch()
    trainer = quiet_trainer(folder, callbacks=[*callbacks, watch], **options)
    trainer.fit(model, data, ckpt_path=ckpt_path)
    return trainer, watch


def rates(rate: float, steps: range, total: int) -> list[float]:
    return [rate * warmup_cosine(step, WARMUP, total) for step in steps]


class LateBlocks(BaseFinetuning):
    """GPT-2's blocks are trained from the second epoch on, at a tenth of the rate."""

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        self.freeze(pl_module.model.transformer.h)

    def finetune_function(
        self, pl_module: LightningModule, epoch: int, optimizer: Optimizer
    ) -> None:
        if epoch == 1:
            blocks = pl_module.model.transformer.h
            self.unfreeze_and_add_param_group(blocks, optimizer, lr=RATE / 10)


class BlocksAtEpochs(Callback):
    def __init__(self) -> None:
        self.kept: list[dict[str, Tensor]] = []
        self.rates: list[list[float]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.kept.append(weights(pl_module.model.transformer.h))

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.kept.append(weights(pl_module.model.transformer.h))


def test_finetuning_freezes_blocks_and_unfreezes_them_later(
    small_csv: Path, tmp_path: Path
) -> None:
    model, blocks = tiny_model(), BlocksAtEpochs()
    saved = ModelCheckpoint(tmp_path / "kept", save_top_k=-1, every_n_train_steps=7)
    fit(model, tiny_data(small_csv), tmp_path, LateBlocks(), blocks, saved, max_epochs=2,
        enable_checkpointing=True)  # fmt: skip
    begin, after_one, after_two = blocks.kept
    assert same(begin, after_one)
    assert all(not after_two[name].equal(value) for name, value in begin.items())
    assert [len(groups) for groups in blocks.rates] == [2] * STEPS + [3] * STEPS
    whole = rates(RATE, range(2 * STEPS), 2 * STEPS)
    assert [groups[0] for groups in blocks.rates] == pytest.approx(whole)

    (path,) = (tmp_path / "kept").glob("*step=7.ckpt")
    go_on = BlocksAtEpochs()
    fit(
        tiny_model(),
        tiny_data(small_csv),
        tmp_path,
        LateBlocks(),
        go_on,
        max_epochs=2,
        ckpt_path=path,
    )
    torch.testing.assert_close(torch.tensor(go_on.rates), torch.tensor(blocks.rates[7:]))


# Accumulation


def test_an_accumulation_scheduler_s_run_ends_at_rate_0_and_can_be_gone_on_from(
    small_csv: Path, tmp_path: Path
) -> None:
    """Epochs of 5, 2 (of 3 and 2 batches) and 2 optimizer steps."""

    def scheduler() -> GradientAccumulationScheduler:
        return GradientAccumulationScheduler({0: 1, 1: 3})

    kept = tmp_path / "kept"
    saved = ModelCheckpoint(kept, filename="{step}", save_top_k=-1, every_n_train_steps=1)
    trainer, watch = fit(tiny_model(), tiny_data(small_csv), tmp_path, scheduler(), saved,
                         max_epochs=3, enable_checkpointing=True)  # fmt: skip
    assert trainer.global_step == 9
    assert watch.steps == [0, 1, 2, 3, 4, *[5] * 3, *[6] * 2, *[7] * 3, *[8] * 2]
    assert [watch.rate_of_step[step] for step in range(9)] == pytest.approx(
        rates(RATE, range(9), 9)
    )
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0
    for step in (2, 6):  # before the change, and within an epoch after it
        options = {"max_epochs": 3, "ckpt_path": kept / f"step={step}.ckpt"}
        again, rest = fit(tiny_model(), tiny_data(small_csv), tmp_path, scheduler(), **options)
        assert again.global_step == 9
        assert rest.steps == watch.steps[-len(rest.steps) :]
        assert rest.rates == pytest.approx(watch.rates[-len(rest.rates) :])
        assert rest.rows == watch.rows[-len(rest.rows) :]
        assert again.optimizers[0].param_groups[0]["lr"] == 0
