"""Modes: a cache and a model are readable to those whom the umask lets read them."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from emoji_gpt2.data.datamodule import EmojiDataModule
from emoji_gpt2.model.checkpoint_io import AtomicCheckpointIO
from emoji_gpt2.model.export import save_transformers_folder
from emoji_gpt2.model.module import EmojiGPT2
from tests.conftest import TINY


@pytest.fixture(params=[0o022, 0o002], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    """The mode of all below a folder but locks, which huggingface_hub lets the group write."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix != ".lock")
    return {str(p.relative_to(folder)): oct(stat.S_IMODE(p.stat().st_mode)) for p in paths}


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_all_that_is_written_has_the_modes_of_the_umask(tmp_path: Path, umask: int) -> None:
    cache, run = tmp_path / "cache", tmp_path / "run"
    frame = pd.DataFrame({"text": ["pizza", "slice of pizza"], "emoji": ["🍕", "🍕"]})
    data = EmojiDataModule.from_frame(frame, cache_dir=str(cache))
    data.prepare_data()
    model = EmojiGPT2(config=TINY)
    pictures = {"curves.png": b"picture"}
    save_transformers_folder(model.model, model.tokenizer, run / "model", None, pictures)
    AtomicCheckpointIO().save_checkpoint({"step": 1}, run / "last.ckpt")
    found = modes(tmp_path)
    assert {Path(name).name for name in found} >= {
        "meta.json", "ids.bin", "lengths.npy", "model.safetensors", "tokenizer.json", "last.ckpt",
    }  # fmt: skip
    wanted = {
        name: oct((0o777 if (tmp_path / name).is_dir() else 0o666) & ~umask) for name in found
    }
    assert found == wanted


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_group_s_folder_stays_the_group_s(tmp_path: Path, umask: int) -> None:
    """What is made in a setgid folder belongs to its group, at any depth."""
    tmp_path.chmod(0o2775)
    model = EmojiGPT2(config=TINY)
    save_transformers_folder(model.model, model.tokenizer, tmp_path / "model")
    assert (tmp_path / "model").stat().st_mode & stat.S_ISGID
