"""Collect encoded rows while a store is written: tokens to disk, hashes and roles in memory.

The hashes stand for texts and whole examples when these are compared: 17 bytes a row, whatever its
length. Two of ten million texts collide with a probability of 3e-6.
"""

import numpy as np

from emoji_gpt2.encode import EncodedRows, text_hash
from emoji_gpt2.splits import Array, TextIndex, packed_pairs
from emoji_gpt2.store import StoreWriter

TRAIN, SPLIT, VAL, TEST = range(4)
"""What a row is for: training only, training or being held out, validation only, test only."""


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
        self._texts: list[Array] = [np.empty(0, np.uint64)]
        self._wholes: list[Array] = [np.empty(0, np.uint64)]
        self._roles: list[Array] = [np.empty(0, np.uint8)]
        self._indices: dict[tuple[int, ...], TextIndex] = {}

    @property
    def role(self) -> Array:
        """What each row is for, ``[rows]``."""
        return _joined(self._roles)

    def count(self, role: int) -> int:
        """Return how many rows have ``role``."""
        return int((self.role == role).sum())

    def add(self, role: int, rows: EncodedRows) -> None:
        """Write rows."""
        self.writer.add(rows.ids, rows.lengths, rows.n_prompt)
        self._texts.append(rows.text_hashes)
        self._wholes.append(rows.example_hashes)
        self._roles.append(np.full(len(rows.lengths), role, dtype=np.uint8))
        self._indices = {}

    def index(self, *roles: int) -> TextIndex:
        """Return the rows of these roles grouped by text, repeated examples left out."""
        present = tuple(role for role in roles if self.count(role))
        if present not in self._indices:
            rows = np.flatnonzero(np.isin(self.role, present)).astype(np.uint32)
            rows = rows[_first_of_each(_joined(self._wholes)[rows])]
            hashes, text_of_row = np.unique(_joined(self._texts)[rows], return_inverse=True)
            text_of_row = text_of_row.astype(np.uint32)
            pairs = packed_pairs(rows, text_of_row, *self.writer.flush())
            self._indices[present] = TextIndex(rows, hashes, text_of_row, pairs)
        return self._indices[present]


def _joined(parts: list[Array]) -> Array:
    """Return the parts as one array, and keep only that in the list."""
    if len(parts) > 1:
        parts[:] = [np.concatenate(parts)]
    return parts[0]


def _first_of_each(values: Array) -> Array:
    """Return where each distinct value first stands, ascending."""
    _, first = np.unique(values, return_index=True)
    return np.sort(first)
