"""Samplers: which rows stand together in a batch, in which order, on which rank."""

import math
from collections.abc import Iterator

import numpy as np
from torch.utils.data import SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from emoji_gpt2.batch import rank_and_world_size

Array = np.ndarray
WINDOW_STEPS = 64
"""Rows are sorted by length within windows of this many optimizer steps, to avoid padding."""
WINDOWS = 4
"""An epoch has at least this many windows; a single one would sort it from short to long, as in
Transformers' ``LengthGroupedSampler``."""


class RankSampler(DistributedSampler[Array]):
    """Yields the rows of one rank's batches.

    The rank is read from ``torch.distributed`` when the sampler is iterated, so that a loader may
    be made before the process group. It is a ``DistributedSampler``, since Lightning and Fabric
    replace any other sampler by their own. ``lengths`` are the token counts of all rows; a batch
    has ``batch_size`` rows over all ranks in training, on one rank in evaluation.
    """

    def __init__(self, lengths: Array, batch_size: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size


class LengthGroupedSampler(RankSampler):
    """Yields one rank's rows of each training batch: rows of similar length together, shuffled.

    Each iteration is the next epoch, whose permutation depends on ``(seed, epoch)`` alone. Every
    rank gets the same number of batches; in a short step some ranks may get no row. Each row occurs
    exactly once over all ranks.

    ``accumulate`` batches are one optimizer step: one batch of 8 and two accumulated ones of 4 hold
    the same rows.
    """

    def __init__(self, lengths: Array, batch_size: int, seed: int, accumulate: int = 1) -> None:
        super().__init__(lengths, batch_size)
        self.seed = seed
        self.accumulate = accumulate
        self.epoch = 0  # of the present or next iteration
        self.given = 0  # batches of this epoch that were yielded to training
        self.goes_on = False  # whether the next iteration continues the epoch after these
        self.shuffle = True  # whether epochs differ; overfit_batches repeats the first

    def set_epoch(self, epoch: int) -> None:
        """Make this the next epoch, unless one is to be continued; Lightning and Fabric call it."""
        if not self.goes_on:
            self.epoch, self.given = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and how many of its batches were yielded; equal on all ranks."""
        return {"epoch": self.epoch, "batches": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the last batch of the state."""
        self.epoch, self.given = state["epoch"], state["batches"]
        self.goes_on = self.given < len(self)

    def follow(self, other: "LengthGroupedSampler") -> None:
        """Begin with the epoch after that of another sampler, or continue where it would."""
        self.epoch = other.epoch + (other.given > 0 and not other.goes_on)
        if other.goes_on:
            rows = other.given * other.batch_size
            self.load_state_dict({"epoch": other.epoch, "batches": rows // self.batch_size})

    def start(self) -> None:
        """Begin the next epoch, or continue the one of ``load_state_dict``."""
        if self.given and not self.goes_on:
            self.epoch, self.given = self.epoch + 1, 0
        self.goes_on = False

    def __len__(self) -> int:
        step = self.batch_size * self.accumulate
        return math.ceil(len(self.lengths) / step) * self.accumulate

    def __iter__(self) -> Iterator[Array]:
        """Yield this rank's rows of the remaining batches of the epoch."""
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
        self._sort_windows(whole)  # the short step holds rows of any length
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
    """Yields one rank's batches of rows sorted by length; each row once over all ranks.

    A batch holds the same rows on any number of ranks, so that its sums are equal to the last
    digit. Every rank gets the same number of batches; the last ones may be empty.
    """

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / (self.batch_size * rank_and_world_size()[1]))

    def __iter__(self) -> Iterator[Array]:  # type: ignore[override]
        rank, world_size = rank_and_world_size()
        order = np.argsort(self.lengths, kind="stable")
        for number in range(rank, len(self) * world_size, world_size):
            yield order[number * self.batch_size : (number + 1) * self.batch_size]
