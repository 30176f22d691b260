"""Callbacks that find a mistake before the first batch which would else end the run much later.

Trainer(callbacks=[CheckMonitors(), CheckOptimizer()])
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from emoji_gpt2.errors import UserError
from emoji_gpt2.model.module import EmojiGPT2
from emoji_gpt2.training.checkpoints import BestCheckpoint, validates

LOGGED = ("train/loss", "val/loss", "val/hit_at_1", "val/hit_at_5", "val/mrr")
"""What ``EmojiGPT2`` logs in fit."""


class CheckMonitors(Callback):
    """Refuse to train if a callback or a schedule waits for a metric that nobody logs."""

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look for the metrics of validation among those of the validation that was just tried."""
        remedy = "correct it"
        if type(pl_module) is not EmojiGPT2:  # which may leave some out of this trial
            remedy += ", or give {trainer.num_sanity_val_steps} 0 if it is logged later"
        for argument, monitor in _monitors(trainer):
            if monitor.startswith("val"):
                _check_logged(argument, monitor, trainer.callback_metrics, remedy)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Without that, and for the metrics of training, ask what EmojiGPT2 itself logs.

        What a subclass or a user's own callback logs is not known.
        """
        homes = {type(callback).__module__.split(".")[0] for callback in _callbacks(trainer)}
        if type(pl_module) is not EmojiGPT2 or not homes <= {"lightning", "emoji_gpt2"}:
            return
        logged = [name for name in LOGGED if validates(trainer) or not name.startswith("val/")]
        for argument, monitor in _monitors(trainer):
            _check_logged(argument, monitor, logged, "correct it")


def _monitors(trainer: Trainer) -> Iterator[tuple[str, str]]:
    """Yield each metric that must be there, and the argument that says so."""
    for callback in _callbacks(trainer):
        monitor = getattr(callback, "monitor", None)
        if not isinstance(monitor, str) or not getattr(callback, "strict", True):
            continue
        if not isinstance(callback, BestCheckpoint):
            yield f"{type(callback).__name__}.monitor", monitor
        elif validates(trainer) or not monitor.startswith("val/"):  # else it keeps the newest
            yield "checkpoint.monitor", monitor
    for config in trainer.lr_scheduler_configs:
        if config.reduce_on_plateau and config.strict and config.monitor:
            yield "lr_scheduler.monitor", config.monitor


def _callbacks(trainer: Trainer) -> list[Callback]:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks


def _check_logged(argument: str, monitor: str, logged: Collection[str], remedy: str) -> None:
    if monitor not in logged:
        wanted = f"a metric that is logged ({', '.join(sorted(logged)) or 'none is'})"
        raise UserError(argument, repr(monitor), wanted, remedy)


class CheckOptimizer(Callback):
    """Refuse to go on with the state of another optimizer or schedule than those of the run."""

    def __init__(self) -> None:
        self._groups: list[list[Mapping[str, Any]]] = []
        self._schedules: list[Mapping[str, Any]] = []

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep, until the optimizers are there, what the checkpoint's are made of."""
        if trainer.state.fn == "fit":
            states = checkpoint.get("optimizer_states", [])
            self._groups = [state["param_groups"] for state in states]
            self._schedules = checkpoint.get("lr_schedulers", [])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare, before Lightning restores them."""
        for optimizer, theirs in zip(trainer.optimizers, self._groups, strict=False):
            _check_same("optimizer", optimizer, _of_groups(optimizer.param_groups, theirs))
        for config, state in zip(trainer.lr_scheduler_configs, self._schedules, strict=False):
            difference = _of_keys(config.scheduler.state_dict(), state)
            _check_same("lr_scheduler", config.scheduler, difference)
        self._groups, self._schedules = [], []


def _of_groups(ours: list[dict[str, Any]], theirs: list[Mapping[str, Any]]) -> str:
    """Return how parameter groups differ, "" if another optimizer of the class could have them."""
    sizes = [[len(group["params"]) for group in groups] for groups in (ours, theirs)]
    if sizes[0] != sizes[1]:
        return f"parameter groups of {sizes[1]} parameters instead of {sizes[0]}"
    return next(filter(None, map(_of_keys, ours, theirs)), "")


def _of_keys(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Return how keys differ both ways: a newer torch may only have added some."""
    missing, unknown = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    return f"{', '.join(unknown)} instead of {', '.join(missing)}" if missing and unknown else ""


def _check_same(argument: str, ours: object, difference: str) -> None:
    if difference:
        raise UserError(
            argument,
            type(ours).__name__,
            f"that of the run that {{ckpt_path}} goes on with, whose state has {difference}",
            "give the flags that the run began with",
        )
