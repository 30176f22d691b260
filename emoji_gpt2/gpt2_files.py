"""Read a GPT-2's configuration and tokenizer from a folder or the Hub, with one-line errors.

A name is a folder in Transformers format or a Hub id (``gpt2``, ``user/repo``).
"""

import difflib
import pickle
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import GPT2Config, GPT2Tokenizer, PreTrainedTokenizerFast
from transformers.activations import ACT2FN
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from emoji_gpt2.errors import UserError
from emoji_gpt2.shipped import model_path
from emoji_gpt2.tokenizer import builtin_gpt2_tokenizer

ARGUMENT = "model.pretrained"
"""The argument that names a GPT-2; ``errors.blaming`` gives it another name."""
SAVE_TOKENIZER = "save the model's own tokenizer beside its weights"
WHOLE = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""Classes that Transformers reads from the whole of tokenizer.json."""
LOADING_ERRORS = (
    OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError,
    pickle.UnpicklingError, KeyError, TypeError,
)  # fmt: skip


def load_gpt2_config(name: str) -> GPT2Config:
    """Return the configuration of the GPT-2 called ``name``.

    Raises:
        UserError: it cannot be found or read, or is not a GPT-2.
    """
    try:
        fields, _ = GPT2Config.get_config_dict(model_path(name))
    except LOADING_ERRORS as error:
        raise unloadable(name, error) from error
    if not fields:
        raise unloadable(name, FileNotFoundError("no config.json found"))
    if fields.get("model_type") != "gpt2":
        got = f"{name!r}, a model of type {fields.get('model_type')!r}"
        remedy = "give the name or folder of a GPT-2 such as gpt2 or distilgpt2"
        raise UserError(ARGUMENT, got, "a GPT-2", remedy)
    try:
        config = _with_fast_activation(GPT2Config.from_dict(fields))
        _check_config(config)
    except (StrictDataclassError, ValueError) as error:
        raise unloadable(name, error) from error
    return config


def new_gpt2_config(fields: dict[str, Any]) -> GPT2Config:
    """Return a configuration with these fields, the rest as in GPT-2 small.

    Raises:
        UserError: a field is unknown, or of a wrong type or value.
    """
    known = GPT2Config().to_dict()
    for field in fields:
        if field not in known and field not in GPT2Config.attribute_map:
            close = difflib.get_close_matches(field, known, n=1)
            remedy = f"did you mean {close[0]}?" if close else "see transformers.GPT2Config"
            raise UserError("model.config", repr(field), "a GPT2Config field", remedy)
    try:
        config = _with_fast_activation(GPT2Config(**fields))
        _check_config(config)
    except (TypeError, ValueError, StrictDataclassError) as error:
        raise UserError("model.config", f"{fields!r}: {error}", remedy="correct it") from error
    return config


def _check_config(config: GPT2Config) -> None:
    """Raise a ValueError for what GPT2Config takes and no GPT-2 can be built or trained with."""
    sizes = {n: getattr(config, n) for n in ("n_layer", "n_head", "n_embd", "n_positions")}
    if min(sizes.values()) < 1 or config.n_embd % config.n_head:
        raise ValueError(f"{sizes}, wanted numbers above 0 and an n_embd that n_head divides")
    for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(f"{name} {getattr(config, name)}, wanted 0 to below 1")
    if config.activation_function not in ACT2FN:
        raise ValueError(f"activation_function {config.activation_function!r} is unknown")
    if not config.tie_word_embeddings:
        raise ValueError("tie_word_embeddings False, wanted true: emoji tokens have one embedding")


def _with_fast_activation(config: GPT2Config) -> GPT2Config:
    """Return ``config`` with GPT-2's GELU (gelu_new) as the same function in one kernel.

    Transformers' gelu_new is seven operations, each of which keeps a tensor for the backward pass.
    """
    if config.activation_function == "gelu_new":
        config.activation_function = "gelu_pytorch_tanh"
    return config


def with_dropout(config: GPT2Config, dropout: float | None) -> GPT2Config:
    """Return ``config`` with all three of GPT-2's dropouts set, unless ``dropout`` is None."""
    if dropout is not None:
        config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = dropout
    return config


def load_gpt2_tokenizer(name: str | None) -> GPT2Tokenizer:
    """Return the tokenizer of the GPT-2 called ``name``; None is the built-in GPT-2 BPE.

    A folder that holds weights but no tokenizer gets the built-in one if its vocabulary is GPT-2's.

    Raises:
        UserError: no tokenizer can be had, or it has no end-of-text token.
    """
    if name is None:
        return builtin_gpt2_tokenizer()
    config = load_gpt2_config(name)  # a name that does not exist gives an empty tokenizer
    folder, wanted = Path(model_path(name)), "config.json and model.safetensors"
    if folder.is_dir() and not (folder / "tokenizer.json").exists():
        wanted = "vocab.json and merges.txt"
        if not all((folder / file).exists() for file in ("vocab.json", "merges.txt")):
            return _builtin_of_bare_folder(name, config.vocab_size)
    try:
        # Ours need the whole of tokenizer.json, GPT-2's own are made of vocabulary and merges. Not
        # AutoTokenizer: it chooses by the folder's name, among other things.
        stored = get_tokenizer_config(model_path(name)).get("tokenizer_class")
        kind: Any = PreTrainedTokenizerFast if stored in WHOLE else GPT2Tokenizer
        tokenizer: GPT2Tokenizer = kind.from_pretrained(model_path(name))
    except Exception as error:
        raise unloadable(name, error, wanted) from error
    if len(tokenizer) < 256 or tokenizer.eos_token_id is None:
        raise UserError(
            ARGUMENT,
            f"{name!r}, whose tokenizer has {len(tokenizer)} tokens and the end-of-text token "
            f"{tokenizer.eos_token!r}",
            "a byte-level GPT-2 tokenizer",
            SAVE_TOKENIZER,
        )
    return tokenizer


def _builtin_of_bare_folder(name: str, vocab_size: int) -> GPT2Tokenizer:
    builtin = builtin_gpt2_tokenizer()
    if vocab_size != len(builtin):
        got = f"{name!r}, a folder without tokenizer.json and with {vocab_size} tokens"
        wanted = f"GPT-2's {len(builtin)} or a tokenizer"
        raise UserError(ARGUMENT, got, wanted, SAVE_TOKENIZER)
    return builtin


def unloadable(
    name: str, error: Exception, wanted: str = "config.json and model.safetensors"
) -> UserError:
    """Return the one line that says why ``name`` could not be loaded and what to do."""
    if Path(model_path(name)).is_dir():
        remedy = f"give a folder written by save_pretrained, with {wanted} whole"
    elif name.startswith((".", "/", "~")) or name.count("/") > 1:
        remedy = "no such folder; give a folder or a Hub id"
    else:
        remedy = (
            "no such folder here, and the Hub did not give it: check the name, the network and "
            "HF_HUB_OFFLINE, or give a local folder"
        )
    return UserError(ARGUMENT, f"{name!r}: {first_line(error)}", remedy=remedy)


def first_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    text: Any = str(error).strip() or type(error).__name__
    return str(text.splitlines()[0]).rstrip(".:")
