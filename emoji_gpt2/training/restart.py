"""What a run needs to go on as if it had not stopped: random states, and ``metrics.csv``.

    Trainer(logger=RunCSVLogger("out"), callbacks=[SaveRandomState(), KeepMetrics()])

Lightning 2.6 saves no random state: with dropout, a resumed run has the same batches and other
weights. Of ``metrics.csv``, rows of steps that the checkpoint does not have are dropped: these
steps are done again.
"""

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_warn
from torch import distributed as dist

from emoji_gpt2.training.checkpoints import log_by_optimizer_steps

KEY = "random_states"


class SaveRandomState(Callback):
    """Save the random states of all ranks in each checkpoint, and go on with them."""

    def __init__(self) -> None:
        self._stored: list[dict[str, Any]] = []

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Gather all ranks' states; Lightning calls this on every rank and writes rank 0's."""
        states = [random_state(trainer.strategy.root_device)]
        if trainer.world_size > 1:
            states *= trainer.world_size
            dist.all_gather_object(states, states[0])
        checkpoint[KEY] = states

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the states until training begins; validate, test and predict draw nothing."""
        if trainer.state.fn == "fit":
            self._stored = checkpoint.get(KEY, [])

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Apply this rank's state, once, after the sanity check."""
        if self._stored and len(self._stored) != trainer.world_size:
            rank_zero_warn(
                f"The checkpoint was written by {len(self._stored)} processes and goes on with "
                f"{trainer.world_size}: random states start anew."
            )
        elif self._stored:
            set_random_state(self._stored[trainer.global_rank], trainer.strategy.root_device)
        self._stored = []


def random_state(device: torch.device) -> dict[str, Any]:
    """Return this process's random states: of Python, NumPy, torch, and the device it trains on.

    They load with ``weights_only=True``.
    """
    numpy: Any = np.random.get_state()  # noqa: NPY002 - the global one
    name, keys, *rest = numpy
    state = {
        "python": random.getstate(),
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
    }
    if device.type in ("cuda", "mps"):
        state[device.type] = getattr(torch, device.type).get_rng_state(device)
    return state


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Set what ``random_state`` returned, as far as it is of a device like ``device``."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if device.type in state:
        getattr(torch, device.type).set_rng_state(state[device.type].cpu(), device)


class RunCSVLogger(CSVLogger):
    """Lightning's CSVLogger that writes ``metrics.csv`` into the run's folder and goes on with it.

    Lightning's own deletes the metrics of a run that is resumed. Every row is written at once.

    Args:
        output_dir: The run's folder.
    """

    def __init__(self, output_dir: Path) -> None:
        super().__init__(save_dir=str(output_dir), name="", version="", flush_logs_every_n_steps=1)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer of the file."""
        if self._experiment is None:
            self._experiment = AppendingWriter(self.log_dir)
        return self._experiment


class AppendingWriter(ExperimentWriter):
    """Writes below what ``keep_before`` leaves."""

    def _check_log_dir_exists(self) -> None:
        """Delete nothing yet."""

    def keep_before(self, step: int) -> None:
        """Drop the rows of this optimizer step, from 0, of later ones, and half a row."""
        path = Path(self.metrics_file_path)
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        reader = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
        rows = [row for row in reader if int(row["step"]) < step]
        if not rows:
            path.unlink(missing_ok=True)
            return
        self.metrics_keys = list(reader.fieldnames or [])
        aside = path.with_suffix(".aside")
        with aside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)
        aside.replace(path)


class KeepMetrics(Callback):
    """Let ``metrics.csv`` go on from the step that training starts at."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop what was logged after it; a run that is refused before has changed nothing."""
        for logger in trainer.loggers:
            if isinstance(logger, RunCSVLogger) and trainer.is_global_zero:
                logger.experiment.keep_before(trainer.global_step)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Number rows by optimizer steps, unless several optimizers may count."""
        if pl_module.automatic_optimization:
            log_by_optimizer_steps(trainer)
