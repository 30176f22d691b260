"""The network of a module: made anew, or as a checkpoint describes it (``Stored``)."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn
from transformers import GPT2LMHeadModel, GPT2Tokenizer

from emoji_gpt2.errors import UserError, check
from emoji_gpt2.gpt2_files import load_gpt2_tokenizer, new_gpt2_config, with_dropout
from emoji_gpt2.model.embeddings import add_embeddings, start_as_bag_of_words
from emoji_gpt2.model.lora import adapt
from emoji_gpt2.model.pretrained import CHECKPOINT, load_gpt2_weights, read_checkpoint
from emoji_gpt2.tokenizer import add_emoji_tokens, tokenizer_from_json

EXTRA_STATE = "_extra_state"
"""Where ``nn.Module.state_dict`` keeps what ``get_extra_state`` returns."""
COMPILED = "_orig_mod."
"""What ``torch.compile`` puts into the names of a network's weights."""


class Stored(NamedTuple):
    """What a checkpoint says of its network, beside the weights: JSON values only."""

    config: dict[str, Any]  # the fields of GPT2Config that are not GPT-2 small's
    tokenizer: str  # by ``tokenizer_to_json``
    base_model: str | None  # what the first run of these weights began with
    adapters: tuple[int, int, int | None]  # freeze_layers, lora_rank and lora_alpha


def stored_in(checkpoint: dict[str, Any]) -> Stored:
    """Return what a checkpoint says of its network.

    Raises:
        UserError: nothing, so it is none of ``EmojiGPT2``.
    """
    state = checkpoint["state_dict"].get(EXTRA_STATE)
    if state is not None:
        return Stored(**state)
    if "tokenizer" not in checkpoint:
        raise UserError(CHECKPOINT, "a checkpoint without tokenizer", "one of EmojiGPT2")
    hparams = checkpoint["hyper_parameters"]  # as version 0.1 wrote it
    adapters = (
        hparams.get("freeze_layers") or 0,
        hparams.get("lora_rank") or 0,
        hparams.get("lora_alpha"),
    )
    base_model = checkpoint.get("base_model")
    return Stored(hparams["config"], checkpoint["tokenizer"], base_model, adapters)


def network_of(stored: Stored, dropout: float | None = None) -> GPT2LMHeadModel:
    """Return the network that a checkpoint describes, with other weights."""
    model = GPT2LMHeadModel(with_dropout(new_gpt2_config(stored.config), dropout))
    adapt(model, *stored.adapters)
    return model


def load_checkpoint_network(path: str | Path) -> tuple[GPT2LMHeadModel, GPT2Tokenizer]:
    """Return the network and tokenizer of a checkpoint, whatever subclass of EmojiGPT2 wrote it.

    Raises:
        UserError: it is truncated, or not a checkpoint of ``EmojiGPT2``.
    """
    checkpoint = read_checkpoint(path)
    stored = stored_in(checkpoint)
    model = network_of(stored)
    weights = checkpoint["state_dict"].items()
    own = {name.removeprefix("model."): w for name, w in weights if name.startswith("model.")}
    model.load_state_dict(own)
    return model, tokenizer_from_json(stored.tokenizer)


loading: ContextVar[Stored | None] = ContextVar("the network of the checkpoint being loaded")


def new_network(
    pretrained: str | None, config: dict[str, Any], dropout: float | None
) -> tuple[GPT2LMHeadModel, GPT2Tokenizer]:
    """Return a GPT-2 with emoji tokens and its tokenizer, from pretrained weights or scratch."""
    tokenizer = load_gpt2_tokenizer(pretrained)
    n_tokens = len(tokenizer)
    tokenizer, new_tokens = add_emoji_tokens(tokenizer)
    if pretrained:
        model = load_gpt2_weights(pretrained, dropout)
    else:
        size = config.get("vocab_size")
        fine = size in (None, n_tokens, len(tokenizer))
        check("model.config.vocab_size", size, fine=fine, wanted="none: the tokenizer decides")
        model = GPT2LMHeadModel(with_dropout(new_gpt2_config(config), dropout))
    add_embeddings(model, tokenizer, new_tokens)
    if not pretrained:
        start_as_bag_of_words(model)
    return model, tokenizer


@contextmanager
def building_network_of(checkpoint: dict[str, Any]) -> Iterator[None]:
    """Let modules that are made meanwhile have a checkpoint's network, whatever their arguments.

    A subclass may compute what it hands to ``EmojiGPT2.__init__``, and what the run began with need
    not be there any more.
    """
    token = loading.set(stored_in(checkpoint))
    try:
        yield
    finally:
        loading.reset(token)


def plain_names(
    _module: nn.Module, state_dict: dict[str, Any], prefix: str, _metadata: dict[str, Any]
) -> None:
    """Name the weights of a compiled network as those of the network itself."""
    compiled = f"{prefix}model.{COMPILED}"
    for name in [name for name in state_dict if name.startswith(compiled)]:
        state_dict[f"{prefix}model.{name.removeprefix(compiled)}"] = state_dict.pop(name)


def names_of_module(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Name the weights as the module does, and do without state that weights alone lack."""
    state_dict.setdefault(prefix + EXTRA_STATE, {})
    if hasattr(module.model, COMPILED.rstrip(".")):
        plain = f"{prefix}model."
        for name in [name for name in state_dict if name.startswith(plain)]:
            state_dict[f"{plain}{COMPILED}{name.removeprefix(plain)}"] = state_dict.pop(name)
