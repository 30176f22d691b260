"""Batches: what is supervised in a row, and which rows stand together.

A row is ``description, <|emoji|>, emoji ..., <|endoftext|>``. The position of ``<|emoji|>``
predicts the first emoji, each emoji the next, the last one the end of text: these are the
supervised positions, found by position and never by token. Rows are padded on the right, which a
causal model without attention mask cannot see.

Shapes: B rows, T positions of the longest row but its last token, N supervised positions of all
rows, K right answers of a row, M answers of all soft targets.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from emoji_gpt2.store import SoftTargets

Array = np.ndarray
NO_SOFT_TARGETS = SoftTargets(*(np.empty(0, np.int64) for _ in range(4)))
WINDOW_BATCHES = 64
"""Rows are sorted by length within this many batches: long enough for hardly any padding."""


class Batch(NamedTuple):
    """One rank's part of a batch.

    Attributes:
        ids_BT: Input token ids, padded on the right.
        positions_N: Supervised positions, as indices into the flattened ``[B * T]``.
        labels_N: The token id that each supervised position must predict.
        first_B: The position of each row's ``<|emoji|>``, as an index into ``[B * T]``.
        answers_BK: Token ids that count as a hit for the row, -1 as filler; a row of fillers is
            left out of ranking metrics (training rows, further rows of one text).
        soft_tokens_M: Where a row has several right answers to its ``<|emoji|>``, their token ids;
            ``labels_N`` has one of them, drawn by its share. Empty where no row has any.
        soft_shares_M: What each counts for; those of one position sum to 1.
        soft_places_M: Which supervised position each is for, as an index into ``labels_N``.
    """

    ids_BT: Tensor
    positions_N: Tensor
    labels_N: Tensor
    first_B: Tensor
    answers_BK: Tensor
    soft_tokens_M: Tensor
    soft_shares_M: Tensor
    soft_places_M: Tensor


def collate(
    rows: list[tuple[Array, int, Array]], pad_id: int, soft: SoftTargets = NO_SOFT_TARGETS
) -> Batch:
    """Return the rows, each (all token ids, length of its prompt, right answers), as one batch.

    The ``rows`` of soft targets are places among the rows given.

    Without rows, as on a rank that a small last batch does not reach, the batch is one padding
    token with nothing supervised, so that every rank takes part in each step.
    """
    n_rows = max(1, len(rows))
    n_inputs = np.array([len(ids) - 1 for ids, _, _ in rows], dtype=np.int64)
    width = int(n_inputs.max(initial=1))
    ids_BT = np.full((n_rows, width), pad_id, dtype=np.int64)
    positions, labels = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    first_B = np.zeros(len(rows), dtype=np.int64)
    answers_BK = np.full((len(rows), max([1, *(len(a) for _, _, a in rows)])), -1, dtype=np.int64)
    for row, (ids, n_prompt, answers) in enumerate(rows):
        ids_BT[row, : len(ids) - 1] = ids[:-1]
        positions.append(row * width + np.arange(n_prompt - 1, len(ids) - 1))
        labels.append(ids[n_prompt:].astype(np.int64))
        first_B[row] = row * width + n_prompt - 1
        answers_BK[row, : len(answers)] = answers
    positions_N = np.concatenate(positions)
    soft_places = np.searchsorted(positions_N, first_B[soft.rows])
    return Batch(
        torch.from_numpy(ids_BT),
        torch.from_numpy(positions_N),
        torch.from_numpy(np.concatenate(labels)),
        torch.from_numpy(first_B),
        torch.from_numpy(answers_BK),
        torch.from_numpy(soft.tokens.astype(np.int64)),
        torch.from_numpy(soft.shares.astype(np.float32)),
        torch.from_numpy(np.repeat(soft_places, soft.counts)),
    )


class LengthGroupedSampler:
    """Yield one rank's rows of each training batch: rows of like length together, shuffled.

    Every epoch is a new permutation, a function of ``(seed, epoch)`` alone. Every rank gets the
    same number of batches; in a small last batch some ranks may get no row. Each row occurs exactly
    once over all ranks. Memory: 4 bytes a row for the order and 2 for the lengths.

    Args:
        lengths: Token count of each row, ``[rows]``.
        batch_size: Rows of one batch over all ranks.
        seed: With the epoch, decides the order.
        rank: This process.
        world_size: The number of processes.
        accumulate: Batches of one optimizer step. Batches of 8, and 2 x 4 accumulated, are the same
            rows in each step.
    """

    def __init__(
        self,
        lengths: Array,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        accumulate: int = 1,
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.accumulate = accumulate
        self.epoch = 0
        self.first_batch = 0

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    def __iter__(self) -> Iterator[Array]:
        """Yield the batches of ``epoch`` from ``first_batch`` on."""
        rng = np.random.default_rng([self.seed, self.epoch])
        order = np.arange(len(self.lengths), dtype=np.uint32)
        rng.shuffle(order)
        self._sort_windows(order)
        for number in self._shuffled_batches(rng)[self.first_batch :]:
            start = int(number) * self.batch_size
            yield order[start : start + self.batch_size][self.rank :: self.world_size]

    def _shuffled_batches(self, rng: np.random.Generator) -> Array:
        """Shuffle optimizer steps whole; a smaller last one stays last, where accumulation ends."""
        n_steps = len(self.lengths) // (self.batch_size * self.accumulate)
        whole, last = np.split(np.arange(len(self)), [n_steps * self.accumulate])
        steps = whole.reshape(n_steps, self.accumulate)[rng.permutation(n_steps)]
        return np.concatenate([steps.ravel(), last])

    def _sort_windows(self, order: Array) -> None:
        window = self.batch_size * self.accumulate * WINDOW_BATCHES
        for start in range(0, len(order), window):
            part = order[start : start + window]
            part[:] = part[np.argsort(self.lengths[part], kind="stable")]


class EvaluationSampler:
    """Yield one rank's batches, whole ones, of rows sorted by length; each row once over all ranks.

    A batch holds the same rows on any number of ranks, so that its sums are the same to the last
    digit. Every rank gets the same number of batches: at the end some may get one without rows.

    Args:
        lengths: Token count of each row, ``[rows]``.
        batch_size: Rows of one batch on one rank.
        rank: This process.
        world_size: The number of processes.
    """

    def __init__(self, lengths: Array, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[Array]:
        order = np.argsort(self.lengths, kind="stable")
        for number in range(self.rank, len(self) * self.world_size, self.world_size):
            yield order[number * self.batch_size : (number + 1) * self.batch_size]
