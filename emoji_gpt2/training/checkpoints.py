"""Which checkpoints of a run are kept: the best, and the last, from which training goes on.

Trainer(callbacks=[BestCheckpoint("out"), LastCheckpoint("out")])
"""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from emoji_gpt2.errors import UserError, local_path
from emoji_gpt2.files import LAST
from emoji_gpt2.model.checkpoint_io import AtomicCheckpointIO

Mode = Literal["min", "max"]


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ModelCheckpoint, which keeps the newest instead of the best without validation.

    Args:
        dirpath: Folder of the checkpoints; None is the run's output_dir.
        filename: Name of a checkpoint; {epoch}, {step} and metrics are filled in, with their names:
            {val/mrr:.3f} becomes val_mrr=0.118.
        monitor: The metric that says which is best: how high new texts' emoji are ranked, rather
            than val/loss, which rises early while the ranking still gets better; null keeps the
            newest.
        verbose: Say what is saved.
        save_top_k: How many of the best to keep; -1 keeps all, 0 none.
        mode: min or max: which value of the metric is best; null is min for a loss and max for
            hit@k, mrr, accuracy and F1.
        save_weights_only: Leave out what resuming needs.
        every_n_train_steps: Optimizer steps between two writings of last.ckpt. With monitor null
            these are kept checkpoints too.
        train_time_interval: Time between two writings of last.ckpt, likewise.
        every_n_epochs: Epochs between two checkpoints.

    Raises:
        UserError: ``dirpath`` is an address, or ``monitor`` needs a ``mode``.
    """

    def __init__(
        self,
        dirpath: str | None = None,
        filename: str | None = "best-{epoch}-{step}",
        monitor: str | None = "val/mrr",
        verbose: bool = False,
        save_top_k: int = 1,
        mode: Mode | None = None,
        save_weights_only: bool = False,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
        every_n_epochs: int | None = None,
    ) -> None:
        # Lightning defers a step's save until the next validation if a metric is monitored, so
        # steps and times are LastCheckpoint's business then.
        by_step = monitor is None
        super().__init__(
            dirpath=local_path("checkpoint.dirpath", dirpath) if dirpath else None,
            filename=_with_names(filename or "{epoch}-{step}"),
            monitor=monitor,
            verbose=verbose,
            save_top_k=save_top_k,
            mode=mode or _best(monitor),
            auto_insert_metric_name=False,
            save_weights_only=save_weights_only,
            every_n_train_steps=every_n_train_steps if by_step else None,
            train_time_interval=train_time_interval if by_step else None,
            every_n_epochs=every_n_epochs,
            enable_version_counter=False,
        )
        self.last_every_n_train_steps = every_n_train_steps
        self.last_train_time_interval = train_time_interval
        self._state_key = super().state_key
        self._validated_step = -1

    @property
    def state_key(self) -> str:
        """The state's name in a checkpoint, whether or not the metric is there to be monitored."""
        return self._state_key

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Monitor nothing if nothing is validated."""
        if str(self.monitor).startswith("val/") and not validates(trainer):
            rank_zero_info(f"no validation rows: the newest checkpoint is kept, not {self.monitor}")
            self.monitor = None
        super().on_train_start(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note what the metric is of: Lightning asks again when training ends within an epoch."""
        self._validated_step = trainer.global_step
        super().on_validation_end(trainer, pl_module)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Return whether a value is among the best; of equal ones the newest is."""
        if super().check_monitor_top_k(trainer, current):
            return True
        if current is None or self._validated_step != trainer.global_step:
            return False
        return bool(current == self.best_k_models[self.kth_best_model_path])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the best so far, unless it was lost with another disk: then start anew."""
        if Path(state_dict["best_model_path"]).is_file():
            super().load_state_dict(state_dict)


def _best(monitor: str | None) -> Mode:
    """Return which value of a metric is best, as its name says."""
    name = (monitor or "mrr").rpartition("/")[2]
    if "loss" in name:
        return "min"
    if re.search("(^|_)(hit|mrr|acc)|f1", name):
        return "max"
    got = f"none, with {monitor!r} as monitor"
    raise UserError("checkpoint.mode", got, "min or max", "give the one that is better")


def _with_names(filename: str) -> str:
    """Put each value's name before it, as Lightning does, but without the folders of a "/"."""
    return re.sub(
        r"(?<!=)\{([^:}]+)", lambda found: f"{found[1].replace('/', '_')}={found[0]}", filename
    )


class LastCheckpoint(ModelCheckpoint):
    """Keep ``last.ckpt``, from which training goes on: at each epoch's end, and by steps or time.

    It is written between two optimizer steps only, after the validation that follows the first.
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

        With ``max_steps``, Lightning 2.6 would end the epoch a second time (fit_loop.py).
        """
        self.last_model_path = str(Path(str(self.dirpath)) / LAST)  # older checkpoints store none
        if trainer.fit_loop.restarted_on_epoch_end:
            begin_next_epoch(trainer)
        super().on_train_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write by steps or time, unless a validation or the epoch's end follows."""
        if is_between_steps(trainer):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write by steps or time within an epoch."""
        if not trainer.is_last_batch and not accumulates(trainer):
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
        if not self._should_skip_saving_checkpoint(trainer):
            self._save_checkpoint(trainer, self.last_model_path)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the end of training, if the last step was not written."""
        self.on_train_epoch_end(trainer, pl_module)


def validates(trainer: Trainer) -> bool:
    """Return whether a fit validates; loaders not made yet, before a later epoch's, have rows."""
    made = trainer.val_dataloaders is not None
    return trainer.enable_validation and (not made or sum(trainer.num_val_batches) > 0)


# --- What Lightning 2.6 has no public name for (lightning/pytorch/loops/) ------------------------


def accumulates(trainer: Trainer) -> bool:
    """Return whether an optimizer step goes on after this batch; the same on all ranks."""
    return trainer.fit_loop._should_accumulate()  # noqa: SLF001


def is_between_steps(trainer: Trainer) -> bool:
    """Return whether a batch ends an optimizer step, and neither validation nor epoch's end follow.

    Only then does a run that goes on from here leave nothing out.
    """
    loop = trainer.fit_loop
    validates = loop.epoch_loop._should_check_val_fx(loop._data_fetcher)  # type: ignore[arg-type] # noqa: SLF001
    is_done = 0 <= trainer.max_steps <= trainer.global_step
    ends = trainer.is_last_batch or trainer.should_stop or is_done
    return not (ends or validates or accumulates(trainer))


def begin_next_epoch(trainer: Trainer) -> None:
    """Let a run that was restarted at an epoch's end begin the next one."""
    loop = trainer.fit_loop
    loop._restarting = False  # noqa: SLF001 - its setter would say True again
    loop.epoch_loop.restarting = False
    loop.reset()


def log_by_optimizer_steps(trainer: Trainer) -> None:
    """Number logged rows by optimizer steps: going on, Lightning may count one step too many."""
    trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step  # noqa: SLF001


def log_step(trainer: Trainer) -> None:
    """Give the loggers what the step has logged."""
    trainer._logger_connector.update_train_step_metrics()  # noqa: SLF001
