"""The folder of a run: who may write in it, and what of Lightning writes there.

``config.yaml``, ``metrics.csv``, ``last.ckpt``, the best checkpoint and ``model/`` of one run stand
in one folder, and of no other run.

    begun = FirstBatch(write_config)
    with claim(folder, begun, resuming=False):
        Trainer(callbacks=[begun, *run_callbacks(folder, BestCheckpoint())]).fit(model, data)
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger

from emoji_gpt2.errors import MissingFileError, UserError, one_line
from emoji_gpt2.files import CONFIG, LAST, MODEL, checkpoint_from_hub
from emoji_gpt2.training.checkpoints import BestCheckpoint, LastCheckpoint
from emoji_gpt2.training.early_checks import CheckMonitors, CheckOptimizer
from emoji_gpt2.training.export import ExportBest
from emoji_gpt2.training.restart import KeepMetrics, RunCSVLogger, SaveRandomState
from emoji_gpt2.training.samples import ShowSamples
from emoji_gpt2.training.signals import StopOnSignal

METRICS = "metrics.csv"
HPARAMS = "hparams.yaml"
LOCK = ".lock"
BEFORE_TRAINING = (
    *(CONFIG, METRICS, HPARAMS, "events.out.tfevents*"),
    *(".lr_find_*.ckpt", ".scale_batch_size_*.ckpt"),
)
"""What may be written before anything is trained; of a run that ends then, it is deleted."""
log = logging.getLogger(__name__)


class FirstBatch(Callback):
    """When the first batch has been trained, write config.yaml; from then on a run is kept.

    ``trained`` is then true in this process; ``kept`` is not of a run that keeps nothing at all.

    Args:
        write_config: Writes the file; it may be set later. None writes none.
    """

    def __init__(self, write_config: Callable[[], None] | None = None) -> None:
        self.write_config = write_config
        self.trained = False
        self.kept = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the file once, on rank 0."""
        if self.trained:
            return
        self.trained = True
        if getattr(trainer, "fast_dev_run", False) or trainer.barebones:
            return
        self.kept = True
        if trainer.is_global_zero and self.write_config:
            self.write_config()


@contextmanager
def claim(
    output_dir: Path,
    begun: FirstBatch,
    *,
    resuming: bool,
    lock: bool = True,
    how_to_go_on: str = "{ckpt_path} last",
) -> Iterator[None]:
    """Let a run write into ``output_dir``, alone; if it trains nothing, leave what was there.

    Args:
        output_dir: The folder; it is made if it is not there.
        begun: Tells when the run has trained something.
        resuming: Whether the run goes on from a checkpoint of this folder.
        lock: Whether this process is the one of the run that keeps others out.
        how_to_go_on: What an error says to give instead.

    Raises:
        UserError: it cannot be written, another run is writing into it, or it holds a run that this
            one does not go on from.
    """
    made = [path for path in (output_dir, *output_dir.parents) if not path.exists()]
    try:
        _make(output_dir)
        with _alone(output_dir) if lock else contextlib.nullcontext():
            there = run_files(output_dir)
            if there and not resuming:
                go_on = f"go on by {how_to_go_on}, " if LAST in there else ""
                got = f"{str(output_dir)!r}, which holds a run ({', '.join(there)})"
                remedy = f"{go_on}choose another, or delete it"
                raise UserError("output_dir", got, "an empty folder", remedy)
            with _nothing_left(output_dir, begun) if lock else contextlib.nullcontext():
                yield
    finally:
        for path in made:
            with contextlib.suppress(OSError):  # it is not empty, as it should be
                path.rmdir()


def _make(output_dir: Path) -> None:
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        probe = output_dir / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink(missing_ok=True)  # the process of another node may have the same number
    except OSError as error:
        wanted = f"a folder that can be written ({error.strerror})"
        raise UserError("output_dir", repr(str(output_dir)), wanted, "choose another") from error


@contextmanager
def _alone(output_dir: Path) -> Iterator[None]:
    """Hold the folder's lock, which is the operating system's: it ends with its process."""
    path = output_dir / LOCK
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


