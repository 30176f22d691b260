"""Callbacks that end a run: the exported model, and stopping on a signal.

Trainer(callbacks=[BestCheckpoint("out"), LastCheckpoint("out"), ExportBest("out/model")])
"""

import logging
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities import rank_zero_info
from torch import distributed as dist

from emoji_gpt2.card import card
from emoji_gpt2.checkpoint_io import holding_weights_of
from emoji_gpt2.checkpoints import LAST, BestCheckpoint, is_between_steps
from emoji_gpt2.collect import Session, collect
from emoji_gpt2.export import save_transformers_folder
from emoji_gpt2.module import EmojiGPT2

log = logging.getLogger(__name__)
EXITS = (signal.SIGINT, signal.SIGTERM)
"""Signals that end a run."""
NOTHING, REQUEUE, EXIT = range(3)
"""What a rank was told to do; the largest wish of all ranks is done."""


class ExportBest(Checkpoint):
    """When fit is done, write the best checkpoint's weights as a Transformers folder.

    A ``Checkpoint``, so that Lightning calls it after those that save.

    Args:
        folder: Where to; it is replaced.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._session = Session()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the clock."""
        self._session = Session(trainer.global_step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember what was measured at this step."""
        self._session.remember(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the folder, with the run's card, on rank 0."""
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return
        assert isinstance(pl_module, EmojiGPT2)
        self._session.stop()
        best = _best_checkpoint(trainer)
        if best is None:
            self._export(trainer, pl_module, trainer.global_step)
        else:
            with holding_weights_of(best, pl_module) as step:
                self._export(trainer, pl_module, step)
        source = f"of {Path(best).name}" if best else "at the end of training"
        rank_zero_info(f"The weights {source} are in {self.folder}, a Transformers folder.")

    def _export(self, trainer: Trainer, pl_module: EmojiGPT2, step: int) -> None:
        text, pictures = self._card(trainer, pl_module, step)
        for name, picture in pictures.items():
            (self.folder.parent / name).write_bytes(picture)
        save_transformers_folder(pl_module.model, pl_module.tokenizer, self.folder, text, pictures)

    def _card(
        self, trainer: Trainer, pl_module: EmojiGPT2, step: int
    ) -> tuple[str | None, dict[str, bytes]]:
        """Return the card and its pictures; the weights are worth more than a card that fails."""
        if isinstance(trainer.strategy, FSDPStrategy):
            return None, {}  # this rank alone could not ask its shards anything
        try:
            facts, pictures = collect(trainer, pl_module, self._session, self.folder, step)
            return card(facts), pictures
        except Exception:
            log.exception("The model card could not be written; a short one stands in for it.")
            return None, {}


def _best_checkpoint(trainer: Trainer) -> str | None:
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, BestCheckpoint) and Path(callback.best_model_path).is_file():
            return callback.best_model_path
    return None


class StopOnSignal(Checkpoint):
    """On SIGINT or SIGTERM, finish the step, write last.ckpt, and exit with 128 + signal.

    An optimizer step that is followed by a validation ends with it, and with the step after it
    where the epoch goes on.
    A second signal kills at once. On SLURM, SIGTERM is left to Lightning, and SIGUSR1, by which it
    checkpoints and requeues the job, is handed to it after a whole step: in the middle of one, its
    checkpoint would not be exact. Outside the main thread, where Python allows no handlers, nothing
    is done. A ``Checkpoint``, so that the best of an epoch is kept before.

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

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after a whole optimizer step, but not before its validation."""
        if not trainer.fit_loop._should_accumulate():  # noqa: SLF001 - the same on all ranks
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
        """Return the largest wish of all ranks.

        The hosts agree among themselves, by a group of their own: a tensor on the GPUs would be
        there only when all work that waits for them is done, which the host runs ahead of.
        """
        if self._hosts is None:
            return wish
        wishes = torch.tensor(wish)
        dist.all_reduce(wishes, op=dist.ReduceOp.MAX, group=self._hosts)
        return int(wishes)

    def _exit(self, trainer: Trainer, number: int) -> None:
        trainer.save_checkpoint(self.path)
        connector = trainer._logger_connector  # noqa: SLF001
        if connector._first_loop_iter is not None:  # noqa: SLF001 - not an epoch's end
            # Lightning would log this step after the hook; without it metrics.csv lacks its row.
            connector.update_train_step_metrics()
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
