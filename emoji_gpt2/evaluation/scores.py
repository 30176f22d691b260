"""What is measured of rankings and answers, text by text, and how sure the means are.

    ranks = answer_ranks(scores_BV, row_P, column_P)
    estimates = bootstrap({"hit_at_1": Mean(ranks == 1)}, n_texts)     # value and 95 % interval

NumPy only. Shapes: T texts, B texts of a batch, V emoji, P pairs of a text and a right emoji of it,
ascending by text, R resamples.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Array = np.ndarray

INTERVAL = (2.5, 97.5)
"""Percentiles of the resamples: 95 % lie between."""
BINS = 15
"""Of the top probability, of equal width, as in Guo et al., https://arxiv.org/abs/1706.04599."""
_BLOCK = 4_000_000
"""Counts of resamples held at a time."""


class View:
    """Which columns of a ranking count, and which of them are one: all scores are taken of this.

    Args:
        columns: The emoji that may be answered, by their number in the ranking.
        group: For each of these, the number, from 0, of what it counts as.
    """

    def __init__(self, columns: Array, group: Array) -> None:
        order = np.argsort(group, kind="stable")
        self._columns = columns[order]
        _, self._starts = np.unique(group[order], return_index=True)
        self._whole = len(self._starts) == len(columns)

    def scores(self, scores_BV: Array, *, log_probabilities: bool) -> Array:
        """Return the scores of each group: the best of its emoji's.

        Of log-probabilities, a group's is that of any of its emoji, among those that count.
        """
        scores_BV = scores_BV[:, self._columns].astype(np.float64)
        if not log_probabilities:
            return scores_BV if self._whole else np.maximum.reduceat(scores_BV, self._starts, 1)
        scores_BV -= _log_sum(scores_BV)
        if self._whole:
            return scores_BV
        with np.errstate(divide="ignore"):
            return np.log(np.add.reduceat(np.exp(scores_BV), self._starts, 1))


def _log_sum(scores_BV: Array) -> Array:
    top_B1 = scores_BV.max(1, keepdims=True)
    total_B1: Array = top_B1 + np.log(np.exp(scores_BV - top_B1).sum(1, keepdims=True))
    return total_B1


class Ranks(NamedTuple):
    """Ranks from 1; ties and NaN count against the ranking.

    Attributes:
        best_B: Of each text's best-scored right emoji, among all that are not right.
        own_P: Of each right emoji, among all others.
    """

    best_B: Array
    own_P: Array


def answer_ranks(scores_BV: Array, row_P: Array, column_P: Array) -> Ranks:
    """Return the ranks of the right emoji, at least one of each text."""
    own_P = scores_BV[row_P, column_P]
    starts_B = np.searchsorted(row_P, np.arange(len(scores_BV)))
    best_B = np.maximum.reduceat(own_P, starts_B)
    as_good_B = (~(scores_BV < best_B[:, None])).sum(1)
    right_as_good_B = np.add.reduceat((~(own_P < best_B[row_P])).astype(int), starts_B)
    own_rank_P = (~(scores_BV[row_P] < own_P[:, None])).sum(1)
    return Ranks(1 + as_good_B - right_as_good_B, own_rank_P)


def first_guess(scores_BV: Array) -> Array:
    """Return each text's best column, ``[B]``; -1 where several are: ties count as wrong."""
    best_B = scores_BV.argmax(1)
    tied_B = (scores_BV == scores_BV.max(1, keepdims=True)).sum(1) != 1
    return np.where(tied_B, -1, best_B)


class SetScores(NamedTuple):
    """An answer against the reference that it fits best (the highest F1), as sets; all in 0..1."""

    precision: float
    recall: float
    f1: float


def set_scores(answer: Collection[str], references: Sequence[Collection[str]]) -> SetScores:
    """Return precision, recall and F1 of an answer's emoji; an empty answer has 0."""
    given, best = set(answer), SetScores(0.0, 0.0, 0.0)
    for wanted in map(set, references):
        shared = len(given & wanted)
        if shared:
            f1 = 2 * shared / (len(given) + len(wanted))
            best = max(best, SetScores(shared / len(given), shared / len(wanted), f1), key=_f1)
    return best


def _f1(scores: SetScores) -> float:
    return scores.f1


class Bin(NamedTuple):
    """Texts whose top probability lies in one bin.

    Attributes:
        low: Where the bin begins; a probability of just this is in the bin below.
        high: Where it ends.
        texts: How many.
        confidence: Their mean top probability; NaN without texts.
        hit_rate: The share whose first guess is right.
    """

    low: float
    high: float
    texts: int
    confidence: float
    hit_rate: float


