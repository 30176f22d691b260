"""The processes of a run: which one is the first, and how a mistake is said once and ends them all.

Each node finds a mistake by itself and stops: if rank 0 alone did, the processes that Lightning's
launcher started on other nodes would wait for it until the rendezvous times out.
"""

import ctypes
import os
import sys
import time
import traceback
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
