"""A checkpoint is whole or not there, however its writing ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from emoji_gpt2.model.checkpoint_io import AtomicCheckpointIO

KILLED = """
import os, signal, sys
from emoji_gpt2.model.checkpoint_io import AtomicCheckpointIO
class Deadly:
    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGKILL)
AtomicCheckpointIO().save_checkpoint({"step": 2, "deadly": Deadly()}, sys.argv[1])
"""


class Unwritable:
    def __reduce__(self) -> str:
        raise OSError("no space left on device")


def step(path: Path) -> int:
    stored: dict[str, int] = torch.load(path, weights_only=True)
    return stored["step"]


def test_what_was_there_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    with pytest.raises(OSError, match="no space"):
        AtomicCheckpointIO().save_checkpoint({"step": 2, "rest": Unwritable()}, path)
    assert step(path) == 1
    assert subprocess.run([sys.executable, "-c", KILLED, path], check=False).returncode == (
        -signal.SIGKILL
    )
    assert step(path) == 1
    AtomicCheckpointIO().save_checkpoint({"step": 3}, path)
    assert step(path) == 3
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_linked_elsewhere_keeps_its_content(tmp_path: Path) -> None:
    path, link = tmp_path / "last.ckpt", tmp_path / "snapshot.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    os.link(path, link)
    AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert (step(link), step(path)) == (1, 2)


def test_addresses_are_lightning_s_business() -> None:
    AtomicCheckpointIO().save_checkpoint({"step": 1}, "memory://run/last.ckpt")
    assert AtomicCheckpointIO().load_checkpoint("memory://run/last.ckpt") == {"step": 1}
