"""The folder of a run: who may write in it, and what of Lightning writes there.

``config.yaml``, ``metrics.csv``, ``last.ckpt``, the best checkpoint and ``model/`` of one run stand
in one folder, and of no other run.
"""

import os
from importlib.util import find_spec
from pathlib import Path

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger

from emoji_gpt2.callbacks import ExportBest, StopOnSignal
from emoji_gpt2.checkpoints import BestCheckpoint, LastCheckpoint
from emoji_gpt2.errors import MissingFileError, UserError
from emoji_gpt2.export import MODEL
from emoji_gpt2.hub_client import checkpoint_from_hub
from emoji_gpt2.metrics_file import RunCSVLogger, SaveRowCount
from emoji_gpt2.resume import SaveRandomState
from emoji_gpt2.samples import ShowSamples

CONFIG = "config.yaml"
METRICS = "metrics.csv"


def claim(output_dir: Path, resuming: bool) -> None:
    """Make sure that a run may write into ``output_dir``; make it if it is not there.

    Args:
        output_dir: The folder.
        resuming: Whether the run goes on from a checkpoint of this folder.

    Raises:
        UserError: it cannot be written, or holds a run that this one does not go on from.
    """
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        probe = output_dir / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink(missing_ok=True)  # the process of another node may have the same number
    except OSError as error:
        raise UserError(
            f"--output_dir: got {str(output_dir)!r}, wanted a folder that can be written "
            f"({error.strerror}); choose another"
        ) from error
    there = run_files(output_dir)
    if there and not resuming:
        raise UserError(
            f"--output_dir: got {str(output_dir)!r}, which holds a run ({', '.join(there)}), "
            "wanted an empty folder; go on by --ckpt_path last, choose another, or delete it"
        )


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
    """Return the file that ``ckpt_path`` names; "last" and "best" are the run's newest of these.

    An address hf://USER/NAME/FILE is downloaded into the Hub's cache.

    Raises:
        MissingFileError: it is not there.
    """
    if ckpt_path.startswith("hf://"):
        return checkpoint_from_hub(ckpt_path)
    if ckpt_path in ("last", "best"):
        newest = sorted(output_dir.glob(f"{ckpt_path}*.ckpt"), key=lambda f: f.stat().st_mtime)
        if not newest:
            raise MissingFileError(
                f"--ckpt_path: got {ckpt_path!r}, wanted a {ckpt_path}*.ckpt in "
                f"{str(output_dir)!r}; start without it, or give the --output_dir of the run"
            )
        return str(newest[-1])
    if "://" not in ckpt_path and not Path(ckpt_path).is_file():
        raise MissingFileError(
            f"--ckpt_path: got {ckpt_path!r}, wanted a checkpoint file, last or best; correct it"
        )
    return ckpt_path


def default_loggers(output_dir: Path) -> list[Logger]:
    """Return the CSV logger, and TensorBoard's if it is installed."""
    loggers: list[Logger] = [RunCSVLogger(output_dir)]
    if find_spec("tensorboard") or find_spec("tensorboardX"):
        from lightning.pytorch.loggers import TensorBoardLogger  # noqa: PLC0415 - slow to import

        loggers.append(TensorBoardLogger(str(output_dir), name="", version=""))
    return loggers


def run_callbacks(output_dir: Path, best: BestCheckpoint) -> list[Callback]:
    """Return what a training run has besides ``best``: exact restart, samples, signals, export."""
    if best.dirpath is None:
        best.dirpath = str(output_dir)
    return [
        SaveRandomState(),
        SaveRowCount(),
        ShowSamples(),
        best,
        LastCheckpoint(output_dir, best.last_every_n_train_steps, best.last_train_time_interval),
        StopOnSignal(output_dir),
        ExportBest(output_dir / MODEL),
    ]
