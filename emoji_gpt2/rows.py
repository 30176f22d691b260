"""Collect tokenized rows while a store is written: tokens to disk, hashes and roles in memory.

The hashes, 64 bits of BLAKE2b, stand for texts and whole examples when these are compared: 17 bytes
a row, whatever its length. Two of ten million texts collide with a probability of 3e-6.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from transformers import GPT2Tokenizer

from emoji_gpt2.examples import Example, Report
from emoji_gpt2.splits import Array, TextIndex
from emoji_gpt2.store import StoreWriter
from emoji_gpt2.table import EmojiTable
from emoji_gpt2.tokenizer import EMOJI_TOKEN, encode_texts, eos_id, token_id, token_ids

TRAIN, SPLIT, VAL, TEST = range(4)
"""What a row is for: training only, training or being held out, validation only, test only."""


def text_hash(text: str) -> int:
    """Return 64 bits of BLAKE2b of a normalised text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


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
    """Tokenize examples, write them, and remember what the splits need to know.

    Args:
        writer: Where the token ids go.
        tokenizer: With emoji tokens.
        max_length: Tokens of a whole row at most: text, ``<|emoji|>``, emoji and end of text.
    """

    def __init__(self, writer: StoreWriter, tokenizer: GPT2Tokenizer, max_length: int) -> None:
        self.writer = writer
        self.max_length = max_length
        self.tokenizer = tokenizer
        table = EmojiTable.builtin()
        self.emoji_ids = dict(zip(table, token_ids(tokenizer, table), strict=True))
        self._end_of_prompt = token_id(tokenizer, EMOJI_TOKEN)
        self._end_of_text = eos_id(tokenizer)
        self._hashes: list[Array] = [np.empty((0, 2), dtype=np.uint64)]
        self._roles: list[Array] = [np.empty(0, dtype=np.uint8)]

    @property
    def role(self) -> Array:
        """What each row is for, ``[rows]``."""
        self._roles = [np.concatenate(self._roles)]
        return self._roles[0]

    def count(self, role: int) -> int:
        """Return how many rows have ``role``."""
        return int((self.role == role).sum())

    def add(self, role: int, examples: Sequence[Example], report: Report) -> None:
        """Tokenize and write examples; what has to be cut is counted in ``report``."""
        hashes = [(text_hash(e.text), text_hash(f"{e.text}\0{e.emoji}")) for e in examples]
        self._hashes.append(np.array(hashes, dtype=np.uint64).reshape(-1, 2))
        self._roles.append(np.full(len(examples), role, dtype=np.uint8))
        rows, n_prompt = [], []
        all_ids = encode_texts(self.tokenizer, [e.text for e in examples])
        for example, ids in zip(examples, all_ids, strict=True):
            prompt, emoji = self._fit(ids, [self.emoji_ids[e] for e in example.emoji], report)
            n_prompt.append(len(prompt))
            rows.append([*prompt, *emoji, self._end_of_text])
        self.writer.add(rows, n_prompt)

    def _fit(
        self, text: list[int], emoji: list[int], report: Report
    ) -> tuple[list[int], list[int]]:
        """Cut emoji beyond half of ``max_length``, then the text to what is left, and count."""
        most_emoji = self.max_length // 2 - 1
        if len(emoji) > most_emoji:
            report.noted[f"more than {most_emoji} emoji (cut: max_length {self.max_length})"] += 1
            emoji = emoji[:most_emoji]
        room = self.max_length - len(emoji) - 2
        if len(text) > room:
            report.noted[f"text longer than max_length {self.max_length} (cut)"] += 1
            text = text[:room]
        return [*text, self._end_of_prompt], emoji

    def index(self, *roles: int) -> TextIndex:
        """Return the rows of these roles grouped by text, repeated examples left out."""
        self._hashes = [np.concatenate(self._hashes)]
        hashes = self._hashes[0]
        rows = np.flatnonzero(np.isin(self.role, roles))
        _, first = np.unique(hashes[rows, 1], return_index=True)
        return TextIndex.build(rows[np.sort(first)], hashes[:, 0], *self._emoji_tokens())

    def _emoji_tokens(self) -> tuple[Array, Array]:
        """Return for each emoji of all rows its row and its token."""
        ids, lengths, n_prompt = self.writer.flush()
        n_emoji = lengths.astype(np.int64) - n_prompt - 1
        ends = np.cumsum(lengths, dtype=np.int64) - 1
        emoji_row = np.repeat(np.arange(len(lengths)), n_emoji)
        last = np.cumsum(n_emoji)[emoji_row]
        return emoji_row, ids[ends[emoji_row] - (last - np.arange(len(emoji_row)))]
