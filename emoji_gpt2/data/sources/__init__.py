"""Tables of texts and emoji from anywhere, read in chunks; no row is ever dropped or changed.

Use::

    source = open_source("emoji_df.csv", cache_dir=Path("cache"))     # or https://…, hf://datasets/…
    source.columns                        # Columns(text="name", emoji="emoji", codepoints=…)
    for chunk in source.chunks():         # at most 65,536 records at a time
        for line, text, emoji in zip(chunk.lines, chunk.texts, chunk.emoji or []):
            ...

A chunk is four lists and not a DataFrame: its only use is to walk over strings. Columns are found
by name, case and white space around it ignored; the names are those of Kaggle's emoji_df.csv
(``emoji,name,group,sub_group,codepoints``), of its copies, and of prompt/completion files.
"""

import functools
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from emoji_gpt2.data.sources.parquet_table import ParquetTable
from emoji_gpt2.data.sources.text_tables import Block, CsvTable, JsonTable, json_table
from emoji_gpt2.data.sources.textfile import COMPRESSIONS, TextFile, only_member
from emoji_gpt2.errors import refused
from emoji_gpt2.files import file_name, local_copy

# In order of preference.
TEXT_NAMES = ("name", "text", "description", "prompt")
EMOJI_NAMES = ("emoji", "emojis", "completion")
CODEPOINT_NAMES = ("codepoints", "codepoint")
_SETTLED = 2.0  # seconds without a change after which a file's time tells whether it is the same


class Table(Protocol):
    """What each format offers."""

    def names(self) -> list[str]:
        """The names of the columns, [] when the file has none."""
        ...

    def blocks(self, columns: list[str], rows: int) -> Iterator[Block]:
        """The values of ``columns``, at most ``rows`` records at a time."""
        ...

    def n_lines(self) -> int | None:
        """What the last record's line will be, about; None where finding out takes long."""
        ...


_TEXT_TABLES: dict[str, Callable[[TextFile], Table]] = {
    ".csv": partial(CsvTable, delimiter=","),
    ".tsv": partial(CsvTable, delimiter="\t"),
    ".tab": partial(CsvTable, delimiter="\t"),
    ".jsonl": JsonTable,
    ".ndjson": JsonTable,
    ".json": json_table,
}


@dataclass(frozen=True)
class Columns:
    """The names of a source's columns, as its header has them; None where there is none."""

    text: str
    emoji: str | None
    codepoints: str | None


@dataclass(frozen=True)
class Chunk:
    """Consecutive records, column by column. A missing value is ""; a missing column is None.

    Args:
        lines: The line of the file in which each record begins, from 1, the header counted. Where
            a format has no lines (Parquet, a JSON list), the number of the record, from 1.
        texts: The description of each record.
        emoji: Its emoji.
        codepoints: Its code points in hexadecimal, as written.
    """

    lines: list[int]
    texts: list[str]
    emoji: list[str] | None
    codepoints: list[str] | None


def kind_of(name: str) -> str:
    """The end of a file name that says its format, ".zip" where only the archive's content can.

    Raises:
        UserError: For an end that no format here has.
    """
    path = Path(name.lower())
    packed = path.suffix in COMPRESSIONS
    kind = Path(path.stem).suffix if packed else path.suffix
    if kind in _TEXT_TABLES or (kind == ".parquet" and not packed):
        return kind
    if path.suffix == ".zip":
        return ".zip"
    wanted = f"a name that ends in {', '.join(_TEXT_TABLES)} or .parquet"
    remedy = f"convert or rename it (all but .parquet may be compressed: {', '.join(COMPRESSIONS)})"
    raise refused(repr(name), wanted, remedy)


def open_table(path: Path, encoding: str) -> Table:
    """The table in a local file, after a look at its name and its first bytes."""
    kind = kind_of(path.name)
    if kind == ".zip":
        member = only_member(path)
        kind = Path(member).suffix.lower()
        if kind not in _TEXT_TABLES:
            got = f"{member!r} in {str(path)!r}"
            raise refused(got, f"one of {', '.join(_TEXT_TABLES)} in a zip", "unpack it")
    if kind == ".parquet":
        return ParquetTable(path)
    file = TextFile(path, encoding)
    file.check()
    return _TEXT_TABLES[kind](file)


