"""``metrics.csv``, with which a run that is resumed goes on.

    Trainer(logger=RunCSVLogger("out"), callbacks=[KeepMetrics()])

Rows of steps that the checkpoint does not have are dropped: these steps are done again. A run that
is killed between a checkpoint and the row of its step, which Lightning writes after it, lacks that
row.
"""

import csv
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter


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
            Path(self.root_dir).mkdir(parents=True, exist_ok=True)
            self._experiment = AppendingWriter(self.log_dir)
        return self._experiment


class AppendingWriter(ExperimentWriter):
    """Writes below what is there.

    Args:
        log_dir: The folder of the file.
    """

    def _check_log_dir_exists(self) -> None:
        """Keep what is there, and its columns."""
        if Path(self.metrics_file_path).is_file():
            self.metrics_keys = self._read()[0]

    def keep_before(self, step: int) -> None:
        """Drop the rows of this optimizer step, from 0, and of later ones."""
        if Path(self.metrics_file_path).is_file():
            columns, rows = self._read()
            self._replace(columns, [row for row in rows if int(row["step"]) < step])

    def _read(self) -> tuple[list[str], list[dict[str, str]]]:
        """Return the columns and the whole rows; a killed run may have left half a one."""
        text = Path(self.metrics_file_path).read_text(encoding="utf-8")
        reader = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
        return list(reader.fieldnames or []), list(reader)

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self._replace(fieldnames, self._read()[1])

    def _replace(self, columns: list[str], rows: list[dict[str, str]]) -> None:
        """Write the file anew; until it is whole, what was there before stays."""
        path = Path(self.metrics_file_path)
        aside = path.with_suffix(".aside")
        with aside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns)
            if columns:
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

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Number rows by optimizer steps: going on, Lightning 2.6 may count one step too many."""
        if pl_module.automatic_optimization:  # else several optimizers may count
            trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step  # noqa: SLF001
