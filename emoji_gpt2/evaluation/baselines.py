"""What a model is compared with: rankings of all emoji that take no training.

    matcher = LexicalMatcher(EmojiTable.builtin(), weighting="cosine")
    matcher.rank("a slice of pizza").argmax()      # the number of 🍕 in the table
    ranking_metrics([2])                           # {"hit_at_1": 0.0, "hit_at_5": 1.0, "mrr": 0.5}

A word's idf is ln(emoji / emoji with that word), over the words of names and keywords (Sparck Jones
1972; the cosine of tf-idf vectors is Salton's).

Shapes: B texts of a batch, V emoji in table order.
"""

import math
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Literal

import numpy as np

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.emoji.text import normalize_text, words

Array = np.ndarray
Weighting = Literal["sum", "cosine"]
BATCH = 64
"""Texts that a baseline scores at a time."""


def most_frequent(counts_V: Array) -> Array:
    """Return the log-probabilities of emoji that were counted so often, ``[V]``.

    One is added to each count (Laplace), and slightly less further down the table, so that emoji
    with equal counts are ranked in table order.
    """
    size = len(counts_V)
    smoothed_V = counts_V + 1 - 1e-6 * np.arange(size) / size
    scores_V: Array = np.log(smoothed_V / smoothed_V.sum())
    return scores_V


class LexicalMatcher:
    """Score emoji by the words that a text shares with their names and keywords.

    Args:
        table: The emoji.
        weighting: "sum" adds the idf of the shared words; "cosine" is the cosine of the two tf-idf
            vectors, so that each word of an emoji with many words is worth less.
        toned: Whether emoji with skin tones are ranked, and their words counted. They are ranked
            only for texts that name a skin tone; otherwise all six variants would tie.
        left_out: Normalised names and keywords to ignore, such as held-out keywords that are
            themselves the texts to score.
    """

    log_probabilities = False

    def __init__(
        self,
        table: EmojiTable,
        weighting: Weighting = "sum",
        toned: bool = True,
        left_out: Container[str] = (),
    ) -> None:
        texts_V = [(one.name, *one.keywords) for one in table.values()]
        described = [
            {word for text in texts if normalize_text(text) not in left_out for word in words(text)}
            for texts in texts_V
        ]
        self._toned_V = np.array([bool(table.tones(e)) for e in table])
        ranked = toned | ~self._toned_V
        emoji_of: dict[str, list[int]] = defaultdict(list)
        for index in np.flatnonzero(ranked).tolist():
            for word in described[index]:
                emoji_of[word].append(index)
        self.cosine = weighting == "cosine"
        self.name = f"lexical, {weighting}"
        kind = "cosine of the tf-idf vectors" if self.cosine else "sum of the idf"
        self.note = f"{kind} of the words shared with an emoji's name and keywords"
        self._emoji_of = {word: np.array(emoji) for word, emoji in emoji_of.items()}
        self._idf = {w: math.log(ranked.sum() / len(emoji)) for w, emoji in emoji_of.items()}
        self._start_V = np.where(ranked, 0.0, -np.inf)
        squares_V = self._sums(emoji_of, power=2)
        self._norm_V = np.sqrt(np.where(squares_V > 0, squares_V, 1.0))

    def rank(self, text: str) -> Array:
        """Return the scores of all emoji for a text, ``[V]``; -inf for those that are not ranked.

        Emoji that share no word score 0.
        """
        known = self._idf.keys() & words(text)
        scores_V = self._sums(known, power=2 if self.cosine else 1)
        if self.cosine:
            text_norm = math.sqrt(math.fsum(self._idf[word] ** 2 for word in known))
            scores_V = scores_V / self._norm_V / (text_norm or 1.0)
        if not known.issuperset(("skin", "tone")):
            scores_V[self._toned_V] = -np.inf
        return scores_V

    def batches(self, texts: Sequence[str]) -> Iterator[Array]:
        """Yield scores, ``[B, V]``, slightly lower down the table, so that no two are equal."""
        order_V = 1e-9 * np.arange(len(self._start_V))
        for start in range(0, len(texts), BATCH):
            yield np.stack([self.rank(text) - order_V for text in texts[start : start + BATCH]])

    def _sums(self, counted: Iterable[str], power: int) -> Array:
        """Return for each emoji the sum of idf ** power over those of the words that it has."""
        sums_V: Array = self._start_V.copy()
        for word in sorted(counted):  # in the same order each time, for the same last digit
            sums_V[self._emoji_of[word]] += self._idf[word] ** power
        return sums_V


def ranking_metrics(ranks: Sequence[int]) -> dict[str, float]:
    """Return hit@1, hit@5 and MRR of the ranks of the best right emoji, named as the model's."""
    rank = np.asarray(ranks)
    return {
        "hit_at_1": float((rank <= 1).mean()),
        "hit_at_5": float((rank <= 5).mean()),
        "mrr": float((1 / rank).mean()),
    }
