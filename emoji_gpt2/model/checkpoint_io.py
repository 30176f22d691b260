"""Checkpoints that are whole whenever they are there, on any file system.

    trainer = Trainer(plugins=[AtomicCheckpointIO()])

Lightning 2.6 moves a file from the system's temporary folder (cloud_io.py, ``_atomic_save``). Where
that is another file system, moving means copying into the file that is there: a run that is killed
meanwhile leaves half a checkpoint.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write beside the file's place, then rename; addresses (s3://…) are Lightning's business."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint; until it is whole, what was there before stays."""
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.part")
        try:
            with aside.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def holding_weights_of(path: str | Path, pl_module: LightningModule) -> Iterator[int]:
    """Let the module that wrote a checkpoint hold its weights for a while; yield their step.

    No other module is made, so that any subclass, with any arguments, can be asked.
    """
    checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    own = {
        name: value.detach().cpu().clone() if isinstance(value, torch.Tensor) else value
        for name, value in pl_module.state_dict().items()
    }
    try:
        pl_module.load_state_dict(checkpoint["state_dict"])
        yield checkpoint["global_step"]
    finally:
        pl_module.load_state_dict(own)
