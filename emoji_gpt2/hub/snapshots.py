"""What of a run is pushed: the Transformers folder and the checkpoints, copied aside.

    save_best(trainer, pl_module, folder, exported)             # the Transformers folder
    add_checkpoints(trainer, "checkpoint", folder)              # and last.ckpt

A copy does not change when the run saves again. It consists of hard links where possible.
"""

import os
import shutil
from contextlib import nullcontext
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from emoji_gpt2.files import LAST
from emoji_gpt2.model.checkpoint_io import AtomicCheckpointIO, holding_weights_of
from emoji_gpt2.model.export import save_transformers_folder
from emoji_gpt2.model.module import EmojiGPT2


def link(source: str | Path, target: str | Path) -> None:
    """Make a hard link, or a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def save_best(trainer: Trainer, pl_module: EmojiGPT2, folder: Path, exported: Path | None) -> None:
    """Save the best weights as a Transformers folder.

    Args:
        trainer: Its checkpoint callbacks know the best checkpoint; without one the present weights
            are saved.
        pl_module: The model.
        folder: Where to.
        exported: The run's own Transformers folder, which is linked instead. It is safe to link:
            an export replaces the folder and never writes into it.
    """
    if exported:
        shutil.copytree(exported, folder, copy_function=link)
        return
    monitored = (Path(one.best_model_path) for one in _callbacks(trainer) if one.monitor)
    best = next((path for path in monitored if path.is_file()), None)
    with holding_weights_of(best, pl_module) if best else nullcontext():
        save_transformers_folder(pl_module.model, pl_module.tokenizer, folder)


def add_checkpoints(trainer: Trainer, strategy: str, folder: Path) -> None:
    """Copy the checkpoints that a strategy pushes, or link them where that is safe.

    Lightning's own way of writing may write into the file that is there, which would change a link.
    """
    for name, path in checkpoints_to_push(trainer, strategy).items():
        replaced_whole = isinstance(trainer.strategy.checkpoint_io, AtomicCheckpointIO)
        (link if replaced_whole else shutil.copyfile)(path, folder / name)


def checkpoints_to_push(trainer: Trainer, strategy: str) -> dict[str, Path]:
    """Return the checkpoints that a strategy pushes, by their name in the repository."""
    if strategy not in ("checkpoint", "all_checkpoints"):
        return {}
    wanted: dict[str, Path] = {}
    whole = []
    for callback in _callbacks(trainer):
        names = [*callback.best_k_models, callback.best_model_path, callback.last_model_path]
        kept = [path for path in map(Path, filter(None, names)) if path.is_file()]
        if strategy == "all_checkpoints":
            wanted |= {path.name: path for path in kept}
        if not callback.save_weights_only:
            whole += kept
    if whole:  # training can go on from the newest
        wanted[LAST] = max(whole, key=lambda path: path.stat().st_mtime_ns)
    return wanted


def _callbacks(trainer: Trainer) -> list[ModelCheckpoint]:
    return [one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)]
