"""Scores of rankings and answers, text by text, and confidence intervals of their means.

    ranks = answer_ranks(scores_BV, row_P, column_P)
    estimates = bootstrap({"mrr": mean(1 / ranks.best_B)}, n_texts)     # value and 95 % interval

NumPy only. Shapes: T texts, R rows of the table, B texts of a batch, V emoji, P pairs of a text and
a right emoji of it, C counts of the texts (one per resample).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

Array = np.ndarray

INTERVAL = (2.5, 97.5)
"""Percentiles of the resamples; 95 % lie between."""
BINS = 15
"""Of the top probability, of equal width, as in Guo et al., https://arxiv.org/abs/1706.04599."""
_BLOCK = 4_000_000
"""Counts of resamples held in memory at a time."""


class Ranks(NamedTuple):
    """How a ranking did; ties and NaN count against it."""

    best_B: Array  # the rank from 1 of each text's best-scored right emoji, among those not right
    guess_B: Array  # the column of each text's best score; -1 where several columns have it


def answer_ranks(scores_BV: Array, row_P: Array, column_P: Array) -> Ranks:
    """Return the ranks of the right emoji, of which each text has at least one."""
    right_BV = np.zeros(scores_BV.shape, dtype=bool)
    right_BV[row_P, column_P] = True
    best_right_B1 = np.where(right_BV, scores_BV, -np.inf).max(1, keepdims=True)
    before_BV = ~(scores_BV < best_right_B1) & ~right_BV
    tied_B = (scores_BV == scores_BV.max(1, keepdims=True)).sum(1) != 1
    return Ranks(1 + before_BV.sum(1), np.where(tied_B, -1, scores_BV.argmax(1)))


def set_scores(
    answer: Collection[str], references: Sequence[Collection[str]]
) -> tuple[float, float, float]:
    """Return F1, precision and recall against the reference with the highest F1."""
    given, best = set(answer), (0.0, 0.0, 0.0)
    for wanted in map(set, references):
        if shared := len(given & wanted):
            f1 = 2 * shared / (len(given) + len(wanted))
            best = max(best, (f1, shared / len(given), shared / len(wanted)))
    return best


def calibration_error(confidence_T: Array, hit_T: Array, bins: int = BINS) -> float:
    """Return the expected calibration error: the gap of confidence and hit rate, a mean over texts.

    A probability that lies between two bins is in the lower one.
    """
    bin_T = np.clip(np.ceil(confidence_T * bins).astype(int) - 1, 0, bins - 1)
    return float(np.abs(np.bincount(bin_T, confidence_T - hit_T)).sum() / len(bin_T))


class Estimate(NamedTuple):
    """A number with its 95 % interval, None where no interval was computed."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} ±{(self.high - self.low) / 2:.3f}"


Statistic = Callable[[Array], Array]
"""Takes how often each text counts, ``[C, T]``, and returns a value for each, ``[C]``."""


def mean(values_T: Array, weights_T: Array | None = None) -> Statistic:
    """Return the mean over texts or, with weights, the sum of values over that of weights."""
    values_T = values_T.astype(np.float64)
    divisors_T = np.ones(len(values_T)) if weights_T is None else weights_T

    def of(counts_CT: Array) -> Array:
        means_C: Array = counts_CT @ values_T / (counts_CT @ divisors_T)
        return means_C

    return of


def macro_f1(text_R: Array, label_R: Array, predicted_T: Array) -> Statistic:
    """Return the F1 of each class over the rows of a table, averaged over the classes they have.

    As scikit-learn's ``f1_score(y_true, y_pred, labels=numpy.unique(y_true), average="macro")``: a
    class that is predicted only has no F1 of its own, so that the average is over the same classes
    for every model. The predicted class is -1 for none.
    """
    n_classes = 2 + max(label_R.max(), predicted_T.max())  # 0 is none
    right_R, guess_R = 1 + label_R, 1 + predicted_T[text_R]
    hit_R = right_R == guess_R

    def of(counts_T: Array) -> float:
        counts_R = counts_T[text_R]
        right = np.bincount(right_R, counts_R, n_classes)
        guessed = np.bincount(guess_R, counts_R, n_classes)
        hits = np.bincount(right_R, counts_R * hit_R, n_classes)
        there = right > 0
        return float((2 * hits[there] / (right + guessed)[there]).mean())

    return lambda counts_CT: np.array([of(counts_T) for counts_T in counts_CT])


def bootstrap(
    statistics: Mapping[str, Statistic], n_texts: int, resamples: int = 1_000, seed: int = 0
) -> dict[str, Estimate]:
    """Return each statistic with the 95 % interval of its percentile bootstrap over texts.

    Texts, not rows, are drawn: rows of one text belong together (Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993, chapter 13). All statistics see the same resamples; 0
    resamples give no intervals.
    """
    once = np.ones((1, n_texts))
    values = {name: float(one(once)[0]) for name, one in statistics.items()}
    if not resamples:
        return {name: Estimate(value) for name, value in values.items()}
    found: dict[str, list[Array]] = {name: [] for name in statistics}
    rng = np.random.default_rng(seed)
    at_once = max(1, _BLOCK // n_texts)
    for start in range(0, resamples, at_once):
        n = min(at_once, resamples - start)
        counts_CT = rng.multinomial(n_texts, np.full(n_texts, 1 / n_texts), n).astype(np.float64)
        for name, one in statistics.items():
            found[name].append(one(counts_CT))
    ends = {name: np.percentile(np.concatenate(f), INTERVAL).tolist() for name, f in found.items()}
    return {name: Estimate(values[name], *ends[name]) for name in statistics}
