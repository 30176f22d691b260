"""From records to token ids, chunk by chunk, in several processes where the source is large.

    encoder = RowEncoder(tokenizer, "keep", max_length=128)
    for rows in encoded_chunks(source, encoder, processes_for(source)):
        rows.ids, rows.lengths, rows.report

Every process reads the whole source, which is a tenth of the work, and encodes its share of the
chunks; they come back in the order of the source, whatever the number of processes.

Shapes: R rows of a chunk.
"""

import gc
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from tqdm import tqdm
from transformers import GPT2Tokenizer

from emoji_gpt2.batch import SoftTargets
from emoji_gpt2.data.examples import Example, Report, SkinTones, read_examples
from emoji_gpt2.data.sources import Chunk, Source
from emoji_gpt2.data.wordwise import WordwiseEncoder
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.emoji.text import text_hash
from emoji_gpt2.errors import UserError
from emoji_gpt2.tokenizer import EMOJI_TOKEN, eos_id, token_id, token_ids

Array = np.ndarray
CHUNK = 16_384
"""Records of a chunk."""
BYTES_PER_PROCESS = 2 << 20
"""A process more is worth its start for this much of a source: about half a second's work."""
MAX_PROCESSES = 16


class EncodedRows(NamedTuple):
    """Rows of one chunk, ready to be written.

    Attributes:
        ids: Token ids of all rows, one after another.
        lengths: How many each row has, ``[R]``.
        n_prompt: How many of them are its prompt, ``[R]``.
        text_hashes: ``text_hash`` of each text, ``[R]``.
        example_hashes: The same of each text with its emoji, ``[R]``.
        emoji: The emoji among ``ids``, one row's after another's.
        soft: The soft targets of those that have some, ``rows`` counted from 0.
        report: What was read, dropped and cut.
    """

    ids: Array
    lengths: Array
    n_prompt: Array
    text_hashes: Array
    example_hashes: Array
    emoji: Array
    soft: SoftTargets
    report: Report


