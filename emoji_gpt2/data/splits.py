"""Which rows train and which are held out, decided by text.

Held-out texts are never trained on, in any spelling that normalises to the same, and every emoji of
a held-out text keeps at least one text in training: validation asks for new texts, known emoji.

Shapes: R rows, T distinct texts, P distinct (text, emoji) pairs. At most 30 bytes a row.
"""

from dataclasses import dataclass

import numpy as np

from emoji_gpt2.data.store import Split

Array = np.ndarray
MAX_HELD_OUT = 10_000
"""Texts of a held-out split at most: enough for a standard error of half a point."""
_MAX_TRIES_PER_TEXT = 20
_ROWS_AT_ONCE = 1 << 20


@dataclass
class TextIndex:
    """Rows grouped by text.

    Attributes:
        rows: Row numbers, ``[R]``, ascending.
        hashes: The distinct texts' hashes, ascending, which is a random order, ``[T]``.
        text_of_row: Index into ``hashes`` of each row's text, ``[R]``.
        pairs: ``text << 32 | emoji token`` of each pair, ascending, ``[P]``, by ``packed_pairs``.
    """

    rows: Array
    hashes: Array
    text_of_row: Array
    pairs: Array

    @property
    def pair_token(self) -> Array:
        """The emoji token of each pair, ``[P]``."""
        return (self.pairs & 0xFFFFFFFF).astype(np.uint32)

    def tokens_of(self, text: int) -> Array:
        """Return all emoji tokens that answer the text, over all of its rows."""
        start, stop = np.searchsorted(self.pairs, [text << 32, text + 1 << 32])
        return self.pairs[start:stop] & 0xFFFFFFFF

    def hold_out(self, wanted: int, allowed: Array) -> Array:
        """Return up to ``wanted`` texts that can be spared, in random order.

        Args:
            wanted: How many texts to look for.
            allowed: Whether each text may be taken at all, bool ``[T]``.
        """
        texts_left = np.bincount(self.pair_token)
        taken: list[int] = []
        candidates = np.flatnonzero(allowed)[: wanted * _MAX_TRIES_PER_TEXT]
        for text in candidates if wanted else ():
            tokens = self.tokens_of(int(text))
            if (texts_left[tokens] > 1).all():
                texts_left[tokens] -= 1
                taken.append(int(text))
                if len(taken) == wanted:
                    break
        return np.array(taken, dtype=np.int64)

    def training_split(self, held_out: Array) -> Split:
        """Return all rows but those of the held-out texts."""
        return Split(self.rows[~np.isin(self.text_of_row, held_out)])

    def evaluation_split(self, texts: Array) -> Split:
        """Return the rows of ``texts``; the first row of each text carries all its answers."""
        inside = np.isin(self.text_of_row, texts)
        rows, row_texts = self.rows[inside], self.text_of_row[inside]
        seen: set[int] = set()
        answers = []
        for text in row_texts.tolist():
            answers.append(np.empty(0, np.int64) if text in seen else self.tokens_of(text))
            seen.add(text)
        offsets = np.concatenate([[0], np.cumsum([len(a) for a in answers], dtype=np.int64)])
        return Split(rows, np.concatenate([np.empty(0, np.int64), *answers]), offsets)


def distinct(values: Array) -> tuple[Array, Array]:
    """Return the distinct values, ascending, and the place of each value among them.

    ``numpy.unique(return_inverse=True)`` in half of its memory: places are uint32.
    """
    order = np.argsort(values)
    ordered = values[order]
    new = _differs_from_previous(ordered)
    places = np.empty(len(values), dtype=np.uint32)
    places[order] = np.cumsum(new, dtype=np.uint32) - np.uint32(1)
    return ordered[new], places


def first_of_each(values: Array) -> Array:
    """Return whether a value stands there for the first time, bool ``[len(values)]``."""
    order = np.argsort(values, kind="stable")
    first = np.zeros(len(values), dtype=bool)
    first[order[_differs_from_previous(values[order])]] = True
    return first


def _differs_from_previous(values: Array) -> Array:
    differs = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=differs[1:])
    return differs


def packed_pairs(rows: Array, text_of_row: Array, emoji: Array, n_emoji: Array) -> Array:
    """Return ``text << 32 | token`` of each distinct emoji of a text, ascending, int64 ``[P]``.

    Args:
        rows: Row numbers, ``[R]``.
        text_of_row: The text of each, ``[R]``.
        emoji: Emoji tokens of all rows of the store, one after another.
        n_emoji: How many of them each row of the store has.
    """
    starts = np.cumsum(n_emoji, dtype=np.int64) - n_emoji
    pairs = np.empty(int(n_emoji[rows].sum(dtype=np.int64)), dtype=np.int64)
    done = 0
    for begin in range(0, len(rows), _ROWS_AT_ONCE):
        part = slice(begin, begin + _ROWS_AT_ONCE)
        sizes = n_emoji[rows[part]].astype(np.int64)
        row = np.repeat(np.arange(len(sizes)), sizes)
        place = np.arange(len(row)) - (np.cumsum(sizes) - sizes)[row]
        tokens = emoji[starts[rows[part]][row] + place].astype(np.int64)
        pairs[done : done + len(row)] = text_of_row[part][row].astype(np.int64) << 32 | tokens
        done += len(row)
    pairs.sort()
    kept: Array = pairs[_differs_from_previous(pairs)]
    return kept
