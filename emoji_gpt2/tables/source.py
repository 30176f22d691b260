"""A table of texts and emoji from anywhere, read record by record; every run says what it took.

    source = open_source("emoji_df.csv", cache_dir=Path("cache"))     # or https://…, hf://datasets/…
    for chunk in source.chunks():         # at most 16,384 records at a time
        for text, emoji in zip(chunk.texts, chunk.emoji):
            ...

Format, compression, encoding, separator, header and columns are found by content.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import UserError, blaming
from emoji_gpt2.files import PATH
from emoji_gpt2.tables.cells import emoji_cell, mended, text_cell
from emoji_gpt2.tables.columnar import FrameTable, ParquetTable, excel_table
from emoji_gpt2.tables.columns import Columns, Reading, find_columns
from emoji_gpt2.tables.decode import check_encoding, open_binary, open_text
from emoji_gpt2.tables.delimited import SAMPLE, DelimitedTable, Row
from emoji_gpt2.tables.json_records import JsonTable, is_json
from emoji_gpt2.tables.labels import LabelledTexts, labels_beside, read_labels
from emoji_gpt2.tables.locate import local_files
from emoji_gpt2.tables.unicode_data import UnicodeData, is_unicode_data

if TYPE_CHECKING:
    import pandas as pd

_SEPARATORS = " \t:;,|+=-"  # between a text and its emoji
CHUNK = 16_384
"""Records that are read at once."""


class Table(Protocol):
    """What each format offers: its columns, what it is in words, and its records."""

    names: list[str]
    has_header: bool
    unit: str

    @property
    def what(self) -> str:
        """In words: the format."""
        ...

    def rows(self) -> Iterator[Row]:
        """Yield the number of each record with its cells, or with why it cannot be read."""
        ...


@dataclass(frozen=True)
class Chunk:
    """Consecutive records, column by column."""

    texts: list[str]
    emoji: list[str]  # "" where there is no column of them
    given: list[str] = field(default_factory=list, compare=False)  # the texts as in the table
    unread: tuple[tuple[int, str], ...] = ()  # what could not be read: where and why
    mended: int = 0  # how many records were mojibake


@dataclass(frozen=True)
class Part:
    """One file, or frame, of a source."""

    name: str
    path: Path | None
    table: Table
    columns: Columns
    labels: Mapping[str, str] = field(default_factory=dict)

    def read(self, row: Sequence[str]) -> tuple[str, str]:
        """Return the text and the emoji of a record."""
        text = text_cell(row[self.columns.text])
        if self.columns.from_text:
            table = EmojiTable.builtin()
            text = emoji_cell(text)
            return table.residue(text).strip(_SEPARATORS), "".join(table.split(text))
        emoji = self.columns.emoji
        return text, "" if emoji is None else emoji_cell(row[emoji], self.labels)

    def is_mojibake(self, row: Sequence[str]) -> bool:
        """Return whether ``read`` mends a cell of the record."""
        used = (self.columns.text, self.columns.emoji)
        cells = (row[index] for index in used if index is not None)
        return any(mended(cell) != cell for cell in cells)

    def took(self) -> str:
        """Return a line that says what is read, with two records of it."""
        columns = self.columns
        header = "" if self.table.has_header else ", no header"
        said = f"{self.name}: {self.table.what}{header}; texts: {self._column(columns.text)}"
        if columns.from_text:
            said += ", emoji: taken out of them"
        elif columns.emoji is not None:
            said += f", emoji: {self._column(columns.emoji)}"
            said += f" ({len(self.labels)} labels)" if self.labels else ""
        left = len(self.table.names) - 1 - (columns.emoji is not None)
        said += f" ({left} other columns are not used)" if left > 1 else ""
        rows = (row for _, row in self.table.rows() if not isinstance(row, str))
        read = ((" ".join(text.split()), emoji) for text, emoji in map(self.read, rows))
        shown = (f"{text:.40} {emoji}".strip() for text, emoji in read if text)
        return f"{said}; such as {' | '.join(islice(shown, 2))}"

    def _column(self, index: int) -> str:
        name = self.table.names[index]
        return repr(name) if self.table.has_header else f"column {name}"


@dataclass(frozen=True)
class Source:
    """One or more tables that were found and looked into."""

    name: str
    parts: tuple[Part, ...]

    @property
    def took(self) -> list[str]:
        """Lines that say what is read, of the first files."""
        lines = [part.took() for part in self.parts[:3]]
        more = len(self.parts) - len(lines)
        return [*lines, f"{self.name}: {more} more files like these"] if more else lines

    @property
    def unit(self) -> str:
        """What the numbers of unread records count."""
        return self.parts[0].table.unit

    def chunks(self, rows: int = CHUNK) -> Iterator[Chunk]:
        """Read all from the beginning, at most ``rows`` records at a time."""
        for part in self.parts:
            numbered = part.table.rows()
            while block := list(islice(numbered, rows)):
                unread = tuple((number, row) for number, row in block if isinstance(row, str))
                whole = [row for _, row in block if not isinstance(row, str)]
                read = [part.read(row) for row in whole]
                yield Chunk(
                    [text for text, _ in read],
                    [emoji for _, emoji in read],
                    [row[part.columns.text] for row in whole],
                    unread,
                    sum(map(part.is_mojibake, whole)),
                )

    def digest(self) -> str:
        """Return the sha256 of what decides the records, in hexadecimal."""
        digest = hashlib.sha256()
        for part in self.parts:
            if part.path is None or isinstance(part.table, LabelledTexts):
                for _, row in part.table.rows():
                    read = row if isinstance(row, str) else part.read(row)
                    digest.update(repr(read).encode(errors="replace"))
                continue
            decided = f"{part.table.what}{part.table.names}{part.columns}{part.labels}"
            digest.update(decided.encode(errors="replace"))
            with part.path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()


def open_source(
    table: "str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | pd.DataFrame",
    reading: Reading | None = None,
    *,
    cache_dir: Path,
    needs_emoji: bool = True,
) -> Source:
    """Find a table, fetch it if it is an address, and look into it.

    Args:
        table: A local file, a pattern such as ``part-*.csv``, an https:// address, a data set of
            the Hub or a file in it, or a list of these; or a DataFrame.
        reading: How to read it.
        cache_dir: The folder below which downloads are kept.
        needs_emoji: Whether a source without emoji is refused.

    Raises:
        UserError: One line with the argument, what was got and wanted, and the remedy.
    """
    reading = reading or Reading()
    check_encoding(reading.encoding)
    if not isinstance(table, str | os.PathLike | Sequence):
        frame = _part("DataFrame", None, FrameTable(table), reading, {}, needs_emoji)
        return Source("DataFrame", (frame,))
    name, files = local_files(table, cache_dir)
    label_names, labels_path = (
        _option_file(reading, name, cache_dir) for name in ("label_names", "labels_path")
    )
    parts = []
    for file_name, path in files:
        beside, mapping = labels_beside(path) if needs_emoji else (None, None)
        opened = _open(path, labels_path or beside, reading)
        names = label_names or (mapping if isinstance(opened, LabelledTexts) else None)
        labels = {}
        if names:
            with blaming("data.label_names", PATH):
                labels = read_labels(names)
        parts.append(_part(file_name, path, opened, reading, labels, needs_emoji))
    return Source(name, tuple(parts))


def _option_file(reading: Reading, option: str, cache_dir: Path) -> Path | None:
    given = getattr(reading, option)
    with blaming(f"data.{option}", PATH):
        return local_files(given, cache_dir)[1][0][1] if given else None


def _open(path: Path, labels_path: Path | None, reading: Reading) -> Table:
    with path.open("rb") as file:
        start = file.read(4)
    if labels_path:
        return LabelledTexts(path, labels_path, reading.encoding)
    if start == b"PAR1":
        return ParquetTable(path)
    if path.suffix.lower() in (".xlsx", ".xls"):
        return excel_table(path)
    with open_binary(path) as binary:
        if binary.read(4) == b"PAR1":
            raise UserError(PATH, f"{str(path)!r}, a compressed Parquet file", "it unpacked")
    with open_text(path, reading.encoding) as text:
        begin = text.head.lstrip("\ufeff \t\r\n")[:1]
        said = re.search(r"\.(json|jsonl|ndjson)\b", path.name.lower())
        is_bracket = begin in ("{", "[") and (said or is_json(text.head, is_whole=text.is_whole))
    if is_bracket:
        return JsonTable(path, reading.encoding)
    if is_unicode_data(text.head):
        return UnicodeData(path, reading.encoding)
    return DelimitedTable(path, reading.encoding, reading.delimiter)


def _part(
    name: str,
    path: Path | None,
    table: Table,
    reading: Reading,
    labels: Mapping[str, str],
    needs_emoji: bool,
) -> Part:
    sample = [row for _, row in islice(table.rows(), SAMPLE) if not isinstance(row, str)]
    if not sample:
        got = f"{name!r} without a record that can be read"
        raise UserError(PATH, got, "rows of data", "fill it")
    columns = find_columns(
        table.names,
        sample,
        reading,
        shown=repr(str(path) if path else name),
        needs_emoji=needs_emoji,
        labels=labels,
    )
    return Part(name, path, table, columns, labels)