@dataclass(frozen=True)
class Source:
    """A table that was found and looked into: it has the columns wanted and at least one record.

    Args:
        path: The local file.
        columns: The names of its columns.
    """

    path: Path
    columns: Columns
    _table: Table = field(repr=False)

    def chunks(self, rows: int = 65_536) -> Iterator[Chunk]:
        """Read the file from its beginning, at most ``rows`` records at a time.

        Raises:
            UserError: For a record that cannot be read, naming its line.
        """
        assert rows > 0
        roles = (self.columns.text, self.columns.emoji, self.columns.codepoints)
        wanted = [name for name in roles if name is not None]
        for lines, values in self._table.blocks(wanted, rows):
            column = dict(zip(wanted, values, strict=True))
            text, emoji, codepoints = (column[name] if name else None for name in roles)
            assert text is not None
            yield Chunk(lines, text, emoji, codepoints)

    def n_lines(self) -> int | None:
        """The lines of the file, as chunks count them; None where counting takes long."""
        return self._table.n_lines()

    def digest(self) -> str:
        """The sha256 of the file's bytes, in hexadecimal."""
        state = self.path.stat()
        # A file that has just been written may be written again within its clock's tick.
        settled = time.time() - state.st_mtime > _SETTLED
        look_up = _sha256 if settled else _sha256.__wrapped__
        return look_up(self.path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _sha256(path: Path, _size: int, _mtime_ns: int) -> str:
    """The sha256 of a file, read once per process as long as it does not change."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def open_source(
    path: str | os.PathLike[str],
    *,
    text_column: str | None = None,
    emoji_column: str | None = None,
    encoding: str = "utf-8",
    cache_dir: Path,
    needs_emoji: bool = True,
) -> Source:
    """Find a table, fetch it if it is an address, and look at its header and first record.

    Args:
        path: A local file, ``https://…`` or ``hf://datasets/user/name[@revision]/path/in/repo.csv``:
            .csv, .tsv, .tab, .jsonl, .ndjson, .json (also .gz, .bz2, .xz, .zip) or .parquet.
        text_column: The column of texts; None finds it by name.
        emoji_column: The column of emoji; None finds it by name.
        encoding: How a text file's characters are written, a codec name of Python.
        cache_dir: The folder below which downloads are kept.
        needs_emoji: Whether a source without emoji is refused.

    Raises:
        UserError: One line with the argument, what was got and wanted, and the remedy.
    """
    address = os.fspath(path)
    if "://" in address:
        kind_of(file_name(address))  # before it is downloaded in vain
    local = local_copy(address, cache_dir)
    table = open_table(local, encoding)
    columns = _find_columns(
        table.names(), local, text_column, emoji_column, needs_emoji=needs_emoji
    )
    source = Source(local, columns, table)
    if next(source.chunks(rows=1), None) is None:
        raise refused(f"{str(local)!r} with a header only", "rows of data", "fill it")
    return source


def _find_columns(
    names: list[str], path: Path, text: str | None, emoji: str | None, *, needs_emoji: bool
) -> Columns:
    if not names:
        raise refused(f"the empty file {str(path)!r}", "a table with named columns", "fill it")
    found = Columns(
        _require(names, path, text, TEXT_NAMES, "text"),
        _require(names, path, emoji, EMOJI_NAMES, "emoji")
        if needs_emoji or emoji is not None
        else _find(names, path, EMOJI_NAMES),
        _find(names, path, CODEPOINT_NAMES),
    )
    if found.text == found.emoji:
        got = f"the column {found.text!r} of {str(path)!r} for the texts and the emoji"
        raise refused(got, "two columns", "name both: --data.text_column, --data.emoji_column")
    return found


def _require(
    names: list[str], path: Path, given: str | None, known: tuple[str, ...], role: str
) -> str:
    """The column of a role, given or found by name, or a line that says how to give it."""
    flag = f"--data.{role}_column"
    found = _find(names, path, known if given is None else (given,))
    if found is not None:
        return found
    if given is not None:
        wanted = f"a column of {str(path)!r}, which has {_shown(names)}"
        raise refused(repr(given), wanted, "give one of these names", flag)
    got = f"the columns {_shown(names)} in {str(path)!r}"
    remedy = f"name the column of {role} with {flag}"
    raise refused(got, f"one named {' or '.join(known)}", remedy)


def _find(names: list[str], path: Path, wanted: tuple[str, ...]) -> str | None:
    """The first of ``wanted`` among ``names``: exactly, else but for case and outer white space."""
    for name in wanted:
        same = [n for n in names if n == name] or [n for n in names if _folded(n) == _folded(name)]
        if len(same) > 1:
            got = f"{len(same)} columns named {name!r} in {str(path)!r}"
            raise refused(got, "each name once", "rename or remove all but one")
        if same:
            return same[0]
    return None


def _folded(name: str) -> str:
    return name.strip().casefold()


def _shown(names: list[str]) -> str:
    """The names of columns for a message, cut to what fits a line."""
    short = [repr(n if len(n) <= 40 else n[:39] + "…") for n in names[:20]]
    return ", ".join(short) + (", …" if len(names) > 20 else "")
