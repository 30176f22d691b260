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
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist
from torch.utils.data import SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from emoji_gpt2.store import SoftTargets

Array = np.ndarray
NO_SOFT_TARGETS = SoftTargets(*(np.empty(0, np.int64) for _ in range(4)))
WINDOW_STEPS = 64
"""Rows are sorted by length within this many optimizer steps: hardly any padding is left."""
WINDOWS = 4
"""An epoch has so many windows at least, or short and long texts would have fixed places in it, as
in Transformers' ``LengthGroupedSampler``."""


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
        step_tokens: Supervised tokens of the whole optimizer step: of all its micro-batches, on all
            ranks. None where that is not known; the loss is then the batch's own mean.
        step_batches: Micro-batches of an optimizer step, by which the trainer divides their losses.
        tokenizer: ``fingerprint`` of the tokenizer of the ids, which must be the model's.
    """

    ids_BT: Tensor
    positions_N: Tensor
    labels_N: Tensor
    first_B: Tensor
    answers_BK: Tensor
    soft_tokens_M: Tensor
    soft_shares_M: Tensor
    soft_places_M: Tensor
    step_tokens: int | None = None
    step_batches: int = 1
    tokenizer: str | None = None

    def to(self, device: torch.device | str, **options: Any) -> "Batch":
        """Return the batch on another device; ``options`` are those of ``Tensor.to``."""
        moved = (part.to(device, **options) if isinstance(part, Tensor) else part for part in self)
        return Batch(*moved)  # type: ignore[arg-type]


def collate(
    rows: list[tuple[Array, int, Array]],
    pad_id: int,
    soft: SoftTargets = NO_SOFT_TARGETS,
    tokenizer: str | None = None,
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
        tokenizer=tokenizer,
    )


def rank_and_world_size() -> tuple[int, int]:
    """Return this process's number and how many there are, whoever started them."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class RankSampler(DistributedSampler[Array]):
    """Yields the rows of one rank's batches, in an order of its own.

    It asks ``torch.distributed`` for the rank when it is iterated, so that a loader may be made
    before the processes know each other. A ``DistributedSampler``, since Lightning and Fabric
    replace any other by their own.

    Args:
        lengths: Token count of each row, ``[rows]``.
        batch_size: Rows of a batch.
    """

    def __init__(self, lengths: Array, batch_size: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size


class LengthGroupedSampler(RankSampler):
    """Yield one rank's rows of each training batch: rows of like length together, shuffled.

    Every epoch is a new permutation, a function of ``(seed, epoch)`` alone, and each iteration is
    the next epoch. Every rank gets the same number of batches; in a short step some ranks may get
    no row. Each row occurs exactly once over all ranks. Memory: 4 bytes a row for the order and 2
    for the lengths.

    Args:
        lengths: Token count of each row, ``[rows]``.
        batch_size: Rows of one batch over all ranks.
        seed: With the epoch, decides the order.
        accumulate: Batches of one optimizer step. Batches of 8, and 2 x 4 accumulated, are the same
            rows in each step.

    Attributes:
        epoch: Of the present or next iteration.
        given: How many of its batches training was given.
        goes_on: Whether the next iteration goes on with the epoch, where ``load_state_dict`` says.
        goes_on: Whether the next iteration goes on with the epoch, where ``load_state_dict`` says.
        shuffle: Whether epochs differ; ``overfit_batches`` repeats the first.
    """

    def __init__(self, lengths: Array, batch_size: int, seed: int, accumulate: int = 1) -> None:
        super().__init__(lengths, batch_size)
        self.seed = seed
        self.accumulate = accumulate
        self.epoch = self.given = 0
        self.shuffle = True
        self.goes_on = False

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be this epoch, unless it goes on; Lightning and Fabric call it."""
        if not self.goes_on:
            self.epoch, self.given = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and how many of its batches were given out: the same on all ranks."""
        return {"epoch": self.epoch, "batches": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batch that the state was taken at."""
        self.epoch, self.given = state["epoch"], state["batches"]
        self.goes_on = self.given < len(self)

    def follow(self, other: "LengthGroupedSampler") -> None:
        """Begin with the epoch after that of another, or go on where that would have gone on."""
        self.epoch = other.epoch + (other.given > 0 and not other.goes_on)
        if other.goes_on:
            rows = other.given * other.batch_size
            self.load_state_dict({"epoch": other.epoch, "batches": rows // self.batch_size})

    def start(self) -> None:
        """Begin the next epoch, or go on with the one that ``load_state_dict`` brought."""
        if self.given and not self.goes_on:
            self.epoch, self.given = self.epoch + 1, 0
        self.goes_on = False

    def __len__(self) -> int:
        step = self.batch_size * self.accumulate
        return math.ceil(len(self.lengths) / step) * self.accumulate

    def __iter__(self) -> Iterator[Array]:
        """Yield this rank's rows of the epoch's batches, without those that were given."""
        rank, world_size = rank_and_world_size()
        for rows in self.batches()[self.given :]:
            yield rows[rank::world_size]

    def batches(self) -> list[Array]:
        """Return the rows of all ranks of each batch of the epoch."""
        rng = np.random.default_rng([self.seed, self.epoch if self.shuffle else 0])
        order = np.arange(len(self.lengths), dtype=np.uint32)
        rng.shuffle(order)
        step = self.batch_size * self.accumulate
        n_whole = len(order) // step
        whole, short = np.split(order, [n_whole * step])
        self._sort_windows(whole)  # the short step has rows of any length, and stands anywhere
        batches = [*whole.reshape(-1, self.batch_size)]
        batches += np.array_split(short, self.accumulate) if len(short) else []
        steps = rng.permutation(len(batches) // self.accumulate)
        return [batches[i * self.accumulate + j] for i in steps for j in range(self.accumulate)]

    def _sort_windows(self, order: Array) -> None:
        step = self.batch_size * self.accumulate
        steps = min(WINDOW_STEPS, max(1, len(order) // step // WINDOWS))
        for start in range(0, len(order), steps * step):
            part = order[start : start + steps * step]  # a view
            part[:] = part[np.argsort(self.lengths[part], kind="stable")]


class EvaluationSampler(RankSampler, SequentialSampler):
    """Yield one rank's batches, whole ones, of rows sorted by length; each row once over all ranks.

    A batch holds the same rows on any number of ranks, so that its sums are the same to the last
    digit. Every rank gets the same number of batches: at the end some may get one without rows.

    Args:
        lengths: Token count of each row, ``[rows]``.
        batch_size: Rows of one batch on one rank.
    """

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / (self.batch_size * rank_and_world_size()[1]))

    def __iter__(self) -> Iterator[Array]:  # type: ignore[override]
        rank, world_size = rank_and_world_size()
        order = np.argsort(self.lengths, kind="stable")
        for number in range(rank, len(self) * world_size, world_size):
            yield order[number * self.batch_size : (number + 1) * self.batch_size]
