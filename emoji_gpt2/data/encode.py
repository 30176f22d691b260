"""From checked examples to token ids: text, ``<|emoji|>``, emoji, end of text."""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from transformers import GPT2Tokenizer

from emoji_gpt2.batch import SoftTargets
from emoji_gpt2.data.examples import Example, Report, example_hash
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.emoji.text import text_hash
from emoji_gpt2.tokenizer import EMOJI_TOKEN, encode_texts, eos_id, token_id, token_ids

Array = np.ndarray


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
