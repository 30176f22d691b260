"""DataLoaders that yield one rank's batches of stored rows; their samplers shard the rows."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, Dataset

from emoji_gpt2.batch import Batch, collate
from emoji_gpt2.data.samplers import Array, EvaluationSampler, LengthGroupedSampler
from emoji_gpt2.data.splits import Split
from emoji_gpt2.data.store import Store


class PromptDataset(Dataset[tuple[Array, int, Array]]):
    """Texts to predict emoji for, as the user wrote them and as ids that end with ``<|emoji|>``."""

    def __init__(self, texts: list[str], ids: list[list[int]], pad_id: int, tokenizer: str) -> None:
        self.texts = texts
        self.ids = ids
        self.pad_id = pad_id
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> tuple[Array, int, Array]:
        ids = self.ids[index]
        return np.array([*ids, self.pad_id]), len(ids), np.empty(0, dtype=np.int64)

    def collate(self, rows: list[tuple[Array, int, Array]]) -> Batch:
        """Return some of the texts as a batch."""
        return collate(rows, self.pad_id, tokenizer=self.tokenizer)


class RowDataset(Dataset[Batch]):
    """Rows of one split; its items are whole batches: ``dataset[[3, 1, 4]]`` is a ``Batch``."""

    def __init__(self, store: Store, split: Split, pad_id: int, tokenizer: str) -> None:
        self.store = store
        self.split = split
        self.pad_id = pad_id
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, indices: Array) -> Batch:
        numbers = self.split.rows[np.asarray(indices, dtype=np.int64)]
        rows = [
            (*self.store.row(int(number)), self.split.answers_of(int(i)))
            for number, i in zip(numbers, indices, strict=True)
        ]
        return collate(rows, self.pad_id, self.store.soft_targets(numbers), self.tokenizer)

    def sample(self, size: int) -> Batch:
        """Return ``size`` rows with answers, spread evenly over the split, the same each time."""
        assert self.split.offsets is not None
        ranked = np.flatnonzero(np.diff(self.split.offsets))
        chosen = np.linspace(0, len(ranked) - 1, min(size, len(ranked))).astype(int)
        return self[ranked[chosen]]

    @property
    def lengths(self) -> Array:
        """Token count of each row."""
        lengths: Array = self.store.lengths[self.split.rows]
        return lengths

    @cached_property
    def n_supervised(self) -> Array:
        """Number of supervised tokens of each row: its emoji and its end of text."""
        counts: Array = self.lengths - self.store.n_prompt[self.split.rows]
        return counts


class RowLoader(DataLoader[Batch]):
    """Iterates over the batches of one rank; ``order`` yields the rows of each.

    Lightning passes a ``sampler`` for ``overfit_batches``: the same batches are repeated.
    """

    def __init__(
        self,
        dataset: RowDataset,
        order: LengthGroupedSampler | EvaluationSampler,
        sampler: Any = None,
        **options: Any,
    ) -> None:
        self.order = order
        if sampler is not None and isinstance(order, LengthGroupedSampler):
            order.shuffle = False
        options |= {"batch_size": None, "shuffle": None, "batch_sampler": None}
        options |= {"persistent_workers": options.get("num_workers", 0) > 0}
        super().__init__(dataset, sampler=order, **options)
        self.__dict__["batch_size"] = order.batch_size  # what other code reads as the batch size

    def __iter__(self) -> Any:
        """Return the iterator without changing torch's random state, which training uses.

        The ``generator`` option would do the same, but cannot be pickled for a spawned process.
        """
        with torch.random.fork_rng(devices=[]):
            return super().__iter__()


class TrainingLoader(RowLoader):
    """Training batches; each iteration is the next epoch, in another order.

    Lightning saves and restores ``state_dict``: a resumed run continues after the last batch that
    was trained on, whatever workers had fetched ahead. Where ``trainer`` is None, ``EmojiGPT2``
    sets it later.
    """

    dataset: RowDataset
    order: LengthGroupedSampler

    def __init__(
        self,
        dataset: RowDataset,
        order: LengthGroupedSampler,
        trainer: Trainer | None = None,
        sampler: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(dataset, order, sampler, **options)
        self.trainer = trainer

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override] # a generator starts late
        self.order.start()
        counts = [int(self.dataset.n_supervised[rows].sum()) for rows in self.order.batches()]
        first = self.order.given
        for number, batch in enumerate(super().__iter__(), first):
            self.order.given = number + 1
            yield self._with_step(batch, number, counts)

    def _with_step(self, batch: Batch, number: int, counts: list[int]) -> Batch:
        """Return the batch with the number of supervised tokens of its optimizer step."""
        accumulate, end = 1, len(counts)
        if self.trainer is not None:
            accumulate = self.trainer.accumulate_grad_batches
            end = int(min(end, self.trainer.num_training_batches))
        start = number - number % accumulate
        tokens = sum(counts[start : min(start + accumulate, end)])
        return batch._replace(step_tokens=tokens, step_batches=accumulate)

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and how many of its batches were trained on; equal on all ranks.

        A batch that was fetched but not yet trained on does not count.
        """
        state = self.order.state_dict()
        if self.trainer is not None and self.trainer.training:
            progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
            state["batches"] = min(state["batches"], progress.processed)
        return state

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the last batch of the state."""
        self.order.load_state_dict(state)