class RowEncoder:
    """Check examples and turn them into token ids: text, ``<|emoji|>``, emoji, end of text.

    Args:
        tokenizer: With emoji tokens.
        skin_tones: "keep" or "drop".
        max_length: Tokens of a whole row at most.
    """

    def __init__(self, tokenizer: GPT2Tokenizer, skin_tones: SkinTones, max_length: int) -> None:
        self.skin_tones = skin_tones
        self.max_length = max_length
        self.table = EmojiTable.builtin()
        self.dtype = np.dtype("<u2" if len(tokenizer) <= 1 << 16 else "<u4")
        self.emoji_ids = dict(zip(self.table, token_ids(tokenizer, self.table), strict=True))
        self._emoji = {emoji: self._bytes(number) for emoji, number in self.emoji_ids.items()}
        self._end_of_prompt = self._bytes(token_id(tokenizer, EMOJI_TOKEN))
        self._end_of_text = self._bytes(eos_id(tokenizer))
        self.vocabulary: dict[str, int] = tokenizer.get_vocab()
        self._encode_texts = WordwiseEncoder(tokenizer, self.dtype)

    def _bytes(self, token: int) -> bytes:
        return np.array([token], self.dtype).tobytes()

    def chunk(self, chunk: Chunk, report: Report) -> EncodedRows:
        """Return the usable rows of a chunk; what is not usable is counted in ``report``."""
        return self.examples(read_examples(chunk, self.table, self.skin_tones, report), report)

    def examples(self, examples: Sequence[Example], report: Report) -> EncodedRows:
        """Return the rows of checked examples; what has to be cut is counted in ``report``."""
        parts: list[bytes] = []
        all_emoji: list[bytes] = []
        lengths, n_prompt = [], []
        longest = self.max_length * self.dtype.itemsize
        of_texts = self._encode_texts([example.text for example in examples])
        for example, text in zip(examples, of_texts, strict=True):
            emoji = b"".join([self._emoji[e] for e in example.emoji])
            if len(text) + len(emoji) + 2 * self.dtype.itemsize > longest:
                text, emoji = self._cut(text, emoji, report)  # noqa: PLW2901
            parts += (text, self._end_of_prompt, emoji, self._end_of_text)
            all_emoji.append(emoji)
            n_prompt.append(len(text))
            lengths.append(len(text) + len(emoji))
        texts = [text_hash(example.text) for example in examples]
        wholes = [text_hash("\0".join((example.text, *example.emoji))) for example in examples]
        return EncodedRows(
            np.frombuffer(b"".join(parts), self.dtype),
            (np.array(lengths, np.int64) // self.dtype.itemsize + 2).astype(np.uint16),
            (np.array(n_prompt, np.int64) // self.dtype.itemsize + 1).astype(np.uint16),
            np.array(texts, np.uint64),
            np.array(wholes, np.uint64),
            np.frombuffer(b"".join(all_emoji), self.dtype),
            self._soft_targets(examples),
            report,
        )

    def _soft_targets(self, examples: Sequence[Example]) -> SoftTargets:
        rows = [row for row, example in enumerate(examples) if example.shares]
        answers = [answer for row in rows for answer in examples[row].shares]
        return SoftTargets(
            np.array(rows, np.uint32),
            np.array([len(examples[row].shares) for row in rows], np.uint16),
            np.array([self.emoji_ids[emoji] for emoji, _ in answers], self.dtype),
            np.array([share for _, share in answers], np.float32),
        )

    def _cut(self, text: bytes, emoji: bytes, report: Report) -> tuple[bytes, bytes]:
        """Cut emoji beyond half of ``max_length``, then the text to what is left, and count."""
        size = self.dtype.itemsize
        most_emoji = self.max_length // 2 - 1
        if len(emoji) > most_emoji * size:
            report.noted[f"more than {most_emoji} emoji (cut: max_length {self.max_length})"] += 1
            emoji = emoji[: most_emoji * size]
        room = (self.max_length - 2) * size - len(emoji)
        if len(text) > room:
            report.noted[f"text longer than max_length {self.max_length} (cut)"] += 1
            text = text[:room]
        return text, emoji


def processes_for(source: Source) -> int:
    """Return how many processes are worth starting; 0 for a source that one is enough for."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    wanted = min(cores, MAX_PROCESSES, source.path.stat().st_size // BYTES_PER_PROCESS)
    return wanted if wanted > 1 else 0


def encoded_chunks(source: Source, encoder: RowEncoder, processes: int) -> Iterator[EncodedRows]:
    """Yield the source's rows in its order, with a progress bar if it takes more than a moment.

    Args:
        source: What to read.
        encoder: What makes rows of it.
        processes: How many processes share the work; 0 does it in this one.

    Raises:
        UserError: a record cannot be read; its line is named.
    """
    loader: DataLoader[Any] = DataLoader(
        _EncodedSource(source, encoder),
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=processes,
        worker_init_fn=_prepare_worker,
        generator=torch.Generator(),  # or it would draw a seed from torch's own
    )
    title = f"preparing {source.path.name}"
    total = source.n_lines()
    with tqdm(
        total=total, desc=title, unit=" lines", unit_scale=True, delay=1, disable=None
    ) as bar:
        for rows, line in loader:
            if isinstance(rows, str):
                raise UserError(rows)
            yield rows
            bar.update(line - bar.n)


class _EncodedSource(IterableDataset[tuple["EncodedRows | str", int]]):
    """This process's share of the chunks, each with the number of the last line read."""

    def __init__(self, source: Source, encoder: RowEncoder) -> None:
        self.source = source
        self.encoder = encoder

    def __iter__(self) -> Iterator[tuple["EncodedRows | str", int]]:
        worker = get_worker_info()
        mine, of = (worker.id, worker.num_workers) if worker else (0, 1)
        try:
            for chunk in islice(self.source.chunks(CHUNK), mine, None, of):
                report = Report(self.source.path.name)
                yield self.encoder.chunk(chunk, report), chunk.lines[-1]
        except UserError as error:  # an exception would come back with this process's traceback
            yield str(error), 0


def _as_it_is(item: Any) -> Any:
    return item


def _prepare_worker(_number: int) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are what is parallel
    gc.disable()  # millions of short lists, none in a cycle: looking for some takes half the time
