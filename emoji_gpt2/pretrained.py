"""Load GPT-2 configurations, weights and tokenizers from a folder or the Hub, with one-line errors.

A name is a folder in Transformers format or a Hub id (``gpt2``, ``user/repo``). Weights load as
float32 whatever they were saved in: precision is the Trainer's business.
"""

import difflib
import json
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer
from transformers.activations import ACT2FN

from emoji_gpt2.adapters import adapt
from emoji_gpt2.errors import UserError
from emoji_gpt2.hub_client import checkpoint_from_hub
from emoji_gpt2.sources.fetch import default_cache_dir, local_copy
from emoji_gpt2.tokenizer import bpe_tokenizer, builtin_gpt2_tokenizer, tokenizer_from_json

ARGUMENT = "--model.pretrained"
"""What an error calls the name, unless the caller has another word for it."""
EXTRA_STATE = "_extra_state"
"""Where ``nn.Module.state_dict`` keeps what ``get_extra_state`` returns."""
_LOADING_ERRORS = (
    OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError,
    pickle.UnpicklingError, KeyError, TypeError,
)  # fmt: skip


def load_gpt2_config(name: str, argument: str = ARGUMENT) -> GPT2Config:
    """Return the configuration of the GPT-2 called ``name``.

    Raises:
        UserError: it cannot be found or read, or is not a GPT-2.
    """
    try:
        fields, _ = GPT2Config.get_config_dict(_expanded(name))
    except _LOADING_ERRORS as error:
        raise _unloadable(name, error, argument) from error
    if not fields:
        raise _unloadable(name, FileNotFoundError("no config.json found"), argument)
    if fields.get("model_type") != "gpt2":
        raise UserError(
            f"{argument}: got {name!r}, a model of type {fields.get('model_type')!r}, "
            "wanted a GPT-2; give the name or folder of a GPT-2 such as gpt2 or distilgpt2"
        )
    try:
        config = _with_fast_activation(GPT2Config.from_dict(fields))
        _check_config(config)
    except (StrictDataclassError, ValueError) as error:
        raise _unloadable(name, error, argument) from error
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
            raise UserError(f"--model.config: got {field!r}, wanted a GPT2Config field; {remedy}")
    try:
        config = _with_fast_activation(GPT2Config(**fields))
        _check_config(config)
    except (TypeError, ValueError, StrictDataclassError) as error:
        line = " ".join(str(error).split())
        raise UserError(f"--model.config: got {fields!r}: {line}; correct it") from error
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


def load_gpt2_weights(
    name: str, dropout: float | None = None, argument: str = ARGUMENT
) -> GPT2LMHeadModel:
    """Return the GPT-2 called ``name`` in float32.

    Raises:
        UserError: it cannot be found, is not a GPT-2, or its weights are truncated or of other
            shapes than its configuration says.
    """
    config = with_dropout(load_gpt2_config(name, argument), dropout)
    try:
        loaded: Any = GPT2LMHeadModel.from_pretrained(
            _expanded(name), config=config, dtype=torch.float32, output_loading_info=True
        )
        model: GPT2LMHeadModel = loaded[0].train()  # from_pretrained turns dropout off
        report: dict[str, Any] = loaded[1]
    except _LOADING_ERRORS as error:
        raise _unloadable(name, error, argument) from error
    missing = sorted(set(report["missing_keys"]) - {"lm_head.weight"})
    if missing:
        raise UserError(
            f"{argument}: got {name!r}, whose weights lack {missing[0]} "
            f"(and {len(missing) - 1} more), wanted a whole GPT-2; download or save it again"
        )
    return model


def local_checkpoint(path: str, argument: str = "--ckpt_path") -> str:
    """Return the local file of a checkpoint; an https:// or hf:// address is fetched once.

    Raises:
        UserError: the address does not give the file.
    """
    if path.startswith("hf://"):
        return checkpoint_from_hub(path, argument)
    if path.startswith(("http://", "https://")):
        return str(local_copy(path, default_cache_dir(), argument))
    return path


