"""What of a run goes to the Hub: the Transformers folder and the checkpoints, copied aside.

    write_current(pl_module, folder, first)        # or write_best(trainer, pl_module, folder)
    wanted = checkpoints_to_push(trainer, "checkpoint")          # {"last.ckpt": Path(...)}
    take_checkpoint(wanted["last.ckpt"], folder / "last.ckpt", trainer)

What is taken stays as it is, whatever is saved later.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from emoji_gpt2.files import LAST
from emoji_gpt2.hub.uploader import Stamp
from emoji_gpt2.model.checkpoint_io import AtomicCheckpointIO, holding_weights_of
from emoji_gpt2.model.export import save_transformers_folder
from emoji_gpt2.model.lora import merged
from emoji_gpt2.model.module import EmojiGPT2


def stamp(path: Path) -> Stamp:
    """Return what changes whenever a file is written anew."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def link_folder(source: Path, target: Path) -> None:
    """Fill ``target`` with ``source``'s files, as hard links where the file system has them.

    Safe for a folder of ``save_transformers_folder``: it is replaced as a whole, by new files, and
    never written into, so that what is linked stays as it is.
    """
    for path in sorted(source.rglob("*")):
        if path.is_file():
            _link(path, target / path.relative_to(source))


def _link(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def take_checkpoint(path: Path, target: Path, trainer: Trainer) -> None:
    """Copy a checkpoint, or link it where the trainer replaces the file whole.

    Lightning's own way of writing does not: it moves the file from the system's temporary folder,
    which between two file systems means to write into the file that is there.
    """
    if isinstance(trainer.strategy.checkpoint_io, AtomicCheckpointIO):
        _link(path, target)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def write_current(pl_module: EmojiGPT2, folder: Path, first: Path) -> None:
    """Write the weights as they are now as a Transformers folder.

    Args:
        pl_module: The model.
        folder: Where to.
        first: Of an earlier call of ``write_first`` in the same run, or not there yet. Its files
            are linked, all but the weights.
    """
    write_first(pl_module, first)
    link_folder(first, folder)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        merged(pl_module.model).save_pretrained(name)
        for weights in Path(name).glob("model*.safetensors*"):
            weights.replace(folder / weights.name)


def write_first(pl_module: EmojiGPT2, first: Path) -> None:
    """Write, if it is not there, a Transformers folder for the others to link.

    Tokenizer and generation config are the same throughout a run, and take ten times as long to
    write as a small model.
    """
    if not first.is_dir():
        save_transformers_folder(pl_module.model, pl_module.tokenizer, first)


def write_best(trainer: Trainer, pl_module: EmojiGPT2, folder: Path, exported: Path | None) -> None:
    """Write the best weights: those exported, of the best checkpoint, or else the present ones."""
    if exported:
        link_folder(exported, folder)
        return
    for callback in _checkpoint_callbacks(trainer):
        if callback.monitor and Path(callback.best_model_path).is_file():
            with holding_weights_of(callback.best_model_path, pl_module):
                save_transformers_folder(pl_module.model, pl_module.tokenizer, folder)
            return
    save_transformers_folder(pl_module.model, pl_module.tokenizer, folder)


def checkpoints_to_push(trainer: Trainer, strategy: str) -> dict[str, Path]:
    """Return the checkpoints that a strategy pushes, by their name in the repository."""
    if strategy not in ("checkpoint", "all_checkpoints"):
        return {}
    kept = [(path, callback) for path, callback in _kept(trainer) if path.is_file()]
    wanted = {path.name: path for path, _ in kept} if strategy == "all_checkpoints" else {}
    whole = [path for path, callback in kept if not callback.save_weights_only]
    if whole:
        wanted[LAST] = max(whole, key=stamp)  # the newest from which training can go on
    return wanted


def saves(trainer: Trainer) -> tuple[Any, ...]:
    """Return what changes whenever a ModelCheckpoint saves something; no file is looked at."""
    return tuple(
        (path, callback.best_model_score, getattr(callback, "_last_global_step_saved", 0))
        for path, callback in _kept(trainer)
    )


def _kept(trainer: Trainer) -> list[tuple[Path, ModelCheckpoint]]:
    """Return the checkpoints that are kept, each with the callback that keeps it."""
    found = []
    for callback in _checkpoint_callbacks(trainer):
        names = [*callback.best_k_models, callback.best_model_path, callback.last_model_path]
        found += [(Path(name), callback) for name in dict.fromkeys(names) if name]
    return found


def _checkpoint_callbacks(trainer: Trainer) -> list[ModelCheckpoint]:
    return [one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)]
