"""Training on a CPU without padding: a batch's tokens lie one after another, whatever their row.

In a small table the rows of a batch differ much in length, and on a CPU each position costs the
same; a GPU would rather have one large rectangle. All of a transformer works on single positions
but its attention, which here goes over rows of one length at a time.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "emoji_gpt2_rows"
WORTH_PACKING = 1.1
"""Positions with padding to positions without: below, attention in parts costs more than it saves
(batches of 32 and 256, GPT-2 124 M)."""
ROUND_UP = 128
"""oneDNN compiles its bfloat16 products for each new number of positions; these are few numbers."""


def attend_by_rows(model: PreTrainedModel) -> None:
    """Let a model with Transformers' usual attention understand what ``pack`` returns as well."""
    if implementation(model) == "sdpa":
        model.set_attn_implementation(NAME)


def implementation(model: PreTrainedModel) -> str | None:
    """Return the name of a model's attention in ``AttentionInterface``."""
    name: str | None = model.config._attn_implementation  # noqa: SLF001 # Transformers has no other
    return name


def pack(model: PreTrainedModel, ids_BT: Tensor, positions_N: Tensor) -> tuple[Any, ...]:
    """Return the ids, what of them to look at, and options of the model's transformer.

    Args:
        model: Of ``attend_by_rows``.
        ids_BT: Token ids, padded on the right.
        positions_N: What is looked at, as indices into the flattened ``[B * T]``; what stands after
            the last of a row is dropped.

    Returns:
        The ids, ``[B, T]`` as they were or packed as ``[1, P]``; the positions in them; options.
    """
    n_rows, width = ids_BT.shape
    if implementation(model) != NAME:  # a user's own
        return ids_BT, positions_N, {"use_cache": False}
    # Four axes: Transformers makes no mask then, nor looks whether rows are packed, for which the
    # host would wait for the GPU (masking_utils.find_packed_sequence_indices).
    no_mask = ids_BT.new_empty(1, 1, 1, 1)
    as_it_is = ids_BT, positions_N, {"use_cache": False, "attention_mask": no_mask, "rows": ()}
    if ids_BT.device.type != "cpu" or torch.compiler.is_compiling():
        return as_it_is
    positions = positions_N.numpy()
    lengths_B = np.ones(n_rows, np.int64)
    np.maximum.at(lengths_B, positions // width, positions % width + 1)
    n_tokens = int(lengths_B.sum())
    if ids_BT.numel() < WORTH_PACKING * n_tokens:
        return as_it_is
    order_B = lengths_B.argsort(kind="stable")
    starts_BT = order_B[:, None] * width + np.arange(width)
    taken_P = starts_BT[np.arange(width) < lengths_B[order_B, None]]
    where = np.empty(ids_BT.numel(), np.int64)
    where[taken_P] = np.arange(n_tokens)
    lengths, counts = np.unique(lengths_B, return_counts=True)
    rows = list(zip(counts.tolist(), lengths.tolist(), strict=True))
    filler = -n_tokens % ROUND_UP
    if filler:  # rows of one token, which nothing looks at
        taken_P = np.append(taken_P, np.zeros(filler, np.int64))
        rows.append((filler, 1))
    taken = torch.from_numpy(taken_P)
    options = {
        "position_ids": taken[None] % width,
        "rows": rows,
        "attention_mask": no_mask,
        "use_cache": False,
    }
    return ids_BT.flatten()[taken][None], torch.from_numpy(where[positions]), options


def attention_by_rows(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    rows: Sequence[tuple[int, int]] | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend as Transformers' ``sdpa``, within each row of packed ones.

    The query is ``[1, heads, P, D]`` packed, else ``[B, heads, T, D]``, as key and value. ``rows``
    are (number of rows, their length) of each stretch of the P; empty where nothing is packed, and
    None if it was not ``pack`` that asked.
    """
    attend: Any = sdpa_attention_forward  # its signature differs between versions
    if not rows:
        mask = attention_mask if rows is None else None
        return attend(module, query, key, value, mask, **options)[0], None
    sizes = [number * length for number, length in rows]
    stretches = zip(rows, *(torch.split(x[0], sizes, 1) for x in (query, key, value)), strict=True)
    parts = []
    for shape, *stretch in stretches:
        of_rows = (part.unflatten(1, shape).transpose(0, 1) for part in stretch)
        parts.append(attend(module, *of_rows, None, **options)[0].flatten(0, 1))
    return torch.cat(parts)[None], None


AttentionInterface.register(NAME, attention_by_rows)
AttentionMaskInterface.register(NAME, sdpa_mask)
