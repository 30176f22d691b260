"""Callbacks of a run: which checkpoints are kept, the exported model, stopping on a signal.

Trainer(callbacks=[BestCheckpoint("out"), LastCheckpoint("out"), ExportBest("out/model")])
"""

import logging
import signal
import threading
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities import rank_zero_info

from emoji_gpt2.card import card
from emoji_gpt2.checkpoint_io import AtomicCheckpointIO
from emoji_gpt2.collect import Session, collect
from emoji_gpt2.export import save_transformers_folder
from emoji_gpt2.module import EmojiGPT2

log = logging.getLogger(__name__)
LAST = "last.ckpt"
EXITS = (signal.SIGINT, signal.SIGTERM)
"""Signals that end a run."""
NOTHING, REQUEUE, EXIT = range(3)
"""What a rank was told to do; the largest wish of all ranks is done."""


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint, which keeps the newest instead of the best without validation.

    Args:
        dirpath: Folder of the checkpoints; None is the run's output_dir.
        filename: Name of a checkpoint; {epoch}, {step} and metrics are filled in.
        monitor: The metric that says which is best: how high new texts' emoji are ranked, rather
            than val/loss, which rises early while the ranking still gets better; null keeps the
            newest.
        verbose: Say what is saved.
        save_top_k: How many of the best to keep; -1 keeps all, 0 none.
        mode: min or max: which value of the metric is best.
        save_weights_only: Leave out what resuming needs.
        every_n_train_steps: Optimizer steps between two writings of last.ckpt. With monitor null
            these are kept checkpoints too.
        train_time_interval: Time between two writings of last.ckpt, likewise.
        every_n_epochs: Epochs between two checkpoints.
    """

    def __init__(
        self,
        dirpath: str | None = None,
        filename: str | None = "best-{epoch}-{step}",
        monitor: str | None = "val/mrr",
        verbose: bool = False,
        save_top_k: int = 1,
        mode: str = "max",
        save_weights_only: bool = False,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
        every_n_epochs: int | None = None,
    ) -> None:
        # Lightning defers a step's save until the next validation if a metric is monitored, so
        # steps and times are LastCheckpoint's business then.
        by_step = monitor is None
        super().__init__(
            dirpath=dirpath,
            filename=filename,
            monitor=monitor,
            verbose=verbose,
            save_top_k=save_top_k,
            mode=mode,
            save_weights_only=save_weights_only,
            every_n_train_steps=every_n_train_steps if by_step else None,
            train_time_interval=train_time_interval if by_step else None,
            every_n_epochs=every_n_epochs,
            enable_version_counter=False,
        )
        self.last_every_n_train_steps = every_n_train_steps
        self.last_train_time_interval = train_time_interval
        self._state_key = super().state_key

    @property
    def state_key(self) -> str:
        """The state's name in a checkpoint: of what was to be monitored, even if nothing is."""
        return self._state_key

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Monitor nothing if nothing is validated."""
        if str(self.monitor).startswith("val/") and not sum(trainer.num_val_batches):
            rank_zero_info(f"no validation rows: the newest checkpoint is kept, not {self.monitor}")
            self.monitor = None
        super().on_train_start(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the best so far, unless it was lost with another disk: then start anew."""
        if Path(state_dict["best_model_path"]).is_file():
            super().load_state_dict(state_dict)