def reliability(confidence_T: Array, hit_T: Array, bins: int = BINS) -> list[Bin]:
    """Return how often first guesses are right, by their probability."""
    bin_T = np.clip(np.ceil(confidence_T * bins).astype(int) - 1, 0, bins - 1)
    texts, sums, hits = (
        np.bincount(bin_T, weights, minlength=bins) for weights in (None, confidence_T, hit_T)
    )
    with np.errstate(invalid="ignore"):
        rows = zip(texts.tolist(), (sums / texts).tolist(), (hits / texts).tolist(), strict=True)
    return [Bin(i / bins, (i + 1) / bins, *row) for i, row in enumerate(rows)]


def calibration_error(table: Sequence[Bin]) -> float:
    """Return the expected calibration error: the mean gap of confidence and hit rate over texts."""
    filled = [b for b in table if b.texts]
    total = sum(b.texts for b in filled)
    return math.fsum(abs(b.confidence - b.hit_rate) * b.texts for b in filled) / total


class Estimate(NamedTuple):
    """A number with its 95 % interval; None where no interval is given."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass
class Mean:
    """The mean of a value over texts, or a sum over texts divided by another."""

    values_T: Array
    weights_T: Array | None = None

    def resampled(self, counts_RT: Array) -> Array:
        """Return it for texts that each count so often, ``[R]``."""
        divisor = counts_RT.sum(1) if self.weights_T is None else counts_RT @ self.weights_T
        means_R: Array = counts_RT @ self.values_T.astype(np.float64) / divisor
        return means_R


@dataclass
class MacroF1:
    """The F1 of each class, averaged over the classes that occur as labels.

    Classes that are only predicted count as their victims' misses: the average is over the same
    classes for every system.

    Attributes:
        labels_T: The right class of each text.
        predicted_T: The class predicted, -1 for none.
    """

    labels_T: Array
    predicted_T: Array

    def resampled(self, counts_RT: Array) -> Array:
        """Return it for texts that each count so often, ``[R]``."""
        classes, label_T = np.unique(self.labels_T, return_inverse=True)
        place_T = np.searchsorted(classes, self.predicted_T).clip(max=len(classes) - 1)
        known_T = classes[place_T] == self.predicted_T
        hit_T = known_T & (place_T == label_T)
        n, found = len(classes), []
        for counts_T in counts_RT:
            hits = np.bincount(label_T, counts_T * hit_T, n)
            support = np.bincount(label_T, counts_T, n)
            predicted = np.bincount(place_T, counts_T * known_T, n)
            there = support > 0
            found.append((2 * hits[there] / (support + predicted)[there]).mean())
        return np.array(found)


Statistic = Mean | MacroF1


def bootstrap(
    statistics: Mapping[str, Statistic], n_texts: int, resamples: int = 1_000, seed: int = 0
) -> dict[str, Estimate]:
    """Return each statistic with the 95 % interval of its percentile bootstrap over texts.

    Texts, not rows, are drawn: rows of one text belong together (Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993, chapter 13). All statistics see the same resamples.

    Args:
        statistics: By name, of the same texts.
        n_texts: How many.
        resamples: 0 gives no intervals.
        seed: Of the resamples.
    """
    once = np.ones((1, n_texts))
    values = {name: float(one.resampled(once)[0]) for name, one in statistics.items()}
    if not resamples:
        return {name: Estimate(value) for name, value in values.items()}
    found: dict[str, list[Array]] = {name: [] for name in statistics}
    for counts_RT in _resamples(n_texts, resamples, seed):
        for name, one in statistics.items():
            found[name].append(one.resampled(counts_RT))
    ends = {name: np.percentile(np.concatenate(f), INTERVAL).tolist() for name, f in found.items()}
    return {name: Estimate(values[name], *ends[name]) for name in statistics}


def _resamples(n_texts: int, resamples: int, seed: int) -> Iterator[Array]:
    """Yield how often each text is drawn, ``[R, T]``, for some resamples at a time."""
    rng = np.random.default_rng(seed)
    at_once = max(1, _BLOCK // n_texts)
    for start in range(0, resamples, at_once):
        n = min(at_once, resamples - start)
        drawn = rng.integers(n_texts, size=(n, n_texts)) + n_texts * np.arange(n)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=n * n_texts)
        yield counts.reshape(n, n_texts).astype(np.float64)
