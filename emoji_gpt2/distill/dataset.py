"""Batches for distillation: texts with the teacher's answers, and names with their emoji.

The answers are computed for each batch anew, from stored vectors: a text's is that of the whole
text, or the sum of its parts' where it was composed. A name of an emoji, toned or not, has one
right answer.

Shapes as in ``teacher``, and V candidates: end of text, then all emoji in table order.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from emoji_gpt2.batch import Array, collate
from emoji_gpt2.distill.teacher import MAX_ANSWER, NAMED, Teacher
from emoji_gpt2.emoji.text import words

SENTENCE = 2
"""A text of so many words may have one emoji more than things."""


class DistillBatch(NamedTuple):
    """A ``Batch``, and ``targets_NV``: how likely each candidate should be at each position."""

    ids_BT: Tensor
    positions_N: Tensor
    labels_N: Tensor
    first_B: Tensor
    answers_BK: Tensor
    targets_NV: Tensor
    step_tokens: int | None = None
    step_batches: int = 1
    tokenizer: str | None = None


class Row(NamedTuple):
    """A text that the teacher answers.

    Attributes:
        text: It, normalised.
        parts: The texts whose vectors make its own.
        things: The texts that are things in it, in the order of mention.
        emotions: The numbers of its emotions.
        mood: The share of the probability that their emoji get.
        most: How many emoji it is answered with at most; 0 where that depends on the things.
    """

    text: str
    parts: tuple[str, ...]
    things: tuple[str, ...]
    emotions: tuple[int, ...] = ()
    mood: float = 0.0
    most: int = 0


@dataclass
class DistillDataset(Dataset[DistillBatch]):
    """Texts that the teacher answers, then names, whose answers are known.

    Attributes:
        prompts: Token ids of all of them, ``<|emoji|>`` at the end.
        rows: Those that the teacher answers.
        place: The row of ``vectors`` of each text, part and thing.
        vectors: The teacher's vectors, ``[texts, D]``.
        right: The candidate that each name means.
        teacher: What answers.
        untoned: Which of the candidates the teacher's emoji are, after end of text.
        candidates: The token of each candidate, end of text first.
    """

    prompts: list[list[int]]
    rows: list[Row]
    place: dict[str, int]
    vectors: Array
    right: list[int]
    teacher: Teacher
    untoned: Tensor
    candidates: list[int]

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def lengths(self) -> Array:
        """Token count of each prompt."""
        return np.array([len(ids) for ids in self.prompts])

    def __getitem__(self, numbers: Array) -> DistillBatch:
        """Return the batch of these rows, those that the teacher answers first."""
        numbers = np.sort(numbers)
        n_taught = int(np.searchsorted(numbers, len(self.rows)))
        answers_BK = torch.zeros(len(numbers), MAX_ANSWER + 1, dtype=torch.long)
        targets_BKV = torch.zeros(len(numbers), MAX_ANSWER + 1, len(self.candidates))
        columns = torch.cat([torch.zeros(1, dtype=torch.long), self.untoned])
        if n_taught:
            answers, targets = self.answers([self.rows[i] for i in numbers[:n_taught]])
            answers_BK[:n_taught] = torch.where(answers > 0, columns[answers], 0)
            targets_BKV[:n_taught, :, columns] = targets
        for row, number in enumerate(numbers[n_taught:].tolist(), n_taught):
            right = self.right[number - len(self.rows)]
            answers_BK[row, 0] = right
            targets_BKV[row, 0, right] = targets_BKV[row, 1, 0] = 1.0
        n_emoji_B = (answers_BK > 0).sum(1)
        end, nothing, rows = self.candidates[0], np.empty(0, np.int64), []
        for number, answer, n in zip(numbers, answers_BK.tolist(), n_emoji_B.tolist(), strict=True):
            prompt = self.prompts[number]
            tokens = [*prompt, *(self.candidates[emoji] for emoji in answer[:n]), end]
            rows.append((np.array(tokens), len(prompt), nothing))
        batch = collate(rows, end)
        predicted_BK = torch.arange(MAX_ANSWER + 1) <= n_emoji_B[:, None]
        return DistillBatch(*batch[:5], targets_BKV[predicted_BK])

    def answers(self, rows: list[Row], *, greedy: bool = False) -> tuple[Tensor, Tensor]:
        """Return the teacher's answers to the rows: ``Teacher.sequences``."""
        vectors_BD = torch.stack([self._vectors(row.parts).sum(0) for row in rows])
        known = [
            list(dict.fromkeys(n for part in row.parts for n in self.teacher.known_words(part)))
            for row in rows
        ]
        scores_BE = self.teacher.scores(self.teacher.unit(vectors_BD), known)
        shares_B = torch.tensor([row.mood for row in rows])
        scores_BE = self.teacher.with_mood(
            scores_BE, [list(row.emotions) for row in rows], shares_B
        )
        cosines = [self._vectors(row.things) @ self.teacher.emoji_ED.T for row in rows]
        things_BWE = pad_sequence(cosines, batch_first=True, padding_value=-1.0)
        most = [
            row.most
            or int((one.max(1).values > NAMED).sum())
            + (len(words(row.text)) >= SENTENCE)
            + bool(row.emotions)
            for row, one in zip(rows, cosines, strict=True)
        ]
        most_B = torch.tensor(most).clamp(1, MAX_ANSWER)
        return self.teacher.sequences(scores_BE, things_BWE, most_B, greedy=greedy)

    def _vectors(self, texts: tuple[str, ...]) -> Tensor:
        return torch.from_numpy(self.vectors[[self.place[text] for text in texts]]).float()
