"""The folder of a run, and of no other run: who may write in it, and what of Lightning does.

with claim(folder, resuming=False):
    Trainer(callbacks=run_callbacks(folder, BestCheckpoint())).fit(model, data)
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import Logger

from emoji_gpt2.errors import MissingFileError, UserError
from emoji_gpt2.files import CONFIG, LAST, MODEL
from emoji_gpt2.model.pretrained import local_checkpoint, read_checkpoint
from emoji_gpt2.training.checkpoints import BestCheckpoint, LastCheckpoint
from emoji_gpt2.training.early_checks import CheckMonitors, CheckOptimizer
from emoji_gpt2.training.export import ExportBest
from emoji_gpt2.training.restart import KeepMetrics, RunCSVLogger, SaveRandomState
from emoji_gpt2.training.samples import ShowSamples
from emoji_gpt2.training.signals import StopOnSignal

LOCK = ".lock"
log = logging.getLogger(__name__)


class FirstBatch(Callback):
    """When the first batch has been trained, write config.yaml; from then on the folder is a run's.

    Args:
        write_config: Writes the file; it may be set later. None writes none.

    Attributes:
        trained: Whether this process has trained a batch.
    """

    def __init__(self, write_config: Callable[[], None] | None = None) -> None:
        self.write_config = write_config
        self.trained = False

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Write the file once, on rank 0, unless the run is a rehearsal."""
        first, self.trained = not self.trained, True
        rehearsal = getattr(trainer, "fast_dev_run", False) or trainer.barebones
        if first and not rehearsal and trainer.is_global_zero and self.write_config:
            self.write_config()


@contextmanager
def claim(
    output_dir: Path, *, resuming: bool, lock: bool = True, how_to_go_on: str = "{ckpt_path} last"
) -> Iterator[None]:
    """Let a run write into ``output_dir``, alone.

    Args:
        output_dir: The folder; it is made, and deleted again if it stays empty.
        resuming: Whether the run goes on from a checkpoint of this folder.
        lock: Whether this process is the one of the run that keeps others out.
        how_to_go_on: What an error says to give instead.

    Raises:
        UserError: it cannot be written, another run is writing into it, or it holds a run that this
            one does not go on from.
    """
    made = [path for path in (output_dir, *output_dir.parents) if not path.exists()]
    try:
        with _alone(output_dir) if lock else contextlib.nullcontext():
            there = run_files(output_dir)
            if there and not resuming:
                go_on = f"go on by {how_to_go_on}, " if LAST in there else ""
                got = f"{str(output_dir)!r}, which holds a run ({', '.join(there)})"
                remedy = f"{go_on}choose another, or delete it"
                raise UserError("output_dir", got, "an empty folder", remedy)
            yield
    finally:
        for path in made:
            with contextlib.suppress(OSError):  # it is not empty, as it should be
                path.rmdir()


@contextmanager
def _alone(output_dir: Path) -> Iterator[None]:
    """Hold the folder's lock, which is the operating system's: it ends with its process."""
    path = output_dir / LOCK
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        wanted = f"a folder that can be written ({error.strerror})"
        raise UserError("output_dir", repr(str(output_dir)), wanted, "choose another") from error
    held = FileLock(path, timeout=0)
    try:
        held.acquire()
    except Timeout:
        got = f"{str(output_dir)!r}, which another run is writing into"
        remedy = "choose another, or wait until that run has ended"
        raise UserError("output_dir", got, "a folder of its own", remedy) from None
    except OSError as error:  # a file system without locks
        log.warning("%s cannot be locked (%s): start no second run in it", output_dir, error)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows deletes no file that is open
            path.unlink()
        held.release()


def run_files(output_dir: Path) -> list[str]:
    """Return the names of what a run that has begun wrote into the folder."""
    found = [output_dir / CONFIG, output_dir / MODEL, *output_dir.glob("[!.]*.ckpt")]
    return [path.name for path in found if path.exists()]


def requeued_checkpoint(output_dir: Path) -> str | None:
    """Return what Lightning wrote when SLURM told this job to make room; None if there is none.

    A requeued job starts with the same command, without ``--ckpt_path``.
    """
    if not SLURMEnvironment.detect():
        return None
    newest = max(output_dir.glob("hpc_ckpt_*.ckpt"), key=_written, default=None)
    return str(newest) if newest else None


def _written(file: Path) -> float:
    return file.stat().st_mtime


def find_checkpoint(output_dir: Path, ckpt_path: str) -> str:
    """Return the file that ``ckpt_path`` names: "last" is the run's newest, "best" its best.

    A file at an https:// or hf:// address is fetched once.

    Raises:
        MissingFileError: it is not there.
        UserError: last.ckpt, which says which is the best, is not whole.
    """
    if ckpt_path == "best":
        return str(_best_checkpoint(output_dir))
    if ckpt_path == "last":
        newest = max(output_dir.glob("last*.ckpt"), key=_written, default=None)
        if not newest:
            remedy = "start without it, or give the {output_dir} of the run"
            raise _missing("'last'", f"a last*.ckpt in {str(output_dir)!r}", remedy)
        return str(newest)
    if "://" not in ckpt_path and not Path(ckpt_path).is_file():
        raise _missing(repr(ckpt_path), "a checkpoint file, last or best", "correct it")
    return local_checkpoint(ckpt_path)


def _best_checkpoint(output_dir: Path) -> Path:
    """Return the checkpoint that last.ckpt names as the best; the folder may have moved."""
    last = output_dir / LAST
    if not last.is_file():
        wanted = f"a {LAST} in {str(output_dir)!r}, which says which is the best"
        raise _missing("'best'", wanted, "give the {output_dir} of the run, or a file")
    states: dict[str, Any] = read_checkpoint(last).get("callbacks", {})
    named = (s["best_model_path"] for key, s in states.items() if key.startswith("BestCheckpoint"))
    best = next(named, "")
    for path in (Path(best), output_dir / Path(best).name):
        if path.is_file():
            return path
    got, wanted = f"'best', which is {best!r} and is gone", f"it there or in {str(output_dir)!r}"
    raise _missing(got, wanted, "give last, or a file")


def _missing(got: str, wanted: str, remedy: str) -> MissingFileError:
    return MissingFileError("ckpt_path", got, wanted, remedy)


def default_loggers(output_dir: Path) -> list[Logger]:
    """Return the CSV logger, and TensorBoard's if it is installed."""
    loggers: list[Logger] = [RunCSVLogger(output_dir)]
    if find_spec("tensorboard") or find_spec("tensorboardX"):
        from lightning.pytorch.loggers import TensorBoardLogger  # noqa: PLC0415 - slow to import

        loggers.append(TensorBoardLogger(str(output_dir), name="", version=""))
    return loggers


def run_callbacks(
    output_dir: Path, best: BestCheckpoint, *, notebook: bool = False
) -> list[Callback]:
    """Return what a training run has: checks, exact restart, samples, checkpoints, export."""
    if best.dirpath is None:
        best.dirpath = str(output_dir)
    # In a notebook, what rich 15 prints flushes the stream that it replaced, and that prints again.
    bars = [TQDMProgressBar()] if notebook else []
    return [
        *bars,
        CheckMonitors(),
        CheckOptimizer(),
        SaveRandomState(),
        KeepMetrics(),
        ShowSamples(),
        best,
        LastCheckpoint(output_dir, best.last_every_n_train_steps, best.last_train_time_interval),
        StopOnSignal(output_dir, notebook=notebook),
        ExportBest(output_dir / MODEL),
    ]
