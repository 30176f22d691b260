"""``metrics.csv``, which a run that was killed ends with as if it had not been.

    Trainer(logger=RunCSVLogger("out"), callbacks=[SaveRowCount()])

A checkpoint says how many rows there were when it was written, and which one was to come: Lightning
logs a step after the hook that saves. A run that goes on begins with these; what a killed run wrote
after them are steps that are done again.
"""

import csv
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

KEY = "metrics_file"


class RunCSVLogger(CSVLogger):
    """Lightning's CSVLogger that writes ``metrics.csv`` into the run's folder and goes on with it.

    Lightning's own deletes the metrics of a run that is resumed. Every row is written at once, so
    that a killed run leaves none out.

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
            Path(self.root_dir).mkdir(parents=True, exist_ok=True)
            self._experiment = AppendingWriter(self.log_dir)
        return self._experiment


class AppendingWriter(ExperimentWriter):
    """Writes below what is there; ``rows`` is how many lines there are, without the header.

    Args:
        log_dir: The folder of the file.
    """

    rows = 0

    def _check_log_dir_exists(self) -> None:
        """Keep what is there, and its columns."""
        if Path(self.metrics_file_path).is_file():
            self.metrics_keys, rows = self._read()
            self.rows = len(rows)

    def save(self) -> None:
        """Write what was logged since the last time."""
        self.rows += len(self.metrics)
        super().save()

    def go_back(self, rows: int) -> bool:
        """Leave the first ``rows`` rows; return whether there are so many."""
        if self.rows > rows:
            columns, there = self._read()
            self._replace(columns, there[:rows])
            self.rows = rows
        return self.rows == rows

    def _read(self) -> tuple[list[str], list[dict[str, str]]]:
        with Path(self.metrics_file_path).open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            return list(reader.fieldnames or []), list(reader)

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self._replace(fieldnames, self._read()[1])

    def _replace(self, columns: list[str], rows: list[dict[str, str]]) -> None:
        """Write the file anew; until it is whole, what was there before stays."""
        path = Path(self.metrics_file_path)
        aside = path.with_suffix(".aside")
        with aside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        aside.replace(path)


class SaveRowCount(Callback):
    """Save in each checkpoint which rows ``metrics.csv`` has then, and go on with these."""

    def __init__(self) -> None:
        self._stored: dict[str, Any] | None = None

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note the rows; Lightning calls this on every rank and writes rank 0's."""
        to_come = _row_to_come(trainer)  # on every rank, which may have to sum it
        for logger in _loggers(trainer):
            checkpoint[KEY] = {"rows": logger.experiment.rows, "to_come": to_come}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the note until the fit begins."""
        if trainer.state.fn == "fit":
            self._stored = checkpoint.get(KEY)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop what was logged after the checkpoint, log what was to come.

        Not before: a run that is refused changes nothing, and FSDP loads late.
        """
        stored, self._stored = self._stored, None
        if stored is None:
            return
        for logger in _loggers(trainer):
            # In another folder the earlier rows are missing, and that row would stand alone.
            if logger.experiment.go_back(stored["rows"]) and stored["to_come"]:
                logger.log_metrics(*stored["to_come"])

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Number rows by optimizer steps: going on, Lightning 2.6 may count one step too many."""
        if pl_module.automatic_optimization:  # else several optimizers may count
            trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step  # noqa: SLF001


def _loggers(trainer: Trainer) -> list[RunCSVLogger]:
    ours = [logger for logger in trainer.loggers if isinstance(logger, RunCSVLogger)]
    return ours if trainer.is_global_zero else []


def _row_to_come(trainer: Trainer) -> tuple[dict[str, Any], int] | None:
    """Return the metrics, and their step, that Lightning will log when the hooks are done.

    Its ``_LoggerConnector`` decides so in ``update_train_step_metrics`` and, at an epoch's end, in
    ``update_train_epoch_metrics``.
    """
    connector, loop = trainer._logger_connector, trainer.fit_loop.epoch_loop  # noqa: SLF001
    if not trainer.training:  # what was validated is logged already
        return None
    step = loop._batches_that_stepped  # noqa: SLF001
    if connector._first_loop_iter is None:  # noqa: SLF001 - an epoch's end
        step -= 1
    elif loop._should_accumulate() or not connector.should_update_logs:  # noqa: SLF001
        return None
    metrics = convert_tensors_to_scalars(connector.metrics["log"])
    step = metrics.pop("step", step)
    return ({"epoch": trainer.current_epoch, **metrics}, step) if metrics else None
