"""Which rows train and which are held out, decided by text.

Held-out texts are never trained on, in any spelling that normalises to the same, and every emoji of
a held-out text keeps at least one text in training: validation asks for new texts, known emoji.

Shapes: R rows, T distinct texts, P distinct (text, emoji) pairs.
"""

from dataclasses import dataclass

import numpy as np

from emoji_gpt2.emoji.text import text_hash

Array = np.ndarray
MAX_HELD_OUT = 10_000
"""Texts of a held-out split at most: enough for a standard error of half a point."""
_MAX_TRIES_PER_TEXT = 20


@dataclass(frozen=True)
class Split:
    """Which rows a split holds, and what counts as right for each; nothing where none is ranked."""

    rows: Array  # row numbers, [n]
    answers: Array | None = None  # token ids of all rows' right answers, one row's after another's
    offsets: Array | None = None  # row i's are answers[offsets[i]:offsets[i + 1]], [n + 1]

    def __len__(self) -> int:
        return len(self.rows)

    def answers_of(self, index: int) -> Array:
        """Return the right answers of the split's row ``index``; none where nothing is ranked."""
        if self.answers is None or self.offsets is None:
            return np.empty(0, dtype=np.int64)
        part: Array = self.answers[self.offsets[index] : self.offsets[index + 1]]
        return part

    def arrays(self) -> dict[str, Array]:
        """Return what there is, by name."""
        return {name: array for name, array in vars(self).items() if array is not None}


class HashedTexts:
    """A set of normalised texts, known by their ``text_hash``: ``"pizza" in texts``."""

    def __init__(self, hashes: Array) -> None:
        self._hashes = np.sort(hashes)

    def __contains__(self, text: object) -> bool:
        value = np.uint64(text_hash(str(text)))
        index = np.searchsorted(self._hashes, value)
        return bool(index < len(self._hashes) and self._hashes[index] == value)


@dataclass
class TextIndex:
    """Rows grouped by text."""

    rows: Array  # row numbers, [R], ascending
    hashes: Array  # the distinct texts' hashes, ascending, which is a random order, [T]
    text_of_row: Array  # index into hashes of each row's text, [R]
    pairs: Array  # text << 32 | emoji token of each pair, ascending, [P]

    @property
    def pair_token(self) -> Array:
        """The emoji token of each pair, ``[P]``."""
        return self.pairs & 0xFFFFFFFF

    def tokens_of(self, text: int) -> Array:
        """Return all emoji tokens that answer the text, over all of its rows."""
        start, stop = np.searchsorted(self.pairs, [text << 32, text + 1 << 32])
        return self.pairs[start:stop] & 0xFFFFFFFF

    def hold_out(self, wanted: int, allowed: Array) -> Array:
        """Return up to ``wanted`` of the ``allowed`` texts (bool ``[T]``) that can be spared.

        Their order is random.
        """
        texts_left = np.bincount(self.pair_token)
        taken: list[int] = []
        for text in np.flatnonzero(allowed)[: wanted * _MAX_TRIES_PER_TEXT].tolist():
            tokens = self.tokens_of(text)
            if (texts_left[tokens] > 1).all():
                texts_left[tokens] -= 1
                taken.append(text)
                if len(taken) == wanted:
                    break
        return np.array(taken, dtype=np.int64)

    def training_split(self, held_out: Array) -> Split:
        """Return all rows but those of the held-out texts."""
        return Split(self.rows[~np.isin(self.text_of_row, held_out)])

    def evaluation_split(self, texts: Array) -> Split:
        """Return the rows of ``texts``; the first row of each text carries all its answers."""
        inside = np.isin(self.text_of_row, texts)
        row_texts = self.text_of_row[inside]
        first = set(np.unique(row_texts, return_index=True)[1].tolist())
        answers = [
            self.tokens_of(text) if row in first else np.empty(0, np.int64)
            for row, text in enumerate(row_texts.tolist())
        ]
        offsets = np.cumsum([0, *map(len, answers)], dtype=np.int64)
        return Split(self.rows[inside], np.concatenate([np.empty(0, np.int64), *answers]), offsets)


def text_index(rows: Array, hashes: Array, emoji: Array, n_emoji: Array) -> TextIndex:
    """Group rows by their text.

    Args:
        rows: Row numbers, ``[R]``, ascending.
        hashes: The hash of each text of the store.
        emoji: Emoji tokens of all rows of the store, one after another.
        n_emoji: How many of them each row of the store has.
    """
    texts, text_of_row = np.unique(hashes[rows], return_inverse=True)
    text_of_all = np.full(len(hashes), -1)
    text_of_all[rows] = text_of_row
    text_of_emoji = np.repeat(text_of_all, n_emoji)
    used = text_of_emoji >= 0
    pairs = np.unique(text_of_emoji[used] << 32 | emoji[used].astype(np.int64))
    return TextIndex(rows, texts, text_of_row, pairs)
