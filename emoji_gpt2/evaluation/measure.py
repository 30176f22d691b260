"""Measure rankings and answers on texts with their right emoji: per text, then summed up.

    task = Task(references, EmojiTable.builtin())
    found = measure(ranker, task)
    found.exact.rank_T                                  # of each text's best right emoji
    statistics(found.exact, task.exact)["hit_at_1"]     # for scores.bootstrap

Each score is taken twice: of exact emoji, and of emoji without their skin tones.
Shapes: T texts, B texts of a batch, V emoji in table order, R rows, P emoji of rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.evaluation.rankers import Ranker
from emoji_gpt2.evaluation.references import Answer, References
from emoji_gpt2.evaluation.scores import (
    Array,
    Statistic,
    answer_ranks,
    macro_f1,
    mean,
    set_scores,
)


class Side:
    """The right emoji of all texts, with skin tones or without, and the scores they are found by.

    Attributes:
        emoji: The emoji that are different; the arrays below hold indices into this list.
        answers: Per text, the emoji of each of its rows.
        text_P: The text of each emoji of each row, ascending.
        right_P: That emoji.
        text_R: The text of each row.
        label_R: The first emoji of each row.
        single_label: Whether each row has one emoji only, as in classification.
    """

    def __init__(
        self, references: References, table: EmojiTable, candidates: Sequence[str], tones: bool
    ) -> None:
        self._table, self._tones = table, tones
        counted = [self.plain(emoji) for emoji in candidates]
        self.emoji = list(dict.fromkeys(counted))
        number = {emoji: n for n, emoji in enumerate(self.emoji)}
        index = {emoji: n for n, emoji in enumerate(table)}
        group = np.array([number[emoji] for emoji in counted])
        order = np.argsort(group, kind="stable")
        self._columns = np.array([index[emoji] for emoji in candidates])[order]
        self._starts = np.searchsorted(group[order], np.arange(len(number)))

        self.answers = [[tuple(map(self.plain, a)) for a in given] for given in references.answers]
        rows = [(text, a) for text, given in enumerate(self.answers) for a in given]
        self.text_R, self.label_R = np.array([(text, number[a[0]]) for text, a in rows]).T
        self.text_P, self.right_P = np.array([(text, number[e]) for text, a in rows for e in a]).T
        self.single_label = not references.with_several()

    def plain(self, emoji: str) -> str:
        """Return the emoji, without its skin tones where these do not count."""
        return emoji if self._tones else self._table.base(emoji)

    def scores(self, scores_BV: Array, *, log_probabilities: bool) -> Array:
        """Return the scores of ``emoji``: of those that differ only in tones, the best.

        Log-probabilities are renormalised over the candidates, and added up over the tones.
        """
        chosen_BV = scores_BV[:, self._columns].astype(np.float64)
        if not log_probabilities:
            return np.maximum.reduceat(chosen_BV, self._starts, axis=1)
        chosen_BV -= np.logaddexp.reduce(chosen_BV, axis=1, keepdims=True)
        summed: Array = np.logaddexp.reduceat(chosen_BV, self._starts, axis=1)
        return summed


class Task:
    """Texts to evaluate on, exactly and with skin tones left aside; candidates None are all."""

    def __init__(
        self, references: References, table: EmojiTable, candidates: list[str] | None = None
    ) -> None:
        self.references, self.table = references, table
        self.candidates = candidates
        allowed = candidates or list(table)
        self.exact = Side(references, table, allowed, tones=True)
        self.untoned = Side(references, table, allowed, tones=False)


class Found(NamedTuple):
    """What a ranker gave for the texts of one side; NaN where it has no probabilities."""

    rank_T: Array  # of the best right emoji, from 1
    guess_T: Array  # the number of the emoji ranked first, -1 where several are
    confidence_T: Array  # its probability
    nats_P: Array  # minus the log-probability of each emoji of each row


@dataclass
class Measured:
    """A ranker's results with skin tones and without, and the best emoji of each text."""

    exact: Found
    untoned: Found
    best: list[Answer]


def measure(ranker: Ranker, task: Task, answer_length: int = 1) -> Measured:
    """Return a ranker's results on a task.

    An answer is the best ``answer_length`` emoji; of scores that are no probabilities, those above
    0 only, since the others share nothing with the text.
    """
    likely = ranker.log_probabilities
    sides = (task.exact, task.untoned)
    parts: list[list[Found]] = [[], []]
    best: list[Answer] = []
    done = 0
    for scores_BV in ranker.batches(task.references.texts):
        for side, found in zip(sides, parts, strict=True):
            scores = side.scores(scores_BV, log_probabilities=likely)
            found.append(_of_batch(scores, side, done, likely=likely))
            if side is task.exact:
                best += _top(scores, side.emoji, answer_length, -np.inf if likely else 0.0)
        done += len(scores_BV)
    exact, untoned = (Found(*map(np.concatenate, zip(*found, strict=True))) for found in parts)
    return Measured(exact, untoned, best)


def _of_batch(scores_BV: Array, side: Side, first: int, *, likely: bool) -> Found:
    """Return the results of the texts from the ``first``."""
    size = len(scores_BV)
    pairs = slice(*np.searchsorted(side.text_P, (first, first + size)))
    row_P, right_P = side.text_P[pairs] - first, side.right_P[pairs]
    confidence_B, nats_P = np.full(size, np.nan), np.full(len(row_P), np.nan)
    if likely:
        confidence_B, nats_P = np.exp(scores_BV.max(1)), -scores_BV[row_P, right_P]
    return Found(*answer_ranks(scores_BV, row_P, right_P), confidence_B, nats_P)


def _top(scores_BV: Array, emoji: Sequence[str], length: int, above: float) -> Iterator[Answer]:
    order_BK = np.argsort(-scores_BV, axis=1, kind="stable")[:, :length]
    for scores_V, order_K in zip(scores_BV, order_BK, strict=True):
        yield tuple(emoji[n] for n in order_K.tolist() if scores_V[n] > above)


def statistics(found: Found, side: Side, *, likely: bool) -> dict[str, Statistic]:
    """Return the scores of a ranking, ``likely`` if it is of log-probabilities.

    hit@k and MRR are means over texts, accuracy and macro-F1 over rows, where each has one emoji.
    """
    scores: dict[str, Statistic] = {f"hit_at_{k}": mean(found.rank_T <= k) for k in (1, 5, 10)}
    scores["mrr"] = mean(1 / found.rank_T)
    if likely:
        nats_T = np.bincount(side.text_P, found.nats_P)
        scores["nats_per_emoji"] = mean(nats_T, np.bincount(side.text_P))
    if side.single_label:
        hit_R = found.guess_T[side.text_R] == side.label_R
        scores["accuracy"] = mean(np.bincount(side.text_R, hit_R), np.bincount(side.text_R))
        scores["macro_f1"] = macro_f1(side.text_R, side.label_R, found.guess_T)
    return scores


def answer_statistics(answers: Sequence[Answer], side: Side) -> dict[str, Statistic]:
    """Return precision, recall and F1 of the answers as sets, and how many match in order."""
    plain = [tuple(map(side.plain, answer)) for answer in answers]
    pairs = list(zip(plain, side.answers, strict=True))
    f1, precision, recall = np.array([set_scores(answer, wanted) for answer, wanted in pairs]).T
    return {
        "set_precision": mean(precision),
        "set_recall": mean(recall),
        "set_f1": mean(f1),
        "exact_match": mean(np.array([answer in wanted for answer, wanted in pairs])),
    }
