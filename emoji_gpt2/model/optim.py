"""AdamW with decay groups, and a learning rate that warms up and then follows half a cosine.

Weight decay acts on matrices only, as in GPT-2 training code since nanoGPT; the schedule is that of
SGDR without restarts (Loshchilov & Hutter, https://arxiv.org/abs/1608.03983) after linear warm-up.
"""

import math
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return parameter groups: matrices with ``weight_decay``, vectors and scalars without."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]


def warmup_cosine(step: int, warmup_steps: int, total_steps: int | None) -> float:
    """Return the factor on the learning rate at optimizer step ``step``, from 0.

    It rises linearly over ``warmup_steps`` and falls to 0 at ``total_steps``; without an end
    (``total_steps`` None) it stays at 1 after the warm-up.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    if total_steps is None:
        return 1.0
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class WarmupCosine(LRScheduler):
    """``warmup_cosine`` on the highest learning rate of each group, of later ones too.

    Args:
        optimizer: Its groups have their highest learning rates.
        rate: That of the whole, to which those of the groups are in proportion.
        warmup_steps: Optimizer steps of the warm-up.
        total_steps: Returns the optimizer steps of the run, or None; called after its first one.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        rate: float,
        warmup_steps: int,
        total_steps: Callable[[], int | None],
    ) -> None:
        self.warmup_steps = warmup_steps
        self._rate = rate
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self._total_steps = total_steps
        self._known_steps: tuple[int | None] | None = None
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Any]:
        """Return the learning rate of each group at this step."""
        step = self.last_epoch
        if step and self._known_steps is None:  # step 0 comes before the data
            self._known_steps = (self._total_steps(),)
        total = self._known_steps[0] if self._known_steps else None
        factor = warmup_cosine(step, self.warmup_steps, total)
        groups = self.optimizer.param_groups
        return [group.setdefault("initial_lr", group["lr"]) * factor for group in groups]

    def lead_to(self, rate: float) -> None:
        """Let the highest learning rate be another from here on, and look at the run's end anew."""
        self._known_steps = None
        for group, own in zip(self.optimizer.param_groups, self._rates, strict=False):
            group["initial_lr"] = own * rate / self._rate
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr

    def state_dict(self) -> dict[str, Any]:
        """Return the step, and the rates, as LambdaLR does, which this was in version 0.1."""
        rates = [group["initial_lr"] for group in self.optimizer.param_groups]
        steps = {"last_epoch": self.last_epoch, "_step_count": self._step_count}
        return steps | {"base_lrs": rates, "lr_lambdas": [None] * len(rates)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at the step of a state; ``lead_to`` says which rates."""
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = state_dict["_step_count"]


def unscale_before_clipping(optimizer: Optimizer) -> None:
    """Let mixed precision unscale the gradients before the step, so that they can be clipped.

    A fused optimizer would unscale fp16 gradients within its step, and so Lightning refuses to clip
    them before, in bfloat16 too.
    """
    setattr(optimizer, "_step_supports_amp_scaling", False)  # noqa: B010 - unknown to mypy


def accumulation_schedulers(trainer: Trainer) -> list[GradientAccumulationScheduler]:
    """Return the trainer's callbacks that change ``accumulate_grad_batches``."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return [one for one in callbacks if isinstance(one, GradientAccumulationScheduler)]


def total_steps(trainer: Trainer | None) -> int | None:
    """Return the optimizer steps of the whole run; None if it has no planned end.

    ``trainer.estimated_stepping_batches`` would say so too, but asking for it before the data
    loader has its state back makes Lightning lose that state (Lightning#20550).
    """
    if trainer is None:
        return None
    ends = [trainer.max_steps] if trainer.max_steps > 0 else []
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        windows = [trainer.accumulate_grad_batches] * trainer.max_epochs
        for scheduler in accumulation_schedulers(trainer):
            epochs = range(trainer.max_epochs)
            windows = [scheduler.get_accumulate_grad_batches(epoch) for epoch in epochs]
        ends.append(sum(math.ceil(trainer.num_training_batches / w) for w in windows))
    return min(ends, default=None)


def prepare_start(trainer: Trainer, learning_rate: float) -> None:
    """Make schedules, accumulation and loaders fit the run that starts.

    Lightning has restored the checkpoint's rate by now, or set the finder's without warm-up.
    """
    for config in trainer.lr_scheduler_configs:
        if isinstance(config.scheduler, WarmupCosine):
            config.scheduler.lead_to(learning_rate)
    for scheduler in accumulation_schedulers(trainer):
        # Lightning 2.6 does not ask it in an epoch that is gone on with.
        window = scheduler.get_accumulate_grad_batches(trainer.current_epoch)
        trainer.accumulate_grad_batches = window
    loaders: Any = trainer.train_dataloader
    for loader in loaders if isinstance(loaders, list | tuple) else [loaders]:
        if hasattr(loader, "trainer"):  # our own, which were made without one
            loader.trainer = trainer
