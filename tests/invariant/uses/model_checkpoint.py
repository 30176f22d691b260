"""Lightning's ModelCheckpoint with each of its options."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import AsyncCheckpointIO

from emoji_gpt2 import EmojiGPT2
from tests.invariant.uses.callbacks import Interruption
from tests.invariant.uses.harness import (
    expect,
    expect_close,
    expect_equal,
    expect_same_weights,
    use,
)
from tests.invariant.uses.tiny import (
    Fit,
    files,
    load,
    new_data,
    new_model,
    new_trainer,
    trained,
    weights,
)

WTE = "model.transformer.wte.weight"


def rising_rate() -> EmojiGPT2:
    """Return a model whose warm-up does not end: val/loss is lowest in the first epochs."""
    return new_model(learning_rate=30.0, warmup_steps=300)


def kept(epochs: int = 4, **arguments: Any) -> tuple[Fit, ModelCheckpoint]:
    """Train at a rate that rises until val/loss does, with a ModelCheckpoint in ckpt/."""
    keep = ModelCheckpoint(**{"dirpath": "ckpt", "filename": "{epoch}"} | arguments)
    fit = trained(rising_rate(), callbacks=[keep], max_epochs=epochs)
    return fit, keep


def ranked(fit: Fit, name: str, *, highest: bool) -> list[int]:
    """Return the epochs, best first."""
    values = [one[name] for one in fit.watch.validations]
    return sorted(range(len(values)), key=lambda epoch: values[epoch], reverse=highest)


def expect_epochs(epochs: list[int]) -> str:
    """Expect the checkpoints of these epochs, and no other."""
    wanted = sorted(f"epoch={epoch}.ckpt" for epoch in epochs)
    expect_equal(files("ckpt"), wanted, "checkpoints")
    return ", ".join(wanted)


@use
def no_monitor() -> str:
    """No monitor: the last epoch's checkpoint, with the weights that training ended with."""
    fit, _ = kept()
    seen = expect_epochs([3])
    loaded = EmojiGPT2.load_from_checkpoint("ckpt/epoch=3.ckpt", map_location="cpu")
    expect_same_weights(weights(loaded), fit.weights)
    return seen


@use
def monitor_val_loss() -> str:
    """monitor="val/loss", save_top_k=2: the two epochs of the lowest val/loss."""
    fit, keep = kept(monitor="val/loss", save_top_k=2)
    order = ranked(fit, "val/loss", highest=False)
    expect(order[0] != 3, "the last epoch is the best: the use shows nothing")
    expect_equal(Path(keep.best_model_path).name, f"epoch={order[0]}.ckpt", "best")
    return expect_epochs(order[:2])


@use
def monitor_mrr() -> str:
    """monitor="val/mrr", mode="max": the epoch of the highest val/mrr."""
    fit, _ = kept(monitor="val/mrr", mode="max", epochs=6)
    return expect_epochs(ranked(fit, "val/mrr", highest=True)[:1])


@use
def monitor_train_loss() -> str:
    """monitor="train/loss": the epoch whose last step had the lowest loss."""
    fit, keep = kept(monitor="train/loss", save_on_train_epoch_end=True)
    ends = fit.watch.logged_losses[4::5]
    expect_close(float(keep.best_model_score or 0), min(ends), "best score")
    return expect_epochs([ends.index(min(ends))])


@use
def save_top_k_all() -> str:
    """save_top_k=-1: each epoch's checkpoint, with its weights."""
    fit, _ = kept(save_top_k=-1)
    for epoch, end in enumerate(fit.watch.epoch_ends):
        state = load(f"ckpt/epoch={epoch}.ckpt")["state_dict"]
        expect_close(state[WTE], end[WTE], f"embedding of epoch {epoch}", 0.0)
    return expect_epochs([0, 1, 2, 3])


@use
def save_top_k_none() -> str:
    """save_top_k=0: no checkpoint."""
    kept(save_top_k=0)
    expect_equal(files("ckpt"), [], "checkpoints")
    return "none"


@use
def save_last() -> str:
    """save_last=True beside all: last.ckpt has the final weights."""
    fit, _ = kept(monitor="val/loss", save_top_k=-1, save_last=True)
    state = load("ckpt/last.ckpt")["state_dict"]
    expect_close(state[WTE], fit.watch.epoch_ends[-1][WTE], "embedding of last.ckpt", 0.0)
    return f"{files('ckpt')}"


@use
def save_last_link() -> str:
    """save_last="link": last.ckpt is a link to the newest, and training goes on from it."""
    kept(monitor="val/loss", save_last="link", save_top_k=-1, epochs=2)
    expect(Path("ckpt/last.ckpt").is_symlink(), "last.ckpt is no link")
    fit = trained(rising_rate(), ckpt_path="ckpt/last.ckpt", max_epochs=3)
    expect_equal(fit.watch.batches[0].epoch, 2, "first epoch")
    return "goes on with epoch 2"


@use
def every_n_train_steps() -> str:
    """every_n_train_steps=3: after steps 3, 6, 9 with the weights of that step."""
    fit, _ = kept(every_n_train_steps=3, save_top_k=-1, filename="{step}", epochs=2)
    expect_equal(files("ckpt"), ["step=3.ckpt", "step=6.ckpt", "step=9.ckpt"], "checkpoints")
    state = load("ckpt/step=3.ckpt")["state_dict"]
    expect_close(state[WTE], fit.watch.steps[3].before[WTE], "embedding after step 3", 0.0)
    return f"{files('ckpt')}"


