"""The floor of a training step: the operations that must be done, and how fast this machine can.

    work = Work(GPT2Config(), tokens=1176, supervised=256)
    work.operations / seconds_of_a_step / matrix_rate(work, bf16=True)     # share, at most 1

A matrix product of [T, K] and [K, N] is 2 T K N operations, and training does three of each: the
output, the gradient of the input and that of the weight (Kaplan et al. 2020,
https://arxiv.org/abs/2001.08361, section 2.1). Counted are the blocks' matrices at each real token
and the projection on the candidates at each supervised position; attention's own products (under
1 % at ten tokens a row), dropout, norms and the optimizer's pass are what the share pays for.
"""

import statistics
import time
from typing import NamedTuple

import torch
from transformers import GPT2Config

from emoji_gpt2 import EmojiTable


class Work(NamedTuple):
    """One optimizer step.

    Args:
        config: Of the GPT-2.
        tokens: Real input tokens.
        supervised: Positions with a loss: a row's emoji and its end.
    """

    config: GPT2Config
    tokens: float
    supervised: float

    @property
    def products(self) -> list[tuple[int, int, int, int]]:
        """Rows, inner and outer size of each matrix product, and how often a forward pass has it.

        Sizes: [T, K] x [K, N].
        """
        width, layers = self.config.n_embd, self.config.n_layer
        tokens = round(self.tokens)
        shapes = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
        candidates = len(list(EmojiTable.builtin())) + 1
        return [(tokens, k, n, layers) for k, n in shapes] + [
            (round(self.supervised), width, candidates, 1)
        ]

    @property
    def operations(self) -> float:
        """All of a step, forward and backward."""
        return float(sum(6 * t * k * n * times for t, k, n, times in self.products))


def matrix_rate(work: Work, bf16: bool, repeats: int = 9) -> float:
    """Return operations per second of the step's matrix products alone, one after another.

    The median over ``repeats`` of all products of one layer and the projection, weighted as in
    ``work``; matrices of their own for each, as a model has.
    """
    dtype = torch.bfloat16 if bf16 else torch.float32
    seconds = sum(times * _seconds(t, k, n, dtype, repeats) for t, k, n, times in work.products)
    return work.operations / seconds


def _seconds(t: int, k: int, n: int, dtype: torch.dtype, repeats: int) -> float:
    """Return the time of the three products that [T, K] x [K, N] takes in training."""
    x = torch.randn(t, k, dtype=dtype)
    w = torch.randn(k, n, dtype=dtype)
    dy = torch.randn(t, n, dtype=dtype)
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        x @ w
        dy @ w.T
        x.T @ dy
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])
