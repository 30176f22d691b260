"""The loader: batches of stored rows for one rank, by whole batches, in worker processes or not.

It is no ``DataLoader`` subclass on purpose: Lightning would replace the sampler of one by its own
under DDP (lightning/pytorch/trainer/connectors/data_connector.py), and rows are sharded already.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from emoji_gpt2.batches import (
    Array,
    Batch,
    EvaluationSampler,
    LengthGroupedSampler,
    collate,
)
from emoji_gpt2.store import Split, Store


class PromptDataset(Dataset[Batch]):
    """Texts without answers, to predict emoji for.

    Args:
        texts: As the user gave them.
        ids: The token ids of each with ``<|emoji|>`` at the end.
        pad_id: The token that fills up short rows.
    """

    def __init__(self, texts: list[str], ids: list[list[int]], pad_id: int) -> None:
        self.texts = texts
        self.ids = ids
        self.pad_id = pad_id

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, indices: Array) -> Batch:
        nothing = np.empty(0, dtype=np.int64)
        prompts = [self.ids[int(i)] for i in indices]
        return collate(
            [(np.array([*ids, self.pad_id]), len(ids), nothing) for ids in prompts], self.pad_id
        )


class RowDataset(Dataset[Batch]):
    """Rows of one split, addressed by many at a time: ``dataset[[3, 1, 4]]`` is a ``Batch``.

    Args:
        store: The rows.
        split: Which of them.
        pad_id: The token that fills up short rows.
    """

    def __init__(self, store: Store, split: Split, pad_id: int) -> None:
        self.store = store
        self.split = split
        self.pad_id = pad_id

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, indices: Array) -> Batch:
        numbers = self.split.rows[np.asarray(indices, dtype=np.int64)]
        rows = [
            (*self.store.row(int(number)), self.split.answers_of(int(i)))
            for number, i in zip(numbers, indices, strict=True)
        ]
        return collate(rows, self.pad_id, self.store.soft_targets(numbers))

    def sample(self, size: int) -> Batch:
        """Return ``size`` ranked rows spread evenly over the split, the same each time."""
        assert self.split.offsets is not None
        ranked = np.flatnonzero(np.diff(self.split.offsets))
        chosen = np.linspace(0, len(ranked) - 1, min(size, len(ranked))).astype(int)
        return self[ranked[chosen]]

    @property
    def lengths(self) -> Array:
        """Token count of each row."""
        lengths: Array = self.store.lengths[self.split.rows]
        return lengths


class RowLoader:
    """Iterate over the batches of one rank.

    Args:
        dataset: The rows.
        batches: Which rows make a batch.
        num_workers: Processes that collate; 0 does it in this one.
        pin_memory: Put batches in page-locked memory, for a GPU.
    """

    def __init__(
        self,
        dataset: RowDataset | PromptDataset,
        batches: LengthGroupedSampler | EvaluationSampler,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.dataset = dataset
        self.batches = batches
        self._loader: DataLoader[Batch] = DataLoader(
            dataset,
            batch_size=None,
            sampler=batches,
            num_workers=num_workers,
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0,
            generator=torch.Generator(),  # or each epoch would draw a seed from torch's own
        )

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._loader)


class TrainingLoader(RowLoader):
    """Training batches in another order each epoch; each iteration is the next epoch.

    Lightning saves and restores ``state_dict``: a run goes on with the batch after the last that
    training was given, whatever workers had fetched ahead.

    Args:
        dataset: The rows.
        batches: Which rows make a batch.
        num_workers: Processes that collate; 0 does it in this one.
        pin_memory: Put batches in page-locked memory, for a GPU.
        first_epoch: The epoch of the first iteration.
    """

    def __init__(
        self,
        dataset: RowDataset,
        batches: LengthGroupedSampler,
        num_workers: int = 0,
        pin_memory: bool = False,
        first_epoch: int = 0,
    ) -> None:
        super().__init__(dataset, batches, num_workers, pin_memory)
        self._sampler = batches
        self._epoch = first_epoch - 1
        self._given = 0
        self._restored = False

    def __iter__(self) -> Iterator[Batch]:
        if not self._restored:
            self._epoch, self._given = self._epoch + 1, 0
        self._restored = False
        self._sampler.epoch, self._sampler.first_batch = self._epoch, self._given
        for batch in self._loader:
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and how many of its batches were given out: the same on all ranks."""
        return {"epoch": self._epoch, "batches": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batch that the state was taken at."""
        self._epoch, self._given = state["epoch"], state["batches"]
        self._restored = self._given < len(self)
