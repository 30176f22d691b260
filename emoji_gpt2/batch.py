"""Batches: what is supervised in a row, and which rows stand together.

A row is ``description, <|emoji|>, emoji ..., <|endoftext|>``. The position of ``<|emoji|>``
predicts the first emoji, each emoji the next, the last one the end of text: these are the
supervised positions, found by position and never by token. Rows are padded on the right, which a
causal model without attention mask cannot see.

Shapes: B rows, T positions of the longest row but its last token, N supervised positions of all
rows, K right answers of a row, M answers of all soft targets.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

Array = np.ndarray


class SoftTargets(NamedTuple):
    """Several right answers of some rows, with probabilities that sum to 1 in each row.

    Attributes:
        rows: Row numbers, ascending, ``[S]``.
        counts: How many answers each has, ``[S]``.
        tokens: Their token ids, one row's after another's.
        probs: The probability of each.
    """

    rows: Array
    counts: Array
    tokens: Array
    probs: Array


NO_SOFT_TARGETS = SoftTargets(*(np.empty(0, np.int64) for _ in range(4)))


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
            ``labels_N`` has one of them, drawn by its probability. Empty where no row has any.
        soft_probs_M: The probability of each; those of one position sum to 1.
        soft_indices_M: The supervised position of each, as an index into ``labels_N``.
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
    soft_probs_M: Tensor
    soft_indices_M: Tensor
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

    The ``rows`` of soft targets are indices into the rows given.

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
    soft_indices = np.searchsorted(positions_N, first_B[soft.rows])
    return Batch(
        torch.from_numpy(ids_BT),
        torch.from_numpy(positions_N),
        torch.from_numpy(np.concatenate(labels)),
        torch.from_numpy(first_B),
        torch.from_numpy(answers_BK),
        torch.from_numpy(soft.tokens.astype(np.int64)),
        torch.from_numpy(soft.probs.astype(np.float32)),
        torch.from_numpy(np.repeat(soft_indices, soft.counts)),
        tokenizer=tokenizer,
    )


def rank_and_world_size() -> tuple[int, int]:
    """Return this process's number and how many there are, whoever started them."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
