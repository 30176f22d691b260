"""The processes of a run: which is the first, what Lightning prints, how a mistake is said once.

Each node finds a mistake by itself and stops: if rank 0 alone did, the processes that Lightning's
launcher started on other nodes would wait for it until the rendezvous times out.
"""

import ctypes
import logging
import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType

import jsonargparse
import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from emoji_gpt2.errors import UserError, flag, one_line

CONFIGURATION_ERRORS = (ValueError, RuntimeError, ImportError, MisconfigurationException)
"""What Lightning raises for options that it cannot follow."""
FIRST_SAYS_IT = 3.0
"""Seconds in which the first process of a node can say an error and end the others."""


def first_of_node() -> bool:
    """Return whether no other process of this node came before."""
    return _number("LOCAL_RANK", "SLURM_LOCALID") == 0


def first_of_run() -> bool:
    """Return whether no other process of any node came before."""
    return first_of_node() and _number("NODE_RANK", "GROUP_RANK", "SLURM_NODEID") == 0


def _number(*names: str) -> int:
    """Return the first of these environment variables that is set; 0 if none is."""
    return int(next(filter(None, map(os.environ.get, names)), 0))


def as_mistake(error: BaseException, *, before_training: bool) -> UserError | None:
    """Return an error as the user's mistake; None if it is one of the program.

    What Lightning itself refuses, before anything is trained, is an option that it cannot follow.
    """
    while error.__cause__ and _is_raised_by(jsonargparse, error):  # it wraps what a class raises
        error = error.__cause__
    if isinstance(error, UserError):
        return error
    refused = isinstance(error, CONFIGURATION_ERRORS) and _is_raised_by(lightning, error)
    return (
        UserError("trainer", f"options that Lightning refuses ({one_line(error)})")
        if refused and before_training
        else None
    )


def _is_raised_by(package: ModuleType, error: BaseException) -> bool:
    *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
    return Path(str(package.__file__)).parent in Path(innermost.f_code.co_filename).parents


def end_other_processes(trainer: Trainer | None) -> None:
    """End the processes that this one has started: the mistake is theirs, too."""
    launcher = trainer.strategy.launcher if trainer else None
    if isinstance(launcher, _SubprocessScriptLauncher):
        started = list(launcher.procs)
        launcher.procs.clear()  # else Lightning's observer kills this process when one of them ends
        for process in started:
            process.kill()
            process.wait()


def print_error(error: UserError) -> None:
    """Print an error as one line: at once if this process is its node's first, which ends others.

    What only another process finds is said by that one, after a while.
    """
    who = "error"
    if not first_of_node():
        time.sleep(FIRST_SAYS_IT)
        who = f"error (rank {rank_zero_only.rank})"  # type: ignore[attr-defined]
    print(f"{who}: {error.line(flag)}", file=sys.stderr)


RANK_ZERO = "lightning.pytorch.utilities.rank_zero"
"""The logger of ``rank_zero_info``."""


@contextmanager
def messages(*, notebook: bool) -> Iterator[None]:
    """Drop Lightning's tips, and in a notebook print its messages on standard output.

    Lightning logs to standard error, which a notebook shows on red as if it were a warning. What
    ``warnings`` prints stays there.
    """
    with ExitStack() as undo:
        logger = logging.getLogger(RANK_ZERO)
        logger.addFilter(_is_no_tip)
        undo.callback(logger.removeFilter, _is_no_tip)
        for name in ("lightning.pytorch", "lightning.fabric") if notebook else ():
            for handler in logging.getLogger(name).handlers:
                if type(handler) is logging.StreamHandler:  # not a file's
                    undo.callback(handler.setStream, handler.stream)
                    handler.setStream(sys.stdout)
        yield


def _is_no_tip(record: logging.LogRecord) -> bool:
    """Return whether a message is something else than "💡 Tip: ... try installing ..."."""
    return not str(record.msg).startswith("💡 Tip:")


def ignore_warnings() -> None:
    """Ignore Lightning's warnings of what is meant, or what a user can do nothing about."""
    # The folder is claimed already, and nothing of another run is in it.
    warnings.filterwarnings("ignore", message=r"Checkpoint directory .* exists and is not empty")
    # validate, test and predict need no checkpoint callbacks.
    warnings.filterwarnings("ignore", message=r"Be aware that when using `ckpt_path`")
    # A run may go on in another folder, or on another disk.
    warnings.filterwarnings("ignore", message=r"The dirpath has changed from")
    # --data.val_fraction 0 is meant.
    warnings.filterwarnings("ignore", message=r"Total length of `list` across ranks is zero")
    # The first epoch may not be validated.
    warnings.filterwarnings("ignore", message=r"`ModelCheckpoint\(monitor=.* could not find the")
    # Lightning 2.6 with torch 2.13; nothing that a user can do about it.
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Numbers of glibc's malloc.h."""


def reuse_freed_memory() -> bool:
    """Let the C library keep freed memory, and return whether that could be set: on glibc only.

    A training step on a CPU frees hundreds of megabytes. glibc gives such blocks back to the
    operating system, and the next step pays for every page again (``mallopt(3)``).
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))  # -1: never
