"""Stop a run on a signal, at a step from which it goes on exactly."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities import rank_zero_info
from torch import distributed as dist

from emoji_gpt2.files import LAST
from emoji_gpt2.training.checkpoints import accumulates, is_between_steps, log_step

EXITS = (signal.SIGINT, signal.SIGTERM)
"""Signals that end a run."""
NOTHING, REQUEUE, EXIT = range(3)
"""What a rank was told to do; the largest wish of all ranks is done."""


class StopOnSignal(Checkpoint):
    """On SIGINT or SIGTERM, finish the step, write last.ckpt, and exit with 128 + signal.

    A validation that follows the step is finished too. A second signal kills at once. On SLURM,
    SIGTERM is left to Lightning, and SIGUSR1, by which it checkpoints and requeues the job, is
    handed to it after a whole step. Outside the main thread, where Python allows no handlers,
    nothing is done. A ``Checkpoint``, so that the best of an epoch is kept before.

    Args:
        dirpath: Where last.ckpt is written.
        notebook: Whether a notebook runs, which must not exit: after SIGINT training ends as if all
            epochs were done, and a second one is a KeyboardInterrupt; SIGTERM is left alone.
    """

    def __init__(self, dirpath: str | Path, *, notebook: bool = False) -> None:
        self.path = Path(dirpath) / LAST
        self.notebook = notebook
        self._received = 0
        self._before: dict[int, Any] = {}
        self._hosts: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over from Lightning, which would stop in the middle of a step."""
        if trainer.world_size > 1:
            self._hosts = dist.new_group(backend="gloo")
        if threading.current_thread() is not threading.main_thread():
            return
        numbers = [signal.SIGINT]
        if SLURMEnvironment.detect():
            if callable(signal.getsignal(signal.SIGUSR1)):  # Lightning requeues
                numbers.append(signal.SIGUSR1)
        elif not self.notebook:
            numbers.append(signal.SIGTERM)
        for number in numbers:
            self._before[number] = signal.signal(number, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        if number in EXITS:
            signal.signal(number, self._before[number] if self.notebook else signal.SIG_DFL)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stop after a whole optimizer step, but not before its validation."""
        if not accumulates(trainer):
            self._obey(trainer, now=is_between_steps(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after an epoch, which is validated by now."""
        self._obey(trainer, now=True)

    def _obey(self, trainer: Trainer, *, now: bool) -> None:
        """Stop if any rank was told to and may stop now."""
        wish = NOTHING
        if self._received and now:
            wish = EXIT if self._received in EXITS else REQUEUE
        decision = self._largest(wish)
        if decision == REQUEUE:
            self._received = 0
            self._before[signal.SIGUSR1](signal.SIGUSR1, None)  # Lightning's, on every rank
        elif decision == EXIT and self.notebook:
            self._received = 0
            trainer.should_stop = True
            self._say(trainer, signal.SIGINT, "the same call and resume=True")
        elif decision == EXIT:
            self._exit(trainer, self._received or int(signal.SIGTERM))

    def _largest(self, wish: int) -> int:
        """Return the largest wish of all ranks; GPUs, which hosts run ahead of, take no part."""
        if self._hosts is None:
            return wish
        wishes = torch.tensor(wish)
        dist.all_reduce(wishes, op=dist.ReduceOp.MAX, group=self._hosts)
        return int(wishes)

    def _exit(self, trainer: Trainer, number: int) -> None:
        trainer.save_checkpoint(self.path)
        if is_between_steps(trainer):  # Lightning would log this step after the hook
            log_step(trainer)
        self._say(trainer, number, "the same command and --ckpt_path last")
        raise SystemExit(128 + number)

    def _say(self, trainer: Trainer, number: int, how: str) -> None:
        rank_zero_info(
            f"\nStopped by {signal.Signals(number).name} after step {trainer.global_step}: "
            f"go on from {self.path} with {how}"
        )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back."""
        self._give_back()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Give the signals back."""
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        self._hosts = None  # it ends with all others
