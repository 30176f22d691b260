"""The loader: batches of stored rows for one rank, by whole batches, in worker processes or not.

It is a ``DataLoader`` like any other, whose sampler shards the rows itself.
"""

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
    """Texts without answers, to predict emoji for; ``collate`` makes a batch of some.

    Args:
        texts: As the user gave them.
        ids: The token ids of each with ``<|emoji|>`` at the end.
        pad_id: The token that fills up short rows.
        tokenizer: ``fingerprint`` of the tokenizer.
    """

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
    """Rows of one split, addressed by many at a time: ``dataset[[3, 1, 4]]`` is a ``Batch``.

    Args:
        store: The rows.
        split: Which of them.
        pad_id: The token that fills up short rows.
        tokenizer: ``fingerprint`` of the tokenizer.
    """

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

    @cached_property
    def n_supervised(self) -> Array:
        """Supervised tokens of each row: its emoji and its end of text."""
        counts: Array = self.lengths - self.store.n_prompt[self.split.rows]
        return counts


class RowLoader(DataLoader[Batch]):
    """Iterate over the batches of one rank.

    Args:
        dataset: The rows.
        order: Which rows make a batch, and when it comes.
        sampler: Lightning gives one for ``overfit_batches``, which repeats the same batches.
        options: Of ``torch.utils.data.DataLoader``: num_workers, pin_memory.
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
        self.__dict__["batch_size"] = order.batch_size  # for whoever asks

    def __iter__(self) -> Any:
        """Return the iterator; the seed that it draws for workers is not taken from training.

        A generator of the loader's own could not be sent to a spawned process.
        """
        with torch.random.fork_rng(devices=[]):
            return super().__iter__()


class TrainingLoader(RowLoader):
    """Training batches in another order each epoch; each iteration is the next epoch.

    Lightning saves and restores ``state_dict``: a run goes on with the batch after the last that
    training was given, whatever workers had fetched ahead.

    Args:
        dataset: The rows.
        order: Which rows make a batch, and when it comes.
        trainer: Whose it is, if it is known when the loader is made; ``EmojiGPT2`` sets it else.
        sampler: Lightning gives one for ``overfit_batches``, which repeats the same batches.
        options: Of ``torch.utils.data.DataLoader``: num_workers, pin_memory.
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
        """Return a batch that knows the tokens of its optimizer step, which the trainer decides."""
        accumulate, end = 1, len(counts)
        if self.trainer is not None:
            accumulate = self.trainer.accumulate_grad_batches
            end = int(min(end, self.trainer.num_training_batches))
        start = number - number % accumulate
        tokens = sum(counts[start : min(start + accumulate, end)])
        return batch._replace(step_tokens=tokens, step_batches=accumulate)

    def state_dict(self) -> dict[str, int]:
        """Return the epoch and how many of its batches were trained on: the same on all ranks.

        A batch that is not trained on yet when training is interrupted is not among them.
        """
        state = self.order.state_dict()
        if self.trainer is not None and self.trainer.training:
            progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
            state["batches"] = min(state["batches"], progress.processed)
        return state

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batch that the state was taken at."""
        self.order.load_state_dict(state)
