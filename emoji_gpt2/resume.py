"""Random states in the checkpoint, so that a run that goes on draws what it would have drawn.

Lightning 2.6 saves no random state: with dropout, a resumed run has the same batches and other
weights. The states are applied at the first training batch, since validation and sanity checks come
before it. Values are tensors, numbers, lists and strings only: the checkpoint loads with
``weights_only=True``.
"""

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import distributed as dist

KEY = "random_states"


class SaveRandomState(Callback):
    """Save the random states of all ranks in each checkpoint, and go on with them."""

    def __init__(self) -> None:
        self._stored: list[dict[str, Any]] = []

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Gather all ranks' states; Lightning calls this on every rank and writes rank 0's."""
        states = [random_state()]
        if trainer.world_size > 1:
            states *= trainer.world_size
            dist.all_gather_object(states, states[0])
        checkpoint[KEY] = states

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the states until training begins."""
        self._stored = checkpoint.get(KEY, [])

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Apply this rank's state, once."""
        if self._stored and len(self._stored) != trainer.world_size:
            rank_zero_warn(
                f"The checkpoint was written by {len(self._stored)} processes and goes on with "
                f"{trainer.world_size}: random states start anew."
            )
        elif self._stored:
            set_random_state(self._stored[trainer.global_rank])
        self._stored = []


def random_state() -> dict[str, Any]:
    """Return this process's random states of Python, NumPy, torch and its GPUs."""
    numpy: Any = np.random.get_state()  # noqa: NPY002 - the global one
    name, keys, *rest = numpy
    version, words, gauss = random.getstate()
    return {
        "python": [version, list(words), gauss],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Set what ``random_state`` returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([gpu.cpu() for gpu in state["cuda"]])
