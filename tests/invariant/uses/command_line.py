"""The command line: python -m emoji_gpt2 {fit,validate,test,predict}."""

from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file

from tests.invariant.uses.commands import (
    OUT,
    Ran,
    fit,
    fit_words,
    on_data,
    succeed,
)
from tests.invariant.uses.harness import add, expect, expect_close, expect_equal, use
from tests.invariant.uses.judge import WTE, expected_rates
from tests.invariant.uses.tiny import (
    files,
    load,
    logged,
    read_csv,
    trained,
)

CALLBACK = "--trainer.callbacks+="
RATES = f"{CALLBACK}LearningRateMonitor --trainer.callbacks.logging_interval=step"
RISING = "--model.learning_rate=30 --model.warmup_steps=300 --trainer.max_epochs=4"
"""A warm-up that does not end: val/loss is lowest after the first epoch."""
GO_ON = "--ckpt_path=last"


def metric(name: str, folder: str = OUT) -> dict[int, float]:
    """Return a metric of metrics.csv by step."""
    return logged(name, f"{folder}/metrics.csv")


def values(name: str, folder: str = OUT) -> list[float]:
    return list(metric(name, folder).values())


def rates(folder: str = OUT) -> dict[int, float]:
    """Return the learning rates that a LearningRateMonitor logged, by step."""
    columns = [name for name in read_csv(f"{folder}/metrics.csv")[0] if name.startswith("lr-")]
    expect(bool(columns), "no learning rate in metrics.csv")
    return metric(columns[0], folder)


def expect_planned(peak: float, total: int) -> str:
    """Expect warm-up and cosine to ``total`` in metrics.csv."""
    found = rates()
    expect_equal(list(found), list(range(total)), "steps of rates")
    expect_close(list(found.values()), expected_rates(peak, 2, total, total), "rates")
    return f"{total} steps"


def measured(ran: Ran, name: str) -> float:
    """Return a metric of the table that validate and test print."""
    lines = [line for line in ran.stdout.splitlines() if name in line]
    expect(bool(lines), f"{name} is not printed")
    return float(lines[-1].replace("│", " ").split()[1])


def exported(folder: str = OUT) -> torch.Tensor:
    """Return the embedding of the exported model."""
    return load_file(f"{folder}/model/model.safetensors")["transformer.wte.weight"]


def expect_best(kept: str = OUT) -> str:
    """Expect the best epoch to be kept, exported, and what validate --ckpt_path best measures."""
    found = values("val/mrr")
    best = max(found)
    epochs = {load(f"{kept}/{path}")["epoch"]: path for path in files(kept) if "last" not in path}
    expect(found.index(best) in epochs, f"epoch {found.index(best)} is not among {epochs}")
    path = f"{kept}/{epochs[found.index(best)]}"
    expect_close(exported(), load(path)["state_dict"][WTE], "exported embedding", 0.0)
    expect_close(measured(on_data("validate", "--ckpt_path=best"), "val/mrr"), best, "val/mrr")
    return f"{path}, val/mrr {best:.3f} of {len(found)}"


def best_in_dirpath() -> str:
    expect_equal(len(files("kept")), 1, "checkpoints")
    return expect_best(kept="kept")


def own_best_beside_ours() -> str:
    (mine,) = files("mine")
    losses = values("val/loss")
    expect_equal(load(f"mine/{mine}")["epoch"], losses.index(min(losses)), "epoch of mine")
    return expect_best()


def as_in_python() -> str:
    """Expect fit and test to have measured what they do in Python."""
    other = trained()
    expect_close(values("train/loss"), other.watch.logged_losses, "train/loss")
    wanted = [one["val/mrr"] for one in other.watch.validations]
    expect_close(values("val/mrr"), wanted, "val/mrr")
    (tested,) = other.trainer.test(other.module, datamodule=other.data)
    loss = measured(on_data("test", GO_ON), "test/loss")
    expect_close(loss, tested["test/loss"], "test/loss")
    return expect_best()


def found_rate() -> str:
    found = load(f"{OUT}/last.ckpt")["hyper_parameters"]["learning_rate"]
    expect(found != 0.01, "the rate that was asked for is used")
    return f"found {found:.3g}; {expect_planned(found, 50)}"


def as_planned_then_on() -> str:
    """Expect a finder's run to be as planned, and to go on."""
    seen = expect_planned(0.01, len(rates()))
    fit(*FINDER.split(), GO_ON, "--trainer.max_epochs=4")
    return seen


FINDER = (
    f"{CALLBACK}BatchSizeFinder --trainer.callbacks.max_trials=2 --trainer.callbacks.init_val=4 "
    f"--trainer.callbacks.steps_per_trial=1 --trainer.max_epochs=3 {RATES}"
)
SECOND = (
    f"{RISING} {CALLBACK}ModelCheckpoint --trainer.callbacks.monitor=val/loss "
    "--trainer.callbacks.dirpath=mine"
)
RATE_FINDER = (
    f"{CALLBACK}LearningRateFinder --trainer.callbacks.num_training_steps=40 {RATES} "
    "--trainer.max_epochs=10 --trainer.limit_val_batches=0"
)
TABLE: dict[str, tuple[str, Callable[[], str]]] = {
    "fit_command": ("", as_in_python),
    "dirpath_flag": (f"{RISING} --checkpoint.dirpath=kept", best_in_dirpath),
    "second_model_checkpoint_flag": (SECOND, own_best_beside_ours),
    "learning_rate_finder_flag": (RATE_FINDER, found_rate),
    "batch_size_finder_flag": (FINDER, as_planned_then_on),
}


def use_of(flags: str, also: Callable[[], str]) -> Callable[[], str]:
    def function() -> str:
        fit(*flags.split())
        return also()

    return function


for name, (flags, also) in TABLE.items():
    text = f"fit {flags}: {also.__name__.replace('_', ' ')}."
    add(__name__, name, text, use_of(flags, also))


@use
def fused_clipping_flag() -> str:
    """--optimizer.fused true with clipping in bf16-mixed: the gradients are clipped."""
    words = ("--optimizer=SGD", "--optimizer.lr=1", "--optimizer.fused=true")
    words = (*words, "--trainer.precision=bf16-mixed")
    fit(*words, "--trainer.gradient_clip_val=1e-9")
    fit(*words, "--output_dir=free")
    clipped, free = values("val/loss"), values("val/loss", "free")
    expect_close(clipped[-1], clipped[0], "val/loss of the last epoch", 1e-5)
    expect(free[-1] < free[0] - 0.01, f"without clipping val/loss is {free}")
    return f"val/loss {clipped[0]:.3f} to {clipped[-1]:.3f}, unclipped to {free[-1]:.3f}"


@use
def saved_config() -> str:
    """Command fit --config out/config.yaml --output_dir again, or --print_config: the same run."""
    fit(*RISING.split())
    succeed("fit", f"--config={OUT}/config.yaml", "--output_dir=again")
    ran = succeed(*fit_words(*RISING.split(), "--output_dir=printed"), "--print_config")
    expect_equal(yaml.safe_load(ran.stdout)["trainer"]["max_epochs"], 4, "max_epochs")
    Path("printed.yaml").write_text(ran.stdout, encoding="utf-8")
    succeed("fit", "--config=printed.yaml")
    for folder in ("again", "printed"):
        expect_equal(metric("train/loss", folder), metric("train/loss"), "train/loss")
        expect_close(exported(folder), exported(), "exported embedding", 0.0)
    return "bit for bit"
