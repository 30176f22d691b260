"""Which rows train and which are held out, decided by text.

Held-out texts are never trained on, in any spelling that normalises to the same, and every emoji of
a held-out text keeps at least one text in training: validation asks for new texts, known emoji.

Shapes: R rows, T distinct texts, P distinct (text, emoji) pairs.
"""

from dataclasses import dataclass

import numpy as np

from emoji_gpt2.store import Split

Array = np.ndarray
MAX_HELD_OUT = 10_000
"""Texts of a held-out split at most: enough for a standard error of half a point."""
_MAX_TRIES_PER_TEXT = 20


@dataclass
class TextIndex:
    """Rows grouped by text.

    Attributes:
        rows: Row numbers, ``[R]``, ascending.
        hashes: The distinct texts' hashes, ascending, which is a random order, ``[T]``.
        text_of_row: Index into ``hashes`` of each row's text, ``[R]``.
        pair_text: Index into ``hashes`` of each pair's text, ascending, ``[P]``.
        pair_token: The pair's emoji token, ``[P]``.
    """

    rows: Array
    hashes: Array
    text_of_row: Array
    pair_text: Array
    pair_token: Array

    @classmethod
    def build(
        cls, rows: Array, text_hash: Array, emoji_row: Array, emoji_token: Array
    ) -> "TextIndex":
        """Index ``rows`` (ascending); emoji ``emoji_token[i]`` stands in row ``emoji_row[i]``."""
        hashes, text_of_row = np.unique(text_hash[rows], return_inverse=True)
        ours = np.isin(emoji_row, rows, assume_unique=False)
        texts = text_of_row[np.searchsorted(rows, emoji_row[ours])]
        pairs = np.unique(texts.astype(np.int64) << 32 | emoji_token[ours].astype(np.int64))
        return cls(rows, hashes, text_of_row, pairs >> 32, pairs & 0xFFFFFFFF)

    def tokens_of(self, text: int) -> Array:
        """Return all emoji tokens that answer the text, over all of its rows."""
        start, stop = np.searchsorted(self.pair_text, [text, text + 1])
        tokens: Array = self.pair_token[start:stop]
        return tokens

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
