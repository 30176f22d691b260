"""Collect encoded rows while a store is written: tokens to disk, everything else in memory.

Hashes stand for texts and whole examples when these are compared. Two of ten million texts have the
same hash with a probability of 3e-6.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np

from emoji_gpt2.batch import SoftTargets
from emoji_gpt2.data.encode import EncodedRows
from emoji_gpt2.data.splits import Array, Split, TextIndex, text_index
from emoji_gpt2.data.store import StoreWriter

TRAIN, SPLIT, VAL, TEST, SYNTHETIC = range(5)
"""What a row is for: training only, training or being held out, validation only, test only, and
synthetic training texts, which are added once it is known what is held out."""


class RowCollector:
    """Gives token ids to the writer of a store, and keeps what the splits need to know."""

    def __init__(self, writer: StoreWriter) -> None:
        self.writer = writer
        self.n_rows = 0
        self._parts: defaultdict[str, list[Array]] = defaultdict(list)
        self._indices: dict[tuple[int, ...], TextIndex] = {}

    def add(self, role: int, rows: EncodedRows) -> None:
        """Write rows."""
        self.writer.add(rows.ids)
        columns = rows._asdict() | {f"soft_{k}": v for k, v in rows.soft._asdict().items()}
        columns["soft_rows"] = rows.soft.rows + np.uint32(self.n_rows)
        columns["role"] = np.full(len(rows.lengths), role, np.uint8)
        for name in columns.keys() - {"ids", "soft"}:
            self._parts[name].append(columns[name])
        self.n_rows += len(rows.lengths)
        self._indices = {}

    def column(self, name: str) -> Array:
        """Return one value of each row: "role", "lengths" or another field of ``EncodedRows``."""
        parts = self._parts[name]
        parts[:] = [np.concatenate(parts)] if parts else [np.empty(0, np.uint64)]
        return parts[0]

    def count(self, role: int) -> int:
        """Return how many rows have ``role``."""
        return int((self.column("role") == role).sum())

    def hashes_of(self, role: int) -> Array:
        """Return ``example_hash`` of each row that has ``role``."""
        hashes: Array = self.column("example_hashes")[self.column("role") == role]
        return hashes

    def index(self, *roles: int) -> TextIndex:
        """Return the rows of these roles grouped by text, repeated examples left out."""
        present = tuple(role for role in roles if self.count(role))
        if present not in self._indices:
            rows = np.flatnonzero(np.isin(self.column("role"), present)).astype(np.uint32)
            first = np.unique(self.column("example_hashes")[rows], return_index=True)[1]
            rows = rows[np.sort(first)]
            n_emoji = self.column("lengths") - self.column("n_prompt") - np.uint16(1)
            hashes = self.column("text_hashes")
            self._indices[present] = text_index(rows, hashes, self.column("emoji"), n_emoji)
        return self._indices[present]

    def finish(self, splits: dict[str, Split], report: list[str], samples: list[str]) -> Path:
        """Write what is in memory, and return the folder of the finished store."""
        soft = SoftTargets(*(self.column(f"soft_{name}") for name in SoftTargets._fields))
        lengths, n_prompt = self.column("lengths"), self.column("n_prompt")
        return self.writer.finish(lengths, n_prompt, soft, splits, report, samples)
