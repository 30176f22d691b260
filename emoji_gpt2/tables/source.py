"""A table of texts and emoji from anywhere, read record by record; every run says what it took.

    source = open_source("emoji_df.csv", cache_dir=Path("cache"))     # or https://…, hf://datasets/…
    source.took                           # ["emoji_df.csv: separated by ',', utf-8, …"]
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
from emoji_gpt2.tables.cells import emoji_cell, is_mojibake, text_cell
from emoji_gpt2.tables.columnar import FrameTable, ParquetTable, excel_table
from emoji_gpt2.tables.columns import Columns, find_columns
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
class Reading:
    """How tables are read; the fields are those arguments of ``EmojiDataModule``."""

    text_column: str | None = None
    emoji_column: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    labels_path: str | None = None
    label_names: str | None = None
    emoji_from_text: bool | None = None


@dataclass(frozen=True)
class Chunk:
    """Consecutive records, column by column.

    Attributes:
        texts: The text of each record.
        emoji: Its emoji; "" where there is no column of them.
        given: The cells of the texts as they stand in the table.
        unread: What could not be read between them: where and why.
        mended: How many of them were mojibake.
    """

    texts: list[str]
    emoji: list[str]
    given: list[str] = field(default_factory=list, compare=False)
    unread: tuple[tuple[int, str], ...] = ()
    mended: int = 0


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

    def was_mojibake(self, row: Sequence[str], text: str, emoji: str) -> bool:
        """Return whether ``read`` has mended the record that it gave these of."""
        before = row[self.columns.text]
        if before != text and is_mojibake(before):
            return True
        cell = "" if self.columns.emoji is None else row[self.columns.emoji]
        return cell != emoji and is_mojibake(cell)

    def took(self) -> str:
        """Return a line that says what is read, with two records of it."""
        names, columns = self.table.names, self.columns
        header = "" if self.table.has_header else ", no header"
        said = f"{self.name}: {self.table.what}{header}; texts: {self._column(columns.text)}"
        if columns.from_text:
            said += ", emoji: taken out of them"
        elif columns.emoji is not None:
            said += f", emoji: {self._column(columns.emoji)}"
            said += f" ({len(self.labels)} labels)" if self.labels else ""
        left = len(names) - 1 - (columns.emoji is not None)
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
    """One or more tables that were found and looked into.

    Attributes:
        name: What to call it: the name of the file given.
        parts: Its files.
    """

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
                rows_read = [row for _, row in block if not isinstance(row, str)]
                read = [part.read(row) for row in rows_read]
                pairs = zip(rows_read, read, strict=True)
                mended = sum(part.was_mojibake(row, *cells) for row, cells in pairs)
                given = [row[part.columns.text] for row in rows_read]
                texts, emoji = [text for text, _ in read], [emoji for _, emoji in read]
                yield Chunk(texts, emoji, given, unread, mended)

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
    labels: dict[str, str] = {}
    if reading.label_names:
        with blaming("data.label_names", PATH):
            labels = read_labels(local_files(reading.label_names, cache_dir)[1][0][1])
    labels_path = None
    if reading.labels_path:
        with blaming("data.labels_path", PATH):
            labels_path = local_files(reading.labels_path, cache_dir)[1][0][1]
    parts = []
    for file_name, path in files:
        beside, mapping = labels_beside(path) if needs_emoji else (None, None)
        opened = _open(path, labels_path or beside, reading)
        used = labels
        if not used and mapping and isinstance(opened, LabelledTexts):
            used = read_labels(mapping)
        parts.append(_part(file_name, path, opened, reading, used, needs_emoji))
    return Source(name, tuple(parts))


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
        said = re.search(r"\.(json|jsonl|ndjson|ya?ml)\b", path.name.lower())
        is_bracket = begin in ("{", "[") and (said or is_json(text.head, is_whole=text.is_whole))
    if is_bracket or (said and "y" in said[1]):
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
        raise UserError(
            PATH, f"{name!r} without a record that can be read", "rows of data", "fill it"
        )
    columns = find_columns(
        table.names,
        sample,
        shown=repr(str(path) if path else name),
        text=reading.text_column,
        emoji=reading.emoji_column,
        needs_emoji=needs_emoji,
        labels=labels,
        from_text=reading.emoji_from_text,
    )
    return Part(name, path, table, columns, labels)
