"""From checked examples to rows: text, ``<|emoji|>``, emoji, end of text.

While a store is written, token ids go to disk and everything else is kept in memory. Hashes stand
for texts and whole examples when these are compared. Two of ten million texts have the same hash
with a probability of 3e-6.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from transformers import GPT2Tokenizer

from emoji_gpt2.batch import SoftTargets
from emoji_gpt2.data.examples import Example, Report, example_hash
from emoji_gpt2.data.splits import Array, Split, TextIndex, text_index
from emoji_gpt2.data.store import StoreWriter
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.emoji.text import text_hash
from emoji_gpt2.tokenizer import EMOJI_TOKEN, encode_texts, eos_id, token_id, token_ids

TRAIN, SPLIT, VAL, TEST, SYNTHETIC = range(5)
"""What a row is for: training only, training or being held out, validation only, test only, and
synthetic training texts, which are added once it is known what is held out."""


class EncodedRows(NamedTuple):
    """R rows, ready to be written."""

    ids: Array  # token ids of all rows, one after another
    lengths: Array  # how many each row has, [R]
    n_prompt: Array  # how many of them are its prompt, [R]
    text_hashes: Array  # text_hash of each text, [R]
    example_hashes: Array  # example_hash of each, [R]
    emoji: Array  # the emoji among ids, one row's after another's
    soft: SoftTargets  # of the rows that have some, counted from 0


class RowEncoder:
    """Turns examples into at most ``max_length`` token ids; longer texts and emoji are cut."""

    def __init__(self, tokenizer: GPT2Tokenizer, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.dtype = np.dtype("<u2" if len(tokenizer) <= 1 << 16 else "<u4")
        table = EmojiTable.builtin()
        self.emoji_ids = dict(zip(table, token_ids(tokenizer, table), strict=True))

    def encode(self, examples: Sequence[Example], report: Report) -> EncodedRows:
        """Return the rows of examples; what has to be cut is counted in ``report``."""
        texts = encode_texts(self.tokenizer, [example.text for example in examples])
        answers = [[self.emoji_ids[one] for one in example.emoji] for example in examples]
        for text, emoji in zip(texts, answers, strict=True):
            if len(text) + len(emoji) + 2 > self.max_length:
                self._cut(text, emoji, report)
        middle, end = token_id(self.tokenizer, EMOJI_TOKEN), eos_id(self.tokenizer)
        rows = [[*text, middle, *emoji, end] for text, emoji in zip(texts, answers, strict=True)]
        return EncodedRows(
            np.fromiter(chain.from_iterable(rows), self.dtype),
            np.fromiter(map(len, rows), np.uint16),
            np.array([len(text) + 1 for text in texts], np.uint16),
            np.array([text_hash(example.text) for example in examples], np.uint64),
            np.array([example_hash(example) for example in examples], np.uint64),
            np.fromiter(chain.from_iterable(answers), self.dtype),
            self._soft_targets(examples),
        )

    def _soft_targets(self, examples: Sequence[Example]) -> SoftTargets:
        rows = [row for row, example in enumerate(examples) if example.probs]
        answers = [answer for row in rows for answer in examples[row].probs]
        return SoftTargets(
            np.array(rows, np.uint32),
            np.array([len(examples[row].probs) for row in rows], np.uint16),
            np.array([self.emoji_ids[emoji] for emoji, _ in answers], self.dtype),
            np.array([prob for _, prob in answers], np.float32),
        )

    def _cut(self, text: list[int], emoji: list[int], report: Report) -> None:
        """Cut emoji beyond half of ``max_length``, then the text to what is left, and count."""
        most_emoji = self.max_length // 2 - 1
        if len(emoji) > most_emoji:
            report.noted[f"more than {most_emoji} emoji (cut: max_length {self.max_length})"] += 1
            del emoji[most_emoji:]
        most_text = self.max_length - 2 - len(emoji)
        if len(text) > most_text:
            report.noted[f"text longer than max_length {self.max_length} (cut)"] += 1
            del text[most_text:]


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
