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
        states = [random_state(trainer.strategy.root_device)]
        if trainer.world_size > 1:
            states *= trainer.world_size
            dist.all_gather_object(states, states[0])
        checkpoint[KEY] = states

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the states until training begins; validate, test and predict draw nothing."""
        if trainer.state.fn == "fit":
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
            set_random_state(self._stored[trainer.global_rank], trainer.strategy.root_device)
        self._stored = []


def random_state(device: torch.device) -> dict[str, Any]:
    """Return this process's random states: of Python, NumPy, torch, and the device it trains on."""
    numpy: Any = np.random.get_state()  # noqa: NPY002 - the global one
    name, keys, *rest = numpy
    version, words, gauss = random.getstate()
    state = {
        "python": [version, list(words), gauss],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Set what ``random_state`` returned, as far as it is of a device like ``device``."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    of_device = state.get(device.type)
    if isinstance(of_device, list):  # of all visible GPUs, as checkpoints held them before
        of_device = of_device[device.index] if device.index < len(of_device) else None
    if of_device is not None and device.type == "cuda":
        torch.cuda.set_rng_state(of_device.cpu(), device)
    elif of_device is not None and device.type == "mps":
        torch.mps.set_rng_state(of_device.cpu())