class LastCheckpoint(ModelCheckpoint):
    """Keep ``last.ckpt``, from which training goes on: at each epoch's end, and by steps or time.

    Args:
        dirpath: Where it is kept.
        every_n_train_steps: Optimizer steps between two writings.
        train_time_interval: Time between two writings.
    """

    def __init__(
        self,
        dirpath: str | Path,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
    ) -> None:
        super().__init__(
            dirpath=dirpath,
            filename=Path(LAST).stem,
            every_n_train_steps=every_n_train_steps,
            train_time_interval=train_time_interval,
            every_n_epochs=1
            if every_n_train_steps is None and train_time_interval is None
            else None,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let checkpoints be written atomically, unless the user has chosen how."""
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let a run that goes on from an epoch's end begin with the next epoch.

        So does Lightning 2.6 if there are ``max_epochs`` alone. With ``max_steps`` it ends the
        epoch a second time, and so counts one too many towards ``max_epochs``
        (lightning/pytorch/loops/fit_loop.py, ``restarting``).
        """
        loop = trainer.fit_loop
        if loop.restarted_on_epoch_end:
            loop._restarting = False  # noqa: SLF001 - its setter would say True again
            loop.epoch_loop.restarting = False
            loop.reset()
        super().on_train_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write by steps or time, but leave it until after a validation or the epoch's end."""
        if _is_between_steps(trainer):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write by steps or time what was left until now, but in the middle of an epoch only."""
        if not trainer.is_last_batch and not trainer.fit_loop._should_accumulate():  # noqa: SLF001
            super().on_train_batch_end(trainer, pl_module, None, None, 0)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Leave an epoch open that ``max_steps`` ended early: a longer run goes on within it."""
        epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]
        ended = epochs["current"]["processed"] == epochs["current"]["started"] > 0
        if ended and not trainer.is_last_batch:
            for count in epochs.values():
                count["processed"] -= 1
                count["completed"] = min(count["completed"], count["processed"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write each epoch's end, after its validation."""
        if self._last_global_step_saved != trainer.global_step and not self._skip(trainer):
            self._save_checkpoint(trainer, str(Path(str(self.dirpath)) / LAST))

    def _skip(self, trainer: Trainer) -> bool:
        return bool(getattr(trainer, "fast_dev_run", False)) or trainer.sanity_checking

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the end of training, if the last step was not written."""
        if self._last_global_step_saved != trainer.global_step and not self._skip(trainer):
            self._save_checkpoint(trainer, str(Path(str(self.dirpath)) / LAST))


def _is_between_steps(trainer: Trainer) -> bool:
    """Return whether a batch ends an optimizer step, and neither validation nor epoch's end follow.

    Only then does a run that goes on from here leave nothing out.
    """
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None  # noqa: SLF001
    validates = loop.epoch_loop._should_check_val_fx(loop._data_fetcher)  # noqa: SLF001
    return not (trainer.is_last_batch or validates or loop._should_accumulate())  # noqa: SLF001


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
        if best:
            pl_module = EmojiGPT2.load_from_checkpoint(best, map_location="cpu")
        text, pictures = self._card(trainer, pl_module)
        for name, picture in pictures.items():
            (self.folder.parent / name).write_bytes(picture)
        save_transformers_folder(pl_module.model, pl_module.tokenizer, self.folder, text, pictures)
        source = f"of {Path(best).name}" if best else "at the end of training"
        rank_zero_info(f"The weights {source} are in {self.folder}, a Transformers folder.")

    def _card(self, trainer: Trainer, weights: EmojiGPT2) -> tuple[str | None, dict[str, bytes]]:
        """Return the card and its pictures; the weights are worth more than a card that fails."""
        if weights is trainer.lightning_module and isinstance(trainer.strategy, FSDPStrategy):
            return None, {}  # this rank alone could not ask its shards anything
        try:
            facts, pictures = collect(trainer, weights, self._session, self.folder)
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
    """On SIGINT or SIGTERM, finish the optimizer step, write last.ckpt, and exit with 128 + signal.

    A second signal kills at once. On SLURM, SIGTERM is left to Lightning, and SIGUSR1, by which it
    checkpoints and requeues the job, is handed to it after a whole step: in the middle of one, its
    checkpoint would not be exact. Outside the main thread, where Python allows no handlers, nothing
    is done. A ``Checkpoint``, so that the best of an epoch is kept before.

    Args:
        dirpath: Where last.ckpt is written.
    """

    def __init__(self, dirpath: str | Path) -> None:
        self.path = Path(dirpath) / LAST
        self._received = 0
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over from Lightning, which would stop in the middle of a step."""
        if threading.current_thread() is not threading.main_thread():
            return
        numbers = [signal.SIGINT]
        if not SLURMEnvironment.detect():
            numbers.append(signal.SIGTERM)
        elif callable(signal.getsignal(signal.SIGUSR1)):  # Lightning requeues
            numbers.append(signal.SIGUSR1)
        for number in numbers:
            self._before[number] = signal.signal(number, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        if number in EXITS:
            signal.signal(number, signal.SIG_DFL)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after a whole optimizer step, but not before its validation."""
        if _is_between_steps(trainer):
            self._obey(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after an epoch, which is validated by now."""
        self._obey(trainer)

    def _obey(self, trainer: Trainer) -> None:
        """Stop if any rank was told to."""
        wish = NOTHING if not self._received else EXIT if self._received in EXITS else REQUEUE
        decision = trainer.strategy.reduce(
            torch.tensor(wish, device=trainer.strategy.root_device), reduce_op="max"
        )
        if decision == REQUEUE:
            self._received = 0
            self._before[signal.SIGUSR1](signal.SIGUSR1, None)  # Lightning's, on every rank
        elif decision == EXIT:
            self._exit(trainer, self._received or int(signal.SIGTERM))

    def _exit(self, trainer: Trainer, number: int) -> None:
        trainer.save_checkpoint(self.path)
        if not trainer.is_last_batch:
            # Lightning would log this step after the hook; without it metrics.csv lacks its row.
            trainer._logger_connector.update_train_step_metrics()  # noqa: SLF001
        rank_zero_info(
            f"\nStopped by {signal.Signals(number).name} after step {trainer.global_step}: "
            f"{self.path} is written; go on with the same command and --ckpt_path last"
        )
        raise SystemExit(128 + number)

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
