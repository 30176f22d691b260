"""Two processes on the CPU, by each of Lightning's ways to start them."""

from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BasePredictionWriter,
    EarlyStopping,
    ModelCheckpoint,
)

from emoji_gpt2 import EmojiGPT2
from tests.invariant.uses.harness import (
    expect,
    expect_close,
    expect_equal,
    expect_same_weights,
    use,
)
from tests.invariant.uses.judge import expect_right, fits, row
from tests.invariant.uses.tiny import (
    new_data,
    new_model,
    new_trainer,
    ready_data,
    rows,
    trained,
    weights,
    write_prompts,
    write_table,
)

FORK: dict[str, Any] = {"devices": 2, "strategy": "ddp_fork"}
ODD, SMALL = {"batch_size": 15}, {"batch_size": 8}

ROWS = {
    "loaders_on_two": row(
        data=partial(ready_data, **ODD),
        loaders=lambda data: (data.train_dataloader(), data.val_dataloader()),
        **FORK,
    ),
    "ddp_spawn": row(devices=2, strategy="ddp_spawn"),
    "find_unused_parameters": row(devices=2, strategy="ddp_fork_find_unused_parameters_true"),
    "use_distributed_sampler_on_two": row(
        data=ODD,
        use_distributed_sampler=False,
        same=lambda: trained(data=new_data(**ODD), **FORK),
        **FORK,
    ),
    "accumulate_on_two": row(8, data={"batch_size": 7}, accumulate_grad_batches=3, **FORK),
    "accumulate_cut_by_limit_on_two": row(
        4, data=SMALL, accumulate_grad_batches=2, limit_train_batches=3, **FORK
    ),
    "clip_on_two": row(
        10, data=SMALL, gradient_clip_val=0.01, accumulate_grad_batches=2, clip=0.01, **FORK
    ),
    "rank_without_rows": row(4, data={"batch_size": 1}, max_steps=4, **FORK),
    "bf16_on_two": row(
        data=SMALL, precision="bf16-mixed", accumulate_grad_batches=2, tolerance=0.05, **FORK
    ),
    "early_stopping_on_two": row(
        10,
        callbacks=lambda: [EarlyStopping("val/loss", patience=1, min_delta=10.0)],
        max_epochs=8,
        planned=40,
        **FORK,
    ),
}
fits(__name__, ROWS)


@use
def ddp_notebook() -> str:
    """strategy="ddp_notebook": validate, save_checkpoint and a second fit go on from the end."""
    fit = trained(devices=2, strategy="ddp_notebook")
    seen = expect_right(fit)
    loaded = EmojiGPT2.load_from_checkpoint(fit.saved(), map_location="cpu")
    expect_same_weights(weights(loaded), fit.weights)
    (found,) = new_trainer().validate(fit.module, datamodule=new_data())
    expect_close(found["val/loss"], fit.value("val/loss"), "val/loss of validate")
    again = trained(fit.module, devices=2, strategy="ddp_notebook")
    first, later = fit.watch.logged_losses[0], again.watch.logged_losses[0]
    expect(later < first - 0.5, f"train/loss began with {first}, the second fit with {later}")
    return f"{seen}; train/loss begins with {first:.2f}, then {later:.2f}"


@use
def validation_on_two() -> str:
    """Validate and test on two ranks, of 1 and 101 rows: the metrics of one process."""
    module, losses = new_model(), set()
    for count in (1, 101):
        path = write_table(rows(count), f"{count}.csv")
        data = {"val_path": path, "test_path": path, "batch_size": 5}
        found = []
        for options in (FORK, {}):
            trainer = new_trainer(**options)
            found += trainer.validate(module, datamodule=new_data(**data))
            found += trainer.test(module, datamodule=new_data(**data))
        two, one = found[0] | found[1], found[2] | found[3]
        expect_close([two[name] for name in one], list(one.values()), f"{count} rows", 1e-6)
        losses.add(found[0]["val/loss"])
    expect_equal(len(losses), 2, "different losses")
    return f"{sorted(losses)}"


def best_tokens(predictions: Any) -> list[int]:
    return [int(ids[0]) for batch in predictions for ids in batch[0]]


class Writer(BasePredictionWriter):
    """Writes down each rank's best emoji."""

    def write_on_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, predictions: Any, indices: Any
    ) -> None:
        torch.save(best_tokens(predictions), f"rank{trainer.global_rank}.pt")


@use
def predict_on_two() -> str:
    """Trainer.predict on two ranks, BasePredictionWriter: each text once, as on one process."""
    module, writer = new_model(), Writer(write_interval="epoch")
    write_prompts()
    data = new_data(predict_path="prompts.csv", batch_size=4)
    trainer = new_trainer(callbacks=[writer], **FORK)
    trainer.predict(module, datamodule=data, return_predictions=False)
    both = [token for rank in range(2) for token in torch.load(f"rank{rank}.pt")]
    alone = new_trainer().predict(module, datamodule=new_data(predict_path="prompts.csv"))
    expect_equal(sorted(both), sorted(best_tokens(alone)), "best emoji of all texts")
    return f"{len(both)} texts"


@use
def checkpoint_of_two() -> str:
    """A ModelCheckpoint of two ranks: it loads, and one process goes on with it."""
    fit = trained(callbacks=[ModelCheckpoint(".", "kept")], **FORK)
    loaded = EmojiGPT2.load_from_checkpoint("kept.ckpt", map_location="cpu")
    expect_same_weights(weights(loaded), fit.weights)
    rest = trained(ckpt_path="kept.ckpt", max_epochs=3)
    expect_equal(rest.watch.batches[0].epoch, 2, "epoch that it goes on with")
    return expect_right(rest, 15, first=10)
