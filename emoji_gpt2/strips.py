"""Cut a batch into strips of rows of like length, so that a CPU computes hardly any padding.

    strips_of_like_length([4, 5, 5, 21])        # [(0, 3, 5), (3, 4, 21)]: rows 0 to 2 are 5 wide

A batch of training is a part of a window that is short on purpose (``LengthGroupedSampler``): in a
small table its rows differ much in length. On a CPU each position costs the same wherever it is; a
GPU would rather have one large batch.
"""

import numpy as np
import torch
from torch import Tensor

from emoji_gpt2.batches import Array

WORTH_A_STRIP = 0.85
"""Rows are cut in two if that leaves so much of their positions at most: a further pass over the
weights, forward and backward, costs about as much as the rest saves."""


def row_lengths(shape: tuple[int, ...], positions_N: Tensor) -> Array:
    """Return how many tokens of each row are needed: up to its last supervised position, ``[B]``.

    Args:
        shape: (B, T).
        positions_N: Supervised positions, as indices into the flattened ``[B * T]``, on the CPU.
    """
    n_rows, width = shape
    lengths = torch.ones(n_rows, dtype=torch.long)
    ends = positions_N % width + 1
    lengths = lengths.scatter_reduce(0, positions_N // width, ends, "amax")
    found: Array = lengths.numpy()
    return found


def strips_of_like_length(lengths: Array, first: int = 0) -> list[tuple[int, int, int]]:
    """Return (first row, row after the last, width) of each strip.

    Args:
        lengths: Of the rows of a batch, ``[B]``.
        first: The number of the first of them.
    """
    n_rows, width = len(lengths), int(np.max(lengths))
    if n_rows > 1:
        above = np.maximum.accumulate(lengths)[:-1]
        below = np.maximum.accumulate(lengths[::-1])[-2::-1]
        rows = np.arange(1, n_rows)
        areas = rows * above + (n_rows - rows) * below
        cut = int(np.argmin(areas)) + 1
        if areas[cut - 1] <= WORTH_A_STRIP * n_rows * width:
            halves = (lengths[:cut], first), (lengths[cut:], first + cut)
            return [strip for half in halves for strip in strips_of_like_length(*half)]
    return [(first, first + n_rows, width)]
