"""Train a part of GPT-2 only: freeze its first blocks, or put LoRA on its attention.

    adapt(model, freeze_layers=0, lora_rank=8, lora_alpha=16)     # in place
    plain = merged(model)                                          # a GPT2LMHeadModel without LoRA

LoRA (Hu et al., https://arxiv.org/abs/2106.09685) learns ``alpha / rank * B A`` beside each of
attention's projections; ``peft`` makes the layers. Whatever is frozen, the token embeddings are
trained, for an emoji's row among them is new. They stay tied to the output, since the model is
changed in place and not wrapped.
"""

import copy
from typing import Any

from transformers import GPT2LMHeadModel

from emoji_gpt2.errors import UserError

PROJECTIONS = r"transformer\.h\.\d+\.attn\.(c_attn|c_proj)"
"""The modules that get LoRA: query, key and value in one, and attention's output."""


def adapt(
    model: GPT2LMHeadModel, freeze_layers: int, lora_rank: int, lora_alpha: int | None
) -> None:
    """Freeze what is not to be trained, in place; the options are those of ``EmojiGPT2``.

    Raises:
        UserError: the model has fewer blocks, or ``peft`` is not installed.
    """
    n_layer = model.config.n_layer
    if freeze_layers > n_layer:
        wanted = f"0 to {n_layer}, the model's n_layer"
        raise UserError("model.freeze_layers", str(freeze_layers), wanted, "lower it")
    if lora_rank:
        _add_lora(model, lora_rank, lora_alpha or 2 * lora_rank)
    model.transformer.h[:freeze_layers].requires_grad_(requires_grad=False)


def _add_lora(model: GPT2LMHeadModel, rank: int, alpha: int) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model  # noqa: PLC0415 - an extra
    except ImportError as error:
        got = f"{rank}, which needs peft"
        raise UserError("model.lora_rank", got, remedy="install emoji_gpt2[lora]") from error
    config = LoraConfig(  # Conv1D, GPT-2's layer, has its weights transposed
        r=rank, lora_alpha=alpha, target_modules=PROJECTIONS, fan_in_fan_out=True
    )
    inject_adapter_in_model(config, model)  # it freezes all but what it adds
    model.transformer.wte.weight.requires_grad_()


def merged(model: GPT2LMHeadModel) -> GPT2LMHeadModel:
    """Return the model with LoRA added into its weights: a copy, or itself if it has none."""
    layers = [name for name, module in model.named_modules() if hasattr(module, "lora_A")]
    if not layers:
        return model
    plain = copy.deepcopy(model)
    for name in layers:
        layer: Any = plain.get_submodule(name)
        layer.merge(safe_merge=True)  # NaN is an error
        plain.set_submodule(name, layer.get_base_layer())
    del plain.peft_config
    return plain
