"""Lightning's ModelCheckpoint with each of its options."""

from collections.abc import Callable
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

from emoji_gpt2 import EmojiGPT2
from tests.invariant.uses.harness import (
    add,
    expect,
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


def rising_rate() -> EmojiGPT2:
    """Return a model whose warm-up does not end: val/loss is lowest in the first epochs."""
    return new_model(learning_rate=30.0, warmup_steps=300)


def kept(
    epochs: int = 4, trainer: dict[str, Any] | None = None, **arguments: Any
) -> tuple[Fit, ModelCheckpoint]:
    """Train at a rate that rises until val/loss does, with a ModelCheckpoint in ckpt/."""
    keep = ModelCheckpoint(**{"dirpath": "ckpt", "filename": "{epoch}"} | arguments)
    return trained(rising_rate(), callbacks=[keep], max_epochs=epochs, **trainer or {}), keep


def ranked(fit: Fit, name: str, *, highest: bool = False) -> list[int]:
    """Return the epochs, best first."""
    values = [one[name] for one in fit.watch.validations]
    order = sorted(range(len(values)), key=lambda epoch: values[epoch], reverse=highest)
    expect(order[0] != len(order) - 1, "the last epoch is the best: the use shows nothing")
    return order


def expect_weights_of_their_steps(fit: Fit) -> None:
    """Expect each checkpoint to have the weights after the step that it names."""
    for path in files("ckpt"):
        content = load(f"ckpt/{path}")
        step = content["global_step"]
        later = [*(one.before for one in fit.watch.steps), fit.watch.epoch_ends[-1]]
        state = {name: content["state_dict"][name] for name in later[step]}
        expect_same_weights(state, later[step])


Names = Callable[[Fit], list[str]]


def epochs(*numbers: int) -> Names:
    return lambda _fit: [f"epoch={number}.ckpt" for number in numbers]


def steps(*numbers: int) -> Names:
    return lambda _fit: [f"step={number}.ckpt" for number in numbers]


def best(name: str, count: int = 1, *, highest: bool = False) -> Names:
    return lambda fit: epochs(*ranked(fit, name, highest=highest)[:count])(fit)


def lowest_train_loss(fit: Fit) -> list[str]:
    ends = fit.watch.logged_losses[4::5]
    return epochs(ends.index(min(ends)))(fit)


def with_losses(fit: Fit) -> list[str]:
    losses = [one["val/loss"] for one in fit.watch.validations]
    return [f"e{number}-{loss:.3f}.ckpt" for number, loss in enumerate(losses)]


EACH = {"save_top_k": -1}
STEPS = EACH | {"filename": "{step}"}
TABLE: dict[str, tuple[dict[str, Any], Names]] = {
    "no_monitor": ({}, epochs(3)),
    "monitor_val_loss": ({"monitor": "val/loss", "save_top_k": 2}, best("val/loss", 2)),
    "monitor_train_loss": (
        {"monitor": "train/loss", "save_on_train_epoch_end": True},
        lowest_train_loss,
    ),
    "save_top_k_all": (EACH, epochs(0, 1, 2, 3)),
    "save_last": (
        {"save_top_k": 1, "monitor": "val/loss", "save_last": True},
        lambda fit: [*best("val/loss")(fit), "last.ckpt"],
    ),
    "every_n_train_steps": (STEPS | {"every_n_train_steps": 3}, steps(3, 6, 9, 12, 15, 18)),
    "filename_with_metric": (
        EACH | {"filename": "e{epoch}-{val/loss:.3f}", "auto_insert_metric_name": False},
        with_losses,
    ),
}


def use_of(arguments: dict[str, Any], wanted: Names) -> Callable[[], str]:
    def function() -> str:
        fit, _ = kept(**arguments)
        expect_equal(files("ckpt"), sorted(wanted(fit)), "checkpoints")
        expect_weights_of_their_steps(fit)
        return ", ".join(files("ckpt")) or "none"

    return function


for name, (arguments, wanted) in TABLE.items():
    text = f"ModelCheckpoint({arguments}) keeps these, each with the weights of its step."
    add(__name__, name, text, use_of(arguments, wanted))


@use
def save_weights_only() -> str:
    """save_weights_only=True: no optimizer in it; it loads and predicts the same."""
    fit, _ = kept(save_weights_only=True)
    expect("optimizer_states" not in load("ckpt/epoch=3.ckpt"), "the optimizer is in it")
    loaded = EmojiGPT2.load_from_checkpoint("ckpt/epoch=3.ckpt", map_location="cpu")
    expect_same_weights(weights(loaded), fit.weights)
    metrics = [new_trainer().validate(m, datamodule=new_data())[0] for m in (loaded, fit.module)]
    expect_equal(metrics[0], metrics[1], "metrics")
    return f"val/mrr {metrics[0]['val/mrr']:.4f}"
