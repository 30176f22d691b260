"""What is copied aside stays as it is."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from emoji_gpt2.hub.snapshots import add_checkpoints, checkpoints_to_push, save_best
from emoji_gpt2.model.checkpoint_io import AtomicCheckpointIO
from emoji_gpt2.training.checkpoints import BestCheckpoint, LastCheckpoint
from tests.cli_runs import contents


def trainer_with(*callbacks: Any) -> Any:
    return SimpleNamespace(checkpoint_callbacks=[*callbacks], default_root_dir="root")


@pytest.mark.parametrize("links", [True, False])
def test_a_folder_aside_outlives_the_next_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def no_link(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "another file system")

    if not links:
        monkeypatch.setattr("emoji_gpt2.hub.snapshots.os.link", no_link)
    model = tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    (model / "sub" / "weights").write_text("old", encoding="utf-8")
    save_best(trainer_with(), None, tmp_path / "aside", model)  # type: ignore[arg-type]
    copy = tmp_path / "aside" / "sub" / "weights"
    assert (copy.stat().st_nlink == 2) is links
    model.rename(tmp_path / "gone")  # as an export does
    (model / "sub").mkdir(parents=True)
    (model / "sub" / "weights").write_text("new", encoding="utf-8")
    assert contents(tmp_path / "aside") == {"sub/weights": b"old"}


@pytest.mark.parametrize("io", [TorchCheckpointIO(), AtomicCheckpointIO()])
def test_a_checkpoint_aside_stays_and_is_linked_if_that_is_safe(
    tmp_path: Path, io: TorchCheckpointIO
) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()
    last = LastCheckpoint(tmp_path)
    last.last_model_path = str(tmp_path / "last.ckpt")
    trainer = trainer_with(last)
    trainer.strategy = SimpleNamespace(checkpoint_io=io)
    io.save_checkpoint({"step": 1}, last.last_model_path)
    add_checkpoints(trainer, "checkpoint", aside)
    linked = isinstance(io, AtomicCheckpointIO)
    assert ((aside / "last.ckpt").stat().st_nlink == 2) is linked
    if linked:
        io.save_checkpoint({"step": 2}, last.last_model_path)
    else:  # as Lightning's own does between two file systems
        torch.save({"step": 2}, last.last_model_path)
    assert torch.load(aside / "last.ckpt", weights_only=True) == {"step": 1}


def test_checkpoints_of_each_strategy(tmp_path: Path) -> None:
    best, last = BestCheckpoint(str(tmp_path)), LastCheckpoint(tmp_path)
    weights = ModelCheckpoint(tmp_path, save_weights_only=True)
    paths = {name: tmp_path / name for name in ("best.ckpt", "last.ckpt", "weights.ckpt")}
    best.best_model_path = str(paths["best.ckpt"])
    best.best_k_models = {str(tmp_path / "removed.ckpt"): 1.0}  # type: ignore[dict-item]
    last.last_model_path = str(paths["last.ckpt"])  # as in a run
    weights.last_model_path = str(paths["weights.ckpt"])
    for age, path in enumerate(paths.values()):
        path.write_bytes(b"")
        os.utime(path, (age, age))
    trainer = trainer_with(weights, best, last)
    assert checkpoints_to_push(trainer, "every_save") == {}
    assert checkpoints_to_push(trainer, "checkpoint") == {"last.ckpt": paths["last.ckpt"]}
    assert checkpoints_to_push(trainer, "all_checkpoints") == paths
    paths["last.ckpt"].unlink()
    newest = checkpoints_to_push(trainer, "checkpoint")
    assert newest == {"last.ckpt": paths["best.ckpt"]}, "from weights alone no run goes on"
