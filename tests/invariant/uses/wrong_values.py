"""Mistakes on the command line: one line, exit status 2, and the corrected command runs there."""

from collections.abc import Callable
from pathlib import Path

from tests.invariant.uses.commands import (
    DATA,
    OUT,
    TRAINER,
    expect_one_line,
    fit,
    fit_words,
    run,
)
from tests.invariant.uses.harness import Refusal, add, use

CALLBACK = "--trainer.callbacks+="
WRONG = {
    "val_check_interval": "--trainer.val_check_interval=25",  # beyond the epoch
    "val_check_interval_zero": "--trainer.val_check_interval=0",
    "check_val_every_n_epoch": "--trainer.check_val_every_n_epoch=0",
    "early_stopping": f"{CALLBACK}EarlyStopping --trainer.callbacks.monitor=val/accuracy",
    "monitor": "--checkpoint.monitor=val/accuracy",
    "mode": "--checkpoint.mode=highest",
    "flag": "--trainer.max_epoch=3",
    "type": "--trainer.max_epochs=many",
    "config_field": "--model.config.n_layers=3",
    "learning_rate": "--model.learning_rate=-1",
    "batch_size": "--data.batch_size=0",
    "path": "--data.path=tabel.csv",
    "column": "--data.text_column=txt",
    "limit_val_batches": "--trainer.limit_val_batches=0.01",  # less than a batch
    "strategy": "--trainer.strategy=fsdp",  # on a CPU
    "precision": "--trainer.precision=transformer-engine",  # not installed
    "accumulation": "--trainer.accumulate_grad_batches=0",
    "clip_algorithm": "--trainer.gradient_clip_val=1 --trainer.gradient_clip_algorithm=l2",
    "callback": f"{CALLBACK}EarlyStoping",
    "config_file": "--config=nothing.yaml",
    "last": "--ckpt_path=last",  # in a folder without a run
    "checkpoint": "--ckpt_path=not.ckpt",
}
ABOUT = {"early_stopping": "val/accuracy", "monitor": "val/accuracy", "type": "max_epochs",
         "flag": "max_epoch", "config_field": "n_layers", "path": "tabel.csv", "column": "txt",
         "strategy": "fsdp", "precision": "ransformer", "accumulation": "accumulate_grad_batches",
         "clip_algorithm": "l2", "callback": "EarlyStoping", "config_file": "nothing.yaml",
         "checkpoint": "not.ckpt"}  # fmt: skip
"""What the line names, where that is not the name of the use."""


def refused_by(words: list[str], about: str) -> Callable[[], Refusal]:
    """Expect these flags to be refused, and the command without them to run in the same folder."""

    def function() -> Refusal:
        Path("not.ckpt").write_text("hello", encoding="utf-8")
        refusal = expect_one_line(run(*fit_words(*words)), about)
        fit("--trainer.max_epochs=1")
        return refusal

    return function


for name, words in WRONG.items():
    about = ABOUT.get(name, name.removesuffix("_zero"))
    add(__name__, f"wrong_{name}", f"{words}: refused.", refused_by(words.split(), about))


@use
def wrong_weights_only() -> str:
    """Going on from a checkpoint of --checkpoint.save_weights_only true."""
    fit("--checkpoint.save_weights_only=true")
    words = fit_words("--ckpt_path=best", "--trainer.max_epochs=3")
    return expect_one_line(run(*words), "ckpt_path")


def another_optimizer(first: list[str], then: list[str]) -> Callable[[], Refusal]:
    """Expect a run to go on with its own optimizer only."""

    def function() -> Refusal:
        fit(*first)
        words = ("--ckpt_path=last", "--trainer.max_epochs=3")
        refusal = expect_one_line(run(*fit_words(*words, *then)), "optimizer")
        fit(*words, *first)
        return refusal

    return function


ADAMW, SGD = ["--optimizer=AdamW"], ["--optimizer=SGD", "--optimizer.lr=0.1"]
add(__name__, "wrong_optimizer_to_none", "Going on from SGD without the flag: refused.",
    another_optimizer(SGD, []))  # fmt: skip
add(__name__, "wrong_optimizer_to_another", "Going on from AdamW by SGD with momentum: refused.",
    another_optimizer(ADAMW, [*SGD, "--optimizer.momentum=0.9"]))  # fmt: skip


@use
def wrong_folder() -> str:
    """A second run into the folder of a first, and validate without --ckpt_path: refused."""
    fit("--trainer.max_epochs=1")
    words = ("validate", *DATA, *TRAINER, f"--output_dir={OUT}")
    expect_one_line(run(*words), "ckpt_path")
    return expect_one_line(run(*fit_words()), "output_dir", "last")
