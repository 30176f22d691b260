"""Callbacks that find a mistake before the first batch which would else end the run much later.

Trainer(callbacks=[CheckMonitors(), CheckOptimizer()])
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from emoji_gpt2.errors import UserError
from emoji_gpt2.model.module import EmojiGPT2
from emoji_gpt2.training.checkpoints import BestCheckpoint, validates

LOGGED = ("train/loss", "val/loss", "val/hit_at_1", "val/hit_at_5", "val/mrr")
"""What ``EmojiGPT2`` logs in fit."""


class CheckMonitors(Callback):
    """Refuse to train if a callback or a schedule waits for a metric that nobody logs."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare with what EmojiGPT2 logs; a subclass or a user's own callback may log more."""
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        homes = {type(callback).__module__.split(".")[0] for callback in callbacks}
        if type(pl_module) is not EmojiGPT2 or not homes <= {"lightning", "emoji_gpt2"}:
            return
        logged = [name for name in LOGGED if validates(trainer) or not name.startswith("val/")]
        for argument, monitor in _monitors(trainer, callbacks):
            if monitor not in logged:
                wanted = f"a metric that is logged ({', '.join(logged)})"
                raise UserError(argument, repr(monitor), wanted, "correct it")


def _monitors(trainer: Trainer, callbacks: list[Callback]) -> Iterator[tuple[str, str]]:
    """Yield the argument of each metric that must be there, and the metric."""
    for callback in callbacks:
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


class CheckOptimizer(Callback):
    """Refuse to go on with the state of another optimizer or schedule than those of the run."""

    def __init__(self) -> None:
        self._checkpoint: Mapping[str, Any] = {}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep it until the optimizers are there."""
        if trainer.state.fn == "fit":
            self._checkpoint = checkpoint

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare, before Lightning restores them."""
        checkpoint, self._checkpoint = self._checkpoint, {}
        states = checkpoint.get("optimizer_states", [])
        for optimizer, state in zip(trainer.optimizers, states, strict=False):
            groups = optimizer.state_dict()["param_groups"]
            _check_same("optimizer", optimizer, groups, state["param_groups"])
        states = checkpoint.get("lr_schedulers", [])
        for config, state in zip(trainer.lr_scheduler_configs, states, strict=False):
            schedule = config.scheduler
            _check_same("lr_scheduler", schedule, [schedule.state_dict()], [state])


def _check_same(
    argument: str, kind: object, ours: Sequence[Mapping[str, Any]], theirs: Any
) -> None:
    """Raise unless the groups are as large and, but for what a newer torch may add, alike."""
    sizes = [[len(group.get("params", ())) for group in groups] for groups in (ours, theirs)]
    missing, unknown = sorted(ours[0].keys() - theirs[0]), sorted(theirs[0].keys() - ours[0])
    if sizes[0] != sizes[1]:
        difference = f"parameter groups of {sizes[1]} parameters instead of {sizes[0]}"
    elif missing and unknown:
        difference = f"{', '.join(unknown)} instead of {', '.join(missing)}"
    else:
        return
    wanted = f"that of the run that {{ckpt_path}} goes on with, whose state has {difference}"
    raise UserError(argument, type(kind).__name__, wanted, "give the flags that the run began with")
