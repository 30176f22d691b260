"""Mistakes on the command line: one line, exit status 2, and the corrected command runs there."""

from pathlib import Path

from tests.invariant.uses.commands import (
    DATA,
    OUT,
    TRAINER,
    expect_one_line,
    fit,
    fit_words,
    refused_by,
    run,
)
from tests.invariant.uses.harness import use


@use
def wrong_val_check_interval() -> str:
    """--trainer.val_check_interval 25, beyond the epoch."""
    return refused_by("--trainer.val_check_interval=25", about="val_check_interval")


@use
def wrong_val_check_interval_zero() -> str:
    """--trainer.val_check_interval 0."""
    return refused_by("--trainer.val_check_interval=0", about="val_check_interval")


@use
def wrong_check_val_every_n_epoch() -> str:
    """--trainer.check_val_every_n_epoch 0."""
    return refused_by("--trainer.check_val_every_n_epoch=0", about="check_val_every_n_epoch")


@use
def wrong_early_stopping() -> str:
    """EarlyStopping on a metric that is not there."""
    words = ("--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val/accuracy")
    return refused_by(*words, about="val/accuracy")


@use
def wrong_monitor() -> str:
    """--checkpoint.monitor with a metric that is not there."""
    return refused_by("--checkpoint.monitor=val/accuracy", about="val/accuracy")


@use
def wrong_mode() -> str:
    """--checkpoint.mode highest."""
    return refused_by("--checkpoint.mode=highest", about="mode")


@use
def wrong_flag() -> str:
    """--trainer.max_epoch, a misspelt flag."""
    return refused_by("--trainer.max_epoch=3", about="max_epoch")


@use
def wrong_type() -> str:
    """--trainer.max_epochs many."""
    return refused_by("--trainer.max_epochs=many", about="max_epochs")


@use
def wrong_config_field() -> str:
    """--model.config.n_layers, a misspelt field."""
    return refused_by("--model.config.n_layers=3", about="n_layers")


@use
def wrong_learning_rate() -> str:
    """--model.learning_rate -1."""
    return refused_by("--model.learning_rate=-1", about="learning_rate")


@use
def wrong_batch_size() -> str:
    """--data.batch_size 0."""
    return refused_by("--data.batch_size=0", about="batch_size")


@use
def wrong_path() -> str:
    """--data.path of a file that is not there."""
    return refused_by("--data.path=tabel.csv", about="tabel.csv")


@use
def wrong_column() -> str:
    """--data.text_column that the table does not have."""
    return refused_by("--data.text_column=txt", about="txt")


@use
def wrong_limit_val_batches() -> str:
    """--trainer.limit_val_batches 0.01, less than a batch."""
    return refused_by("--trainer.limit_val_batches=0.01", about="limit_val_batches")


@use
def wrong_strategy() -> str:
    """--trainer.strategy fsdp on a CPU."""
    return refused_by("--trainer.strategy=fsdp", about="fsdp")


@use
def wrong_precision() -> str:
    """--trainer.precision transformer-engine, which is not installed."""
    return refused_by("--trainer.precision=transformer-engine", about="ransformer")


@use
def wrong_accumulation() -> str:
    """--trainer.accumulate_grad_batches 0."""
    return refused_by("--trainer.accumulate_grad_batches=0", about="accumulate_grad_batches")


@use
def wrong_clip_algorithm() -> str:
    """--trainer.gradient_clip_algorithm l2."""
    words = ("--trainer.gradient_clip_val=1", "--trainer.gradient_clip_algorithm=l2")
    return refused_by(*words, about="l2")


@use
def wrong_callback() -> str:
    """--trainer.callbacks+= with a class that is not there."""
    return refused_by("--trainer.callbacks+=EarlyStoping", about="EarlyStoping")


@use
def wrong_config_file() -> str:
    """--config of a file that is not there."""
    return refused_by("--config=nothing.yaml", about="nothing.yaml")


@use
def wrong_last() -> str:
    """--ckpt_path last in a folder without a run."""
    return refused_by("--ckpt_path=last", about="last")


@use
def wrong_checkpoint() -> str:
    """--ckpt_path of a file that is no checkpoint."""
    Path("not.ckpt").write_text("hello", encoding="utf-8")
    return refused_by("--ckpt_path=not.ckpt", about="not.ckpt")


@use
def wrong_weights_only() -> str:
    """Going on from a checkpoint of --checkpoint.save_weights_only true."""
    fit("--checkpoint.save_weights_only=true")
    return refused_by("--ckpt_path=best", "--trainer.max_epochs=3", about="ckpt_path", first=False)


@use
def wrong_optimizer_to_none() -> str:
    """Going on from a run with --optimizer SGD without the flag."""
    fit("--optimizer=SGD", "--optimizer.lr=0.1")
    words = ("--ckpt_path=last", "--trainer.max_epochs=3")
    refusal = refused_by(*words, about="optimizer", first=False)
    fit(*words, "--optimizer=SGD", "--optimizer.lr=0.1")
    return refusal


@use
def wrong_optimizer_to_another() -> str:
    """Going on from a run with --optimizer AdamW by --optimizer SGD --optimizer.momentum 0.9."""
    fit("--optimizer=AdamW")
    words = ("--ckpt_path=last", "--trainer.max_epochs=3")
    sgd = ("--optimizer=SGD", "--optimizer.momentum=0.9", "--optimizer.lr=0.1")
    refusal = refused_by(*words, *sgd, about="optimizer", first=False)
    fit(*words, "--optimizer=AdamW")
    return refusal


@use
def wrong_folder() -> str:
    """A second run into the folder of a first: refused, with what to do."""
    fit("--trainer.max_epochs=1")
    return expect_one_line(run(*fit_words()), "output_dir", "last")


@use
def wrong_no_checkpoint() -> str:
    """Validate without --ckpt_path."""
    fit("--trainer.max_epochs=1")
    words = ("validate", *DATA, *TRAINER, f"--output_dir={OUT}")
    return expect_one_line(run(*words), "ckpt_path")
