"""Compute with a model that belongs to somebody else, and leave it as it was."""

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
        if model.device == wanted:
            return model
        copied: nn.Module = copy.deepcopy(model)  # nn.Module, for mypy: their own to() has no types
        return copied.to(wanted)  # type: ignore[return-value]
    except (RuntimeError, AssertionError) as error:  # AssertionError: a torch without CUDA
        reason = str(error).partition("\n")[0]
        needed = f"one of this machine ({reason})"
        raise UserError("device", repr(device), needed) from error


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
