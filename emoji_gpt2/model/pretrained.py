"""Load GPT-2's weights from a folder or the Hub, and networks from checkpoints.

Weights load as float32 whatever they were saved in: precision is the Trainer's business.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import GPT2LMHeadModel

from emoji_gpt2.errors import UserError, blaming
from emoji_gpt2.files import checkpoint_from_hub, default_cache_dir, local_copy
from emoji_gpt2.gpt2_files import (
    ARGUMENT,
    LOADING_ERRORS,
    first_line,
    load_gpt2_config,
    unloadable,
    with_dropout,
)
from emoji_gpt2.shipped import model_path

CHECKPOINT = "ckpt_path"


def load_gpt2_weights(name: str, dropout: float | None = None) -> GPT2LMHeadModel:
    """Return the GPT-2 called ``name`` in float32.

    Raises:
        UserError: it cannot be found, is not a GPT-2, or its weights are truncated or of other
            shapes than its configuration says.
    """
    config = with_dropout(load_gpt2_config(name), dropout)
    try:
        loaded: Any = GPT2LMHeadModel.from_pretrained(
            model_path(name), config=config, dtype=torch.float32, output_loading_info=True
        )
        model: GPT2LMHeadModel = loaded[0].train()  # from_pretrained turns dropout off
        report: dict[str, Any] = loaded[1]
    except LOADING_ERRORS as error:
        raise unloadable(name, error) from error
    missing = sorted(set(report["missing_keys"]) - {"lm_head.weight"})
    if missing:
        got = f"{name!r}, whose weights lack {missing[0]} (and {len(missing) - 1} more)"
        raise UserError(ARGUMENT, got, "a whole GPT-2", "download or save it again")
    return model


def local_checkpoint(path: str) -> str:
    """Return the local file of a checkpoint; an https:// or hf:// address is fetched once.

    Raises:
        UserError: the address does not give the file.
    """
    if path.startswith("hf://"):
        return checkpoint_from_hub(path)
    if path.startswith(("http://", "https://")):
        with blaming(CHECKPOINT, "data.path"):
            return str(local_copy(path, default_cache_dir()))
    return path


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return the content of a local checkpoint of ``EmojiGPT2``; nothing in it is executed.

    Its tensors stay on disk until they are used.

    Raises:
        UserError: it is truncated, or not a checkpoint of ``EmojiGPT2``.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch.load raises whatever the bytes lead it to
        wanted = f"a whole checkpoint ({first_line(error)})"
        remedy = "it may be truncated: take another"
        raise UserError(CHECKPOINT, repr(str(path)), wanted, remedy) from error
    if not isinstance(content, dict) or not {"state_dict", "hyper_parameters"} <= content.keys():
        raise UserError(CHECKPOINT, repr(str(path)), "a checkpoint of EmojiGPT2")
    return content