def read_checkpoint(path: str | Path, argument: str = "--ckpt_path") -> dict[str, Any]:
    """Return the content of a local checkpoint of ``EmojiGPT2``; nothing in it is executed.

    Its tensors stay on disk until they are used.

    Raises:
        UserError: it is truncated, or not a checkpoint of ``EmojiGPT2``.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch.load raises whatever the bytes lead it to
        raise UserError(
            f"{argument}: got {str(path)!r}, wanted a whole checkpoint ({_first_line(error)}); "
            "it may be truncated: take another"
        ) from error
    if not isinstance(content, dict) or not {"state_dict", "hyper_parameters"} <= content.keys():
        raise UserError(f"{argument}: got {str(path)!r}, wanted a checkpoint of EmojiGPT2")
    return content


class Stored(NamedTuple):
    """What a checkpoint says of its network, beside the weights: JSON values only.

    Attributes:
        config: The fields of GPT2Config that are not GPT-2 small's.
        tokenizer: The tokenizer, by ``tokenizer_to_json``.
        base_model: What the first run of these weights began with.
        adapters: freeze_layers, lora_rank and lora_alpha.
    """

    config: dict[str, Any]
    tokenizer: str
    base_model: str | None
    adapters: tuple[int, int, int | None]


def stored_in(checkpoint: dict[str, Any]) -> Stored:
    """Return what a checkpoint says of its network.

    Raises:
        UserError: nothing, so it is none of ``EmojiGPT2``.
    """
    state = checkpoint["state_dict"].get(EXTRA_STATE)
    if state is not None:
        return Stored(**state)
    if "tokenizer" not in checkpoint:
        raise UserError("--ckpt_path: got a checkpoint without tokenizer, wanted one of EmojiGPT2")
    hparams = checkpoint["hyper_parameters"]  # as version 0.1 wrote it
    adapters = (hparams.get(n) for n in ("freeze_layers", "lora_rank", "lora_alpha"))
    freeze_layers, lora_rank, lora_alpha = adapters
    return Stored(
        hparams["config"],
        checkpoint["tokenizer"],
        checkpoint.get("base_model"),
        (freeze_layers or 0, lora_rank or 0, lora_alpha),
    )


def network_of(stored: Stored, dropout: float | None = None) -> GPT2LMHeadModel:
    """Return the network that a checkpoint describes, with other weights."""
    model = GPT2LMHeadModel(with_dropout(new_gpt2_config(stored.config), dropout))
    adapt(model, *stored.adapters)
    return model


def load_checkpoint_network(
    path: str | Path, argument: str = "--ckpt_path"
) -> tuple[GPT2LMHeadModel, GPT2Tokenizer]:
    """Return the network and tokenizer of a checkpoint, whatever subclass of EmojiGPT2 wrote it.

    Raises:
        UserError: it is truncated, or not a checkpoint of ``EmojiGPT2``.
    """
    checkpoint = read_checkpoint(path, argument)
    stored = stored_in(checkpoint)
    model = network_of(stored)
    prefix = "model."
    state = {
        name.removeprefix(prefix): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(prefix)
    }
    model.load_state_dict(state)
    return model, tokenizer_from_json(stored.tokenizer)


def load_gpt2_tokenizer(name: str | None, argument: str = ARGUMENT) -> GPT2Tokenizer:
    """Return the tokenizer of the GPT-2 called ``name``; None is the built-in GPT-2 BPE.

    A folder that holds weights but no tokenizer gets the built-in one if its vocabulary is GPT-2's.

    Raises:
        UserError: no tokenizer can be had, or it has no end-of-text token.
    """
    if name is None:
        return builtin_gpt2_tokenizer()
    folder = Path(_expanded(name))
    if folder.is_dir() and not (folder / "tokenizer.json").exists():
        return _tokenizer_of_bare_folder(name, folder, argument)
    load_gpt2_config(name, argument)  # a name that does not exist gives an empty tokenizer
    try:
        tokenizer: GPT2Tokenizer = GPT2Tokenizer.from_pretrained(_expanded(name))
    except _LOADING_ERRORS as error:
        raise _unloadable(name, error, argument) from error
    return _checked(tokenizer, name, argument)


def _checked(tokenizer: GPT2Tokenizer, name: str, argument: str) -> GPT2Tokenizer:
    if len(tokenizer) < 256 or tokenizer.eos_token_id is None:
        raise UserError(
            f"{argument}: got {name!r}, whose tokenizer has {len(tokenizer)} tokens and "
            f"the end-of-text token {tokenizer.eos_token!r}, wanted a byte-level GPT-2 tokenizer; "
            "save the model's own tokenizer beside its weights"
        )
    return tokenizer


def _tokenizer_of_bare_folder(name: str, folder: Path, argument: str) -> GPT2Tokenizer:
    builtin = builtin_gpt2_tokenizer()
    vocab_size = load_gpt2_config(name, argument).vocab_size
    if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        try:
            tokenizer = _tokenizer_of_old_files(folder)
        except Exception as error:  # tokenizers raises bare Exceptions
            raise _unloadable(name, error, argument, "vocab.json and merges.txt") from error
        return _checked(tokenizer, name, argument)
    if vocab_size != len(builtin):
        raise UserError(
            f"{argument}: got {name!r}, a folder without tokenizer.json and with "
            f"{vocab_size} tokens, wanted GPT-2's {len(builtin)} or a tokenizer; "
            "save the model's own tokenizer beside its weights"
        )
    return builtin


def _tokenizer_of_old_files(folder: Path) -> GPT2Tokenizer:
    vocab: dict[str, int] = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    return bpe_tokenizer(vocab, merges)


def _unloadable(
    name: str, error: Exception, argument: str, wanted: str = "config.json and model.safetensors"
) -> UserError:
    """Return the one line that says why ``name`` could not be loaded and what to do."""
    if Path(_expanded(name)).is_dir():
        remedy = f"give a folder written by save_pretrained, with {wanted} whole"
    elif _looks_like_a_path(name):
        remedy = "no such folder; give a folder or a Hub id"
    else:
        remedy = (
            "no such folder here, and the Hub did not give it: check the name, the network and "
            "HF_HUB_OFFLINE, or give a local folder"
        )
    return UserError(f"{argument}: got {name!r}: {_first_line(error)}; {remedy}")


def _expanded(name: str) -> str:
    return str(Path(name).expanduser()) if name.startswith("~") else name


def _looks_like_a_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def _first_line(error: Exception) -> str:
    text: Any = str(error).strip() or type(error).__name__
    return str(text.splitlines()[0]).rstrip(".:")