@contextmanager
def _nothing_left(output_dir: Path, begun: FirstBatch) -> Iterator[None]:
    """Undo what was written, unless something was trained, in this process or one it started."""
    there, marks = _written(output_dir, *BEFORE_TRAINING), _marks_of_training(output_dir)
    hparams = {path: path.read_bytes() for path in _written(output_dir, HPARAMS)}
    try:
        yield
    finally:
        if not begun.kept and _marks_of_training(output_dir) == marks:
            for path in _written(output_dir, *BEFORE_TRAINING) - there:
                with contextlib.suppress(OSError):
                    path.unlink()
            for path, content in hparams.items():  # which Lightning writes anew
                path.write_bytes(content)


def _written(output_dir: Path, *patterns: str) -> set[Path]:
    return {path for pattern in patterns for path in output_dir.glob(pattern)}


def _marks_of_training(output_dir: Path) -> dict[Path, tuple[int, int]]:
    """Return the time and size of what is written when something has been trained."""
    found = ((path, path.stat()) for path in _written(output_dir, CONFIG, "[!.]*.ckpt"))
    return {path: (status.st_mtime_ns, status.st_size) for path, status in found}


def run_files(output_dir: Path) -> list[str]:
    """Return the names of what a run wrote into the folder."""
    files = [output_dir / name for name in (CONFIG, METRICS, MODEL)]
    return [file.name for file in [*files, *output_dir.glob("*.ckpt")] if file.exists()]


def requeued_checkpoint(output_dir: Path) -> str | None:
    """Return what Lightning wrote when SLURM told this job to make room; None if there is none.

    A requeued job starts with the same command, without ``--ckpt_path``.
    """
    found = sorted(output_dir.glob("hpc_ckpt_*.ckpt"), key=lambda file: file.stat().st_mtime)
    return str(found[-1]) if found and SLURMEnvironment.detect() else None


def find_checkpoint(output_dir: Path, ckpt_path: str) -> str:
    """Return the file that ``ckpt_path`` names: "last" is the run's newest, "best" its best.

    An address hf://USER/NAME/FILE is downloaded into the Hub's cache.

    Raises:
        MissingFileError: it is not there.
        UserError: last.ckpt, which says which is the best, is not whole.
    """
    if ckpt_path.startswith("hf://"):
        return checkpoint_from_hub(ckpt_path)
    if ckpt_path == "best":
        return str(_best_checkpoint(output_dir))
    if ckpt_path == "last":
        newest = sorted(output_dir.glob("last*.ckpt"), key=lambda file: file.stat().st_mtime)
        if not newest:
            remedy = "start without it, or give the {output_dir} of the run"
            raise _missing("'last'", f"a last*.ckpt in {str(output_dir)!r}", remedy)
        return str(newest[-1])
    if "://" not in ckpt_path and not Path(ckpt_path).is_file():
        raise _missing(repr(ckpt_path), "a checkpoint file, last or best", "correct it")
    return ckpt_path


def _best_checkpoint(output_dir: Path) -> Path:
    """Return the checkpoint that ``BestCheckpoint`` holds for the best; the folder may have moved.

    Its state is in every checkpoint, and last.ckpt's is the newest.
    """
    last = output_dir / LAST
    if not last.is_file():
        wanted = f"a {LAST} in {str(output_dir)!r}, which says which is the best"
        raise _missing("'best'", wanted, "give the {output_dir} of the run, or a file")
    best = _best_model_path(last)
    if not best:
        got = f"'best', but {str(last)!r} knows of none"
        raise _missing(got, "a run that has kept one", "give last, or a file")
    for path in (Path(best), output_dir / Path(best).name):
        if path.is_file():
            return path
    got, wanted = f"'best', which is {best!r} and is gone", f"it there or in {str(output_dir)!r}"
    raise _missing(got, wanted, "give last, or a file")


def _missing(got: str, wanted: str, remedy: str) -> MissingFileError:
    return MissingFileError("ckpt_path", got, wanted, remedy)


def _best_model_path(checkpoint: Path) -> str:
    try:
        content = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)
        states: dict[str, Any] = content["callbacks"]
    except Exception as error:  # torch.load raises whatever the bytes lead it to
        got = f"'best', but {str(checkpoint)!r}, which says which is the best, is no whole "
        got += f"checkpoint ({one_line(error)})"
        raise UserError("ckpt_path", got, remedy="give a file") from error
    paths = (s["best_model_path"] for key, s in states.items() if key.startswith("BestCheckpoint"))
    return str(next(paths, ""))


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
    return [
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
