"""Compute with a model that belongs to somebody else, and leave it as it was.

    model = on_device(model, "cuda")        # itself if it is there, else a copy
    with torch.inference_mode(), eval_mode(model):
        model(ids_BT)

Training goes on as before, also after an exception.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import GPT2LMHeadModel

from emoji_gpt2.errors import UserError


def best_device() -> str:
    """Return the first GPU, else Apple's, else the CPU."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def on_device(model: GPT2LMHeadModel, device: str) -> GPT2LMHeadModel:
    """Return the model if it is on ``device``, else a copy of it there.

    Raises:
        UserError: this machine has no such device, or no room on it.
    """
    try:
        wanted = torch.empty(0, device=device).device  # with its number: cuda is cuda:0
        return model if model.device == wanted else _copied(model, wanted)
    except (RuntimeError, AssertionError) as error:  # AssertionError: a torch without CUDA
        reason = str(error).partition("\n")[0]
        needed = f"one of this machine ({reason})"
        raise UserError("device", repr(device), needed) from error


def _copied(model: GPT2LMHeadModel, device: torch.device) -> GPT2LMHeadModel:
    """Return a copy whose tensors are copied once, to the device; tied ones stay tied."""
    moved: dict[int, object] = {id(b): b.to(device) for b in model.buffers()}
    for parameter in model.parameters():
        moved[id(parameter)] = nn.Parameter(parameter.detach().to(device), requires_grad=False)
    return copy.deepcopy(model, moved)


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Compute without dropout; afterwards each sub-module is in the mode it was in."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
