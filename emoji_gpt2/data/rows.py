"""Collect encoded rows while a store is written: tokens to disk, hashes and roles in memory.

The hashes stand for texts and whole examples when these are compared: 17 bytes a row, whatever its
length. Two of ten million texts collide with a probability of 3e-6.
"""

import numpy as np

from emoji_gpt2.data.encode import EncodedRows
from emoji_gpt2.data.splits import Array, TextIndex, distinct, first_of_each, packed_pairs
from emoji_gpt2.data.store import Column, StoreWriter
from emoji_gpt2.emoji.text import text_hash

TRAIN, SPLIT, VAL, TEST, MADE_UP = range(5)
"""What a row is for: training only, training or being held out, validation only, test only, and
training on what is made up once it is known what is held out."""


class HashedTexts:
    """A set of normalised texts, known by their hashes: ``"pizza" in texts``.

    Args:
        hashes: ``text_hash`` of each, ascending.
    """

    def __init__(self, hashes: Array) -> None:
        self._hashes = hashes

    def __contains__(self, text: object) -> bool:
        value = np.uint64(text_hash(str(text)))
        place = np.searchsorted(self._hashes, value)
        return bool(place < len(self._hashes) and self._hashes[place] == value)


class RowCollector:
    """Write encoded rows, and remember what the splits need to know.

    Args:
        writer: Where the token ids go.
    """

    def __init__(self, writer: StoreWriter) -> None:
        self.writer = writer
        self._roles = Column(np.uint8)
        self._texts = Column(np.uint64)
        self._wholes = Column(np.uint64)
        self._emoji = Column(writer.dtype)
        self._indices: dict[tuple[int, ...], TextIndex] = {}

    @property
    def role(self) -> Array:
        """What each row is for, ``[rows]``."""
        return self._roles.values

    def count(self, role: int) -> int:
        """Return how many rows have ``role``."""
        return int((self.role == role).sum())

    def add(self, role: int, rows: EncodedRows) -> None:
        """Write rows."""
        first = np.uint32(len(self.role))
        self.writer.add_soft_targets(rows.soft._replace(rows=rows.soft.rows + first))
        self.writer.add(rows.ids, rows.lengths, rows.n_prompt)
        self._roles.add(np.full(len(rows.lengths), role))
        self._texts.add(rows.text_hashes)
        self._wholes.add(rows.example_hashes)
        self._emoji.add(rows.emoji)
        self._indices = {}

    def index(self, *roles: int) -> TextIndex:
        """Return the rows of these roles grouped by text, repeated examples left out."""
        present = tuple(role for role in roles if self.count(role))
        if present not in self._indices:
            rows = np.flatnonzero(np.isin(self.role, present)).astype(np.uint32)
            rows = rows[first_of_each(self._wholes.values[rows])]
            hashes, text_of_row = distinct(self._texts.values[rows])
            n_emoji = self.writer.lengths.values - self.writer.n_prompt.values - np.uint16(1)
            pairs = packed_pairs(rows, text_of_row, self._emoji.values, n_emoji)
            self._indices[present] = TextIndex(rows, hashes, text_of_row, pairs)
        return self._indices[present]
