"""Samplers: which rows stand together in a batch, in which order, on which rank."""

import math
from collections.abc import Iterator

import numpy as np
from torch.utils.data import SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from emoji_gpt2.batch import rank_and_world_size

Array = np.ndarray
WINDOW_STEPS = 64
"""Rows are sorted by length within this many optimizer steps: hardly any padding is left."""
WINDOWS = 4
"""An epoch has so many windows at least, or short and long texts would have fixed places in it, as
in Transformers' ``LengthGroupedSampler``."""


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
