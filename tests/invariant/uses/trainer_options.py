"""The Trainer's options, one process."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import (
    DeviceStatsMonitor,
    EarlyStopping,
    RichModelSummary,
    RichProgressBar,
)

from tests.invariant.uses.harness import (
    expect,
    expect_close,
    expect_equal,
    expect_same_weights,
    use,
)
from tests.invariant.uses.judge import WTE, fits, row
from tests.invariant.uses.tiny import (
    Fit,
    csv_logger,
    files,
    logged,
    new_data,
    new_model,
    trained,
    weights,
)
from tests.invariant.uses.watch import Watch

SMALL = {"batch_size": 8}
"""9 batches an epoch; the 16 of `new_data` are 5."""
BF16 = {"precision": "bf16-mixed"}


def small() -> Any:
    return new_data(**SMALL)


def content() -> list[Callback]:
    return [EarlyStopping("val/loss", stopping_threshold=100.0)]


def learns(fit: Fit, by: float = 1.0) -> str:
    first, last = fit.watch.logged_losses[0], fit.watch.logged_losses[-1]
    expect(last < first - by, f"train/loss went from {first} to {last}")
    return f"train/loss {first:.2f} to {last:.2f}"


def of_type(fit: Fit, dtype: torch.dtype) -> str:
    expect_equal({p.dtype for p in fit.watch.epoch_ends[-1].values()}, {dtype}, "weights")
    return learns(fit, by=0.5)


def nothing_written(_fit: Fit) -> None:
    expect_equal([f for f in files(pattern="*") if "std" not in f], ["table.csv"], "files")


def in_metrics_csv(fit: Fit, every: int) -> str:
    """Expect train/loss of each step and val/mrr, as the watch has them, at the right steps."""
    losses = {step: fit.watch.micros(step)[-1].logged for step in range(fit.trainer.global_step)}
    found, wanted = logged("train/loss"), list(losses.items())[every - 1 :: every]
    expect_equal(list(found), [step for step, _ in wanted], "steps of train/loss")
    expect_close(list(found.values()), [loss for _, loss in wanted], "train/loss", 1e-6)
    values = {one["step"] - 1: one["val/mrr"] for one in fit.watch.validations}
    expect_equal(list(logged("val/mrr")), list(values), "steps of val/mrr")
    expect_close(list(logged("val/mrr").values()), list(values.values()), "val/mrr", 1e-6)
    return f"losses of steps {list(found)}"


def in_hparams_yaml(_fit: Fit) -> str:
    import yaml

    found = yaml.safe_load(Path("hparams.yaml").read_text(encoding="utf-8"))
    names = ("learning_rate", "batch_size", "seed")
    expect_equal([found.get(name) for name in names], [0.0123, 16, 5], "hyper-parameters")
    return f"{len(found)} values"


def in_the_bar(fit: Fit) -> str:
    shown = fit.trainer.progress_bar_metrics
    expect_close(shown["train/loss"], fit.watch.logged_losses[-1], "train/loss", 1e-2)
    expect_close(shown["val/loss"], fit.value("val/loss"), "val/loss", 1e-2)
    text = "".join(Path(f"std{name}.txt").read_text(encoding="utf-8") for name in ("out", "err"))
    expect("train/loss" in text, "no train/loss in the bar")
    return f"{sorted(shown)}"


def double(fit: Fit) -> str:
    """Expect weights, logits and loss in float64, and a loss that is right to 12 digits."""
    batch, step = fit.watch.window(1)[0], fit.watch.steps[1]
    fit.module.double()
    logits = fit.module(batch.ids_BT, batch.positions_N)
    nats = -logits.log_softmax(1)[range(len(logits)), fit.module.candidate_index[batch.labels_N]]
    sums, tokens = fit.module.loss(logits, batch)
    types = {step.before[WTE].dtype, logits.dtype, sums.dtype}
    expect_equal(types, {torch.float64}, "types")
    expect_close(sums, nats.sum(), "loss", 1e-12)
    return f"{float(sums) / int(tokens):.9f}"


@use
def limit_train_batches_zero() -> str:
    """limit_train_batches=0: nothing is trained."""
    expect_same_weights(trained(limit_train_batches=0).weights, weights(new_model()))
    return "the weights stay"


@use
def barebones() -> str:
    """barebones=True: the same weights as without validation, nothing written."""
    module, watch = new_model(), Watch()
    trainer = Trainer(accelerator="cpu", barebones=True, max_epochs=2, callbacks=[watch])
    trainer.fit(module, datamodule=new_data())
    expect_same_weights(weights(module), trained(limit_val_batches=0).weights)
    expect_equal(files(), [], "checkpoints")
    return "the same weights"


ROWS = {
    "plain_fit": row(15, max_epochs=3, also=learns),
    "accumulate_grad_batches": row(6, data=SMALL, accumulate_grad_batches=4),
    "accumulate_cut_by_limit": row(
        6, data=SMALL, accumulate_grad_batches=2, limit_train_batches=3, max_epochs=3
    ),
    "accumulate_cut_by_max_steps": row(3, data=SMALL, accumulate_grad_batches=2, max_steps=3),
    "accumulate_with_validation_within": row(
        6,
        data=SMALL,
        accumulate_grad_batches=3,
        val_check_interval=2,
        validations=[0, 1, 2, 2, 3, 4, 5, 5],
        same=lambda: trained(data=small(), accumulate_grad_batches=3, limit_val_batches=0),
    ),
    "gradient_clip_val": row(gradient_clip_val=0.01, clip=0.01),
    "gradient_clip_val_above": row(data=SMALL, gradient_clip_val=1000.0, accumulate_grad_batches=2),
    "gradient_clip_with_accumulation": row(
        6, data=SMALL, gradient_clip_val=0.01, accumulate_grad_batches=3, clip=0.01
    ),
    "gradient_clip_algorithm": row(
        gradient_clip_val=0.0001, gradient_clip_algorithm="value", clip=1e-4, clip_by="value"
    ),
    "clip_in_bf16": row(4, gradient_clip_val=0.01, max_steps=4, clip=0.01, tolerance=0.05, **BF16),
    "clip_batches_of_one_row": row(
        6, data={"batch_size": 1}, gradient_clip_val=0.5, max_steps=6, clip=0.5
    ),
    "max_steps": row(7, max_steps=7, max_epochs=-1),
    "max_epochs_and_max_steps": row(8, max_epochs=5, max_steps=8),
    "max_epochs_with_accumulation": row(9, data=SMALL, max_epochs=3, accumulate_grad_batches=3),
    "no_planned_end": row(
        None, max_epochs=-1, max_time={"seconds": 1}, planned=None, validations=None
    ),
    "min_epochs": row(15, min_epochs=3, max_epochs=6, callbacks=content, planned=30),
    "limit_train_batches": row(6, limit_train_batches=2, max_epochs=3),
    "limit_train_batches_share": row(4, limit_train_batches=0.5),
    "limit_val_batches": row(limit_val_batches=1),
    "limit_val_batches_zero": row(limit_val_batches=0, validations=[], same=trained),
    "val_check_interval": row(val_check_interval=2, validations=[2, 4, 7, 9]),
    "val_check_interval_across_epochs": row(
        20,
        check_val_every_n_epoch=None,
        val_check_interval=3,
        max_epochs=4,
        validations=[3, 6, 9, 12, 15, 18],
    ),
    "check_val_every_n_epoch": row(
        20, check_val_every_n_epoch=2, max_epochs=4, validations=[10, 20]
    ),
    "overfit_batches": row(
        40,
        overfit_batches=1,
        max_epochs=40,
        model={"learning_rate": 0.03},
        rate=(0.03, 2),
        fixed=True,
        also=partial(learns, by=6.6),
    ),
    "overfit_batches_share": row(6, overfit_batches=0.5, max_epochs=3, fixed=True),
    "overfit_batches_with_accumulation": row(
        4, data=SMALL, overfit_batches=3, accumulate_grad_batches=2, fixed=True
    ),
    "fast_dev_run": row(
        3, fast_dev_run=3, logger=True, enable_checkpointing=True, also=nothing_written
    ),
    "num_sanity_val_steps": row(
        num_sanity_val_steps=-1,
        model={"dropout": 0.3},
        same=lambda: trained(new_model(dropout=0.3), num_sanity_val_steps=0),
    ),
    "precision_bf16_mixed": row(tolerance=0.05, also=partial(of_type, dtype=torch.float32), **BF16),
    "precision_bf16_true": row(
        20,
        precision="bf16-true",
        max_epochs=4,
        tolerance=0.1,
        most=3,
        also=partial(of_type, dtype=torch.bfloat16),
    ),
    "precision_16_on_cpu": row(precision="16-mixed", tolerance=0.05, same=lambda: trained(**BF16)),
    "bystanders": row(
        detect_anomaly=True,
        deterministic=True,
        profiler="simple",
        devices="auto",
        precision="32-true",
        use_distributed_sampler=False,
        enable_model_summary=True,
        enable_progress_bar=True,
        enable_autolog_hparams=False,
        logger=csv_logger(),
        callbacks=lambda: [RichProgressBar(), RichModelSummary(), DeviceStatsMonitor()],
        same=trained,
    ),
    "reload_dataloaders": row(
        15, reload_dataloaders_every_n_epochs=1, max_epochs=3, same=lambda: trained(max_epochs=3)
    ),
    "num_workers": row(
        15, data={"num_workers": 2}, max_epochs=3, same=lambda: trained(max_epochs=3)
    ),
    "csv_logger": row(
        15,
        log_every_n_steps=3,
        max_epochs=3,
        logger=csv_logger(),
        also=partial(in_metrics_csv, every=3),
    ),
    "csv_logger_with_accumulation": row(
        6,
        data=SMALL,
        log_every_n_steps=1,
        accumulate_grad_batches=3,
        logger=csv_logger(),
        also=partial(in_metrics_csv, every=1),
    ),
    "hparams_yaml": row(
        data={"seed": 5},
        logger=csv_logger(),
        model={"learning_rate": 0.0123},
        rate=(0.0123, 2),
        also=in_hparams_yaml,
    ),
    "progress_bar": row(enable_progress_bar=True, num_sanity_val_steps=0, also=in_the_bar),
    "precision_64_true": row(2, precision="64-true", max_steps=2, also=double),
}
fits(__name__, ROWS)