@use
def resume_in_the_middle() -> str:
    """A checkpoint of every_n_train_steps=3, in the middle of an epoch: the same rows follow."""
    fit, _ = kept(every_n_train_steps=3, save_top_k=-1, filename="{step}", epochs=2)
    resumed = trained(rising_rate(), ckpt_path="ckpt/step=3.ckpt", max_epochs=2)
    expect_equal(
        [one.texts for one in resumed.watch.batches],
        [one.texts for one in fit.watch.batches[3:]],
        "batches",
    )
    expect_same_weights(resumed.weights, fit.weights)
    return "bit for bit"


@use
def every_n_epochs() -> str:
    """every_n_epochs=2: epochs 1 and 3."""
    kept(every_n_epochs=2, save_top_k=-1)
    return expect_epochs([1, 3])


@use
def train_time_interval() -> str:
    """train_time_interval of no time: after every step."""
    kept(train_time_interval=timedelta(seconds=0), save_top_k=-1, filename="{step}", epochs=1)
    expect_equal(files("ckpt"), [f"step={n}.ckpt" for n in range(1, 6)], "checkpoints")
    return "5 checkpoints"


@use
def save_on_train_epoch_end() -> str:
    """save_on_train_epoch_end=True: one after each epoch, validated or not."""
    keep = ModelCheckpoint("ckpt", "{epoch}", save_on_train_epoch_end=True, save_top_k=-1)
    trained(callbacks=[keep], check_val_every_n_epoch=2, max_epochs=3)
    return expect_epochs([0, 1, 2])


@use
def save_weights_only() -> str:
    """save_weights_only=True: no optimizer in it; it loads and predicts the same."""
    fit, _ = kept(save_weights_only=True)
    expect("optimizer_states" not in load("ckpt/epoch=3.ckpt"), "the optimizer is in it")
    loaded = EmojiGPT2.load_from_checkpoint("ckpt/epoch=3.ckpt", map_location="cpu")
    metrics = [new_trainer().validate(m, datamodule=new_data())[0] for m in (loaded, fit.module)]
    expect_equal(metrics[0], metrics[1], "metrics")
    return f"val/mrr {metrics[0]['val/mrr']:.4f}"


@use
def filename_with_metric() -> str:
    """A filename with {val/loss:.3f} and auto_insert_metric_name=False: the value at that epoch."""
    keep = ModelCheckpoint(
        "ckpt", "e{epoch}-{val/loss:.3f}", auto_insert_metric_name=False, save_top_k=-1
    )
    fit = trained(callbacks=[keep], max_epochs=2)
    losses = [one["val/loss"] for one in fit.watch.validations]
    expect_equal(files("ckpt"), [f"e{n}-{v:.3f}.ckpt" for n, v in enumerate(losses)], "names")
    return f"{files('ckpt')}"


@use
def enable_version_counter() -> str:
    """enable_version_counter True and False: the second run's file beside, or instead."""
    for _ in range(2):
        kept(filename="one", epochs=1)
    expect_equal(files("ckpt"), ["one-v1.ckpt", "one.ckpt"], "checkpoints")
    kept(filename="two", epochs=1, enable_version_counter=False)
    kept(filename="two", epochs=1, enable_version_counter=False)
    expect_equal(files("ckpt", "two*"), ["two.ckpt"], "checkpoints")
    return f"{files('ckpt')}"


@use
def save_on_exception() -> str:
    """save_on_exception=True: the step at which it failed is kept and goes on as if it had not."""
    keep = ModelCheckpoint("ckpt", "{epoch}", save_on_exception=True, save_top_k=0)
    try:
        trained(callbacks=[keep, Interruption()], max_epochs=3)
    except RuntimeError as error:
        expect_equal(str(error), "out of memory", "error")
    (name,) = files("ckpt")
    resumed = trained(ckpt_path=f"ckpt/{name}", max_epochs=3)
    expect_same_weights(resumed.weights, trained(max_epochs=3).weights)
    return name


@use
def two_model_checkpoints() -> str:
    """Two ModelCheckpoints: each keeps its own best."""
    keeps = [
        ModelCheckpoint("loss", "{epoch}", monitor="val/loss"),
        ModelCheckpoint("mrr", "{epoch}", monitor="val/mrr", mode="max"),
    ]
    fit = trained(rising_rate(), callbacks=keeps, max_epochs=4)
    for folder, highest in (("loss", False), ("mrr", True)):
        best = ranked(fit, f"val/{folder}", highest=highest)[0]
        expect_equal(files(folder), [f"epoch={best}.ckpt"], f"best by {folder}")
    return f"{files('loss')}, {files('mrr')}"


@use
def best_by_name() -> str:
    """validate(ckpt_path="best") measures what its epoch measured; "last" what the last did."""
    fit, _ = kept(monitor="val/loss", save_top_k=-1, save_last=True)
    losses = [one["val/loss"] for one in fit.watch.validations]
    for name, wanted in (("best", min(losses)), ("last", losses[-1])):
        (found,) = fit.trainer.validate(fit.module, datamodule=fit.data, ckpt_path=name)
        expect_close(found["val/loss"], wanted, name, 1e-6)
    return f"best {min(losses):.3f}, last {losses[-1]:.3f}"


@use
def async_checkpoint_io() -> str:
    """plugins=[AsyncCheckpointIO()]: the file has the weights of its moment."""
    keep = ModelCheckpoint("ckpt", "{epoch}", save_top_k=-1)
    fit = trained(callbacks=[keep], plugins=[AsyncCheckpointIO()], max_epochs=3)
    for epoch, end in enumerate(fit.watch.epoch_ends):
        state = load(f"ckpt/epoch={epoch}.ckpt")["state_dict"]
        expect_close(state[WTE], end[WTE], f"embedding of epoch {epoch}", 0.0)
    return "3 checkpoints"
