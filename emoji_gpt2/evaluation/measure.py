"""Measure rankings and answers on texts with their right emoji: per text, then summed up.

    task = Task(references, EmojiTable.builtin())
    found = measure(ranker, task)
    found.exact.statistics["hit_at_1"]                  # a Mean, for scores.bootstrap

Each score is taken twice: of exact emoji, and of emoji without their skin tones.
Shapes: T texts, B texts of a batch, V emoji in table order, P pairs of a text and a right emoji.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.evaluation.rankers import Ranker
from emoji_gpt2.evaluation.references import Answer, References, emoji_of
from emoji_gpt2.evaluation.scores import (
    Array,
    MacroF1,
    Mean,
    Statistic,
    View,
    answer_ranks,
    first_guess,
    set_scores,
)

HITS_AT = (1, 5, 10)


class Side:
    """The texts' right emoji as one of the two views numbers them.

    Args:
        references: The texts and their answers.
        table: The emoji.
        candidates: Those that may be answered.
        tones: Whether emoji that differ in skin tones only are different.
    """

    def __init__(
        self, references: References, table: EmojiTable, candidates: Sequence[str], tones: bool
    ) -> None:
        self.table, self.tones = table, tones
        counted = [self.plain(emoji) for emoji in candidates]
        number = {emoji: n for n, emoji in enumerate(dict.fromkeys(counted))}
        self.emoji = list(number)
        place = {emoji: n for n, emoji in enumerate(table)}
        self.view = View(
            np.array([place[emoji] for emoji in candidates]),
            np.array([number[emoji] for emoji in counted]),
        )
        self.answers = [[tuple(map(self.plain, a)) for a in given] for given in references.answers]
        distinct = [sorted({number[e] for e in emoji_of(given)}) for given in self.answers]
        self.offsets = np.cumsum([0, *map(len, distinct)])
        self.right_P = np.array([n for own in distinct for n in own])
        times = [
            np.bincount([number[e] for e in emoji_of(given)])[own]
            for given, own in zip(self.answers, distinct, strict=True)
        ]
        self.times_P = np.concatenate(times)

    def plain(self, emoji: str) -> str:
        """Return the emoji as this side counts it."""
        return emoji if self.tones else self.table.base(emoji)


class Task:
    """Texts to evaluate on, exactly and with skin tones left aside.

    Args:
        references: At least one text.
        table: The emoji.
        candidates: What may be answered; None is all emoji.
    """

    def __init__(
        self, references: References, table: EmojiTable, candidates: Sequence[str] | None = None
    ) -> None:
        self.references, self.table = references, table
        allowed = list(candidates or table)
        self.exact = Side(references, table, allowed, tones=True)
        self.untoned = Side(references, table, allowed, tones=False)
        self.single_label = references.single_label()


@dataclass
class Found:
    """What a ranker gave for all texts of one side.

    Attributes:
        rank_T: Of the best right emoji, from 1.
        own_rank_P: Of each right emoji.
        guess_T: The emoji ranked first, -1 where several are.
        confidence_T: Its probability, or NaN.
        nats_T: Sum over the right emoji, each as often as the answers have it, or NaN.
        statistics: What ``scores.bootstrap`` takes.
    """

    rank_T: Array
    own_rank_P: Array
    guess_T: Array
    confidence_T: Array
    nats_T: Array
    statistics: dict[str, Statistic] = field(default_factory=dict)


@dataclass
class Measured:
    """A ranker's results on both sides, and its answers.

    Attributes:
        exact: With skin tones.
        untoned: Without.
        best: The best emoji of each text, as many as were asked for.
    """

    exact: Found
    untoned: Found
    best: list[Answer]


def measure(ranker: Ranker, task: Task, answer_length: int = 1) -> Measured:
    """Return a ranker's results on a task.

    Args:
        ranker: A model or a baseline.
        task: The texts.
        answer_length: Emoji of an answer, taken from the top; of scores that are no probabilities,
            those above 0 only: the others match in nothing.
    """
    sides = (task.exact, task.untoned)
    parts: tuple[list[Found], ...] = ([], [])
    best: list[Answer] = []
    done = 0
    for scores_BV in ranker.batches(task.references.texts):
        rows = slice(done, done + len(scores_BV))
        done = rows.stop
        for side, found in zip(sides, parts, strict=True):
            scores = side.view.scores(scores_BV, log_probabilities=ranker.log_probabilities)
            found.append(_of_batch(scores, side, rows, likely=ranker.log_probabilities))
            if side is task.exact:
                best += _top(scores, side, answer_length, likely=ranker.log_probabilities)
    exact, untoned = (
        _with_statistics(_joined(found), side, task, likely=ranker.log_probabilities)
        for found, side in zip(parts, sides, strict=True)
    )
    return Measured(exact, untoned, best)


def _of_batch(scores_BV: Array, side: Side, rows: slice, *, likely: bool) -> Found:
    bounds = side.offsets[rows.start : rows.stop + 1]
    pairs = slice(bounds[0], bounds[-1])
    row_P = np.repeat(np.arange(len(scores_BV)), np.diff(bounds))
    ranks = answer_ranks(scores_BV, row_P, side.right_P[pairs])
    nothing = np.full(len(scores_BV), np.nan)
    confidence_B, nats_B = nothing, nothing
    if likely:
        confidence_B = np.exp(scores_BV.max(1))
        nats_P = -scores_BV[row_P, side.right_P[pairs]] * side.times_P[pairs]
        nats_B = np.add.reduceat(nats_P, bounds[:-1] - bounds[0])
    return Found(ranks.best_B, ranks.own_P, first_guess(scores_BV), confidence_B, nats_B)


def _top(scores_BV: Array, side: Side, length: int, *, likely: bool) -> Iterator[Answer]:
    order_BK = np.argsort(-scores_BV, axis=1, kind="stable")[:, :length]
    for row, order_K in enumerate(order_BK):
        kept = [n for n in order_K.tolist() if likely or scores_BV[row, n] > 0]
        yield tuple(side.emoji[n] for n in kept)


def _joined(parts: Sequence[Found]) -> Found:
    return Found(
        rank_T=np.concatenate([part.rank_T for part in parts]),
        own_rank_P=np.concatenate([part.own_rank_P for part in parts]),
        guess_T=np.concatenate([part.guess_T for part in parts]),
        confidence_T=np.concatenate([part.confidence_T for part in parts]),
        nats_T=np.concatenate([part.nats_T for part in parts]),
    )


def _with_statistics(found: Found, side: Side, task: Task, *, likely: bool) -> Found:
    add = found.statistics
    for k in HITS_AT:
        add[f"hit_at_{k}"] = Mean(found.rank_T <= k)
    add["mrr"] = Mean(1 / found.rank_T)
    if likely:
        add["nats_per_emoji"] = Mean(found.nats_T, np.add.reduceat(side.times_P, side.offsets[:-1]))
    if task.single_label and (np.diff(side.offsets) == 1).all():
        add["accuracy"] = Mean(found.guess_T == side.right_P)
        add["macro_f1"] = MacroF1(side.right_P, found.guess_T)
    return found


def answer_statistics(answers: Sequence[Answer], side: Side) -> dict[str, Statistic]:
    """Return precision, recall and F1 of the answers as sets, and how many match exactly, in order.

    Args:
        answers: Of each text, emoji of the table.
        side: What they should be.
    """
    plain = [tuple(map(side.plain, answer)) for answer in answers]
    pairs = list(zip(plain, side.answers, strict=True))
    columns = np.array([set_scores(answer, wanted) for answer, wanted in pairs]).T
    names = ("set_precision", "set_recall", "set_f1")
    found: dict[str, Statistic] = {n: Mean(c) for n, c in zip(names, columns, strict=True)}
    found["exact_match"] = Mean(np.array([answer in wanted for answer, wanted in pairs]))
    return found


def group_hits(found: Found, task: Task) -> dict[str, dict[str, float]]:
    """Return, per group of emoji, its texts and how many had an emoji of it among the best.

    A text is of each group that one of its right emoji is of; it is a hit of the group at k when
    one of the group's right emoji is ranked k-th or better.
    """
    side, groups = task.exact, dict[str, dict[str, float]]()
    text_P = np.repeat(np.arange(len(side.offsets) - 1), np.diff(side.offsets))
    group_P = np.array([task.table.group(side.emoji[n]) for n in side.right_P])
    for group in dict.fromkeys(task.table.group(emoji) for emoji in side.emoji):
        own = group_P == group
        texts = len(np.unique(text_P[own]))
        if texts:
            ranks_P, own_text_P = found.own_rank_P[own], text_P[own]
            hits = {
                f"hit_at_{k}": len(np.unique(own_text_P[ranks_P <= k])) / texts for k in HITS_AT
            }
            groups[group] = {"texts": texts, **hits}
    return groups
