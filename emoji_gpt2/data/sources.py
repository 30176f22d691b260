"""Tables of texts and emoji from anywhere, read in chunks; no row is ever dropped or changed.

Use::

    source = open_source("emoji_df.csv", cache_dir=Path("cache"))     # or https://…, hf://datasets/…
    source.columns                        # Columns(text="name", emoji="emoji", codepoints=…)
    for chunk in source.chunks():         # at most 65,536 records at a time
        for text, emoji in zip(chunk.texts, chunk.emoji or []):
            ...

Columns are found by name, case and white space around it ignored; the names are those of Kaggle's
emoji_df.csv (``emoji,name,group,sub_group,codepoints``), of its copies, and of prompt/completion
files.
"""

import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from emoji_gpt2.data.formats import (
    COMPRESSIONS,
    CsvTable,
    FrameTable,
    JsonTable,
    ParquetTable,
    Table,
    empty,
    json_table,
    only_member,
)
from emoji_gpt2.errors import UserError
from emoji_gpt2.files import file_name, local_copy

if TYPE_CHECKING:
    import pandas as pd

# In order of preference.
TEXT_NAMES = ("name", "text", "description", "prompt")
EMOJI_NAMES = ("emoji", "emojis", "completion")
CODEPOINT_NAMES = ("codepoints", "codepoint")
_TEXT_TABLES: dict[str, Callable[[Path, str], Table]] = {
    ".csv": functools.partial(CsvTable, delimiter=","),
    ".tsv": functools.partial(CsvTable, delimiter="\t"),
    ".tab": functools.partial(CsvTable, delimiter="\t"),
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
        numbers: The number of each record, from 1.
        texts: The description of each record.
        emoji: Its emoji.
        codepoints: Its code points in hexadecimal, as written.
    """

    numbers: Sequence[int]
    texts: list[str]
    emoji: list[str] | None
    codepoints: list[str] | None


@dataclass(frozen=True)
class Source:
    """A table that was found and looked into: it has the columns wanted and at least one record.

    Args:
        path: The local file; the name alone of a table in memory.
        columns: The names of its columns.
    """

    path: Path
    columns: Columns
    _table: Table = field(repr=False)

    def chunks(self, rows: int = 65_536) -> Iterator[Chunk]:
        """Read the table from its beginning, at most ``rows`` records at a time.

        Raises:
            UserError: For a record that cannot be read.
        """
        first = 1
        for values in self._table.blocks(self._names(), rows):
            column = dict(zip(self._names(), values, strict=True))
            roles = (self.columns.text, self.columns.emoji, self.columns.codepoints)
            texts, emoji, codepoints = (column[name] if name else None for name in roles)
            assert texts is not None
            yield Chunk(range(first, first + len(texts)), texts, emoji, codepoints)
            first += len(texts)

    def _names(self) -> list[str]:
        roles = (self.columns.text, self.columns.emoji, self.columns.codepoints)
        return [name for name in roles if name is not None]

    def digest(self) -> str:
        """Return the sha256 of the file's bytes, or of the table in memory, in hexadecimal."""
        if isinstance(self._table, FrameTable):
            return self._table.digest(self._names())
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()


def open_source(
    table: "str | os.PathLike[str] | pd.DataFrame",
    *,
    text_column: str | None = None,
    emoji_column: str | None = None,
    encoding: str = "utf-8",
    cache_dir: Path,
    needs_emoji: bool = True,
) -> Source:
    """Find a table, fetch it if it is an address, and look at its header and first record.

    Args:
        table: A local file, ``https://…`` or
            ``hf://datasets/user/name[@revision]/path/in/repo.csv``: .csv, .tsv, .tab, .jsonl,
            .ndjson, .json (also .gz, .bz2, .xz, .zip) or .parquet; or a DataFrame.
        text_column: The column of texts; None finds it by name.
        emoji_column: The column of emoji; None finds it by name.
        encoding: How a text file's characters are written, a codec name of Python.
        cache_dir: The folder below which downloads are kept.
        needs_emoji: Whether a source without emoji is refused.

    Raises:
        UserError: One line with the argument, what was got and wanted, and the remedy.
    """
    if isinstance(table, str | os.PathLike):
        address = os.fspath(table)
        if "://" in address:
            _kind_of(file_name(address))  # refuse an unknown format before the download
        path = local_copy(address, cache_dir)
        opened = _open_table(path, encoding)
    else:
        path, opened = Path("DataFrame"), FrameTable(table)
    columns = _find_columns(opened.names(), path, text_column, emoji_column, needs_emoji)
    source = Source(path, columns, opened)
    if next(source.chunks(rows=1), None) is None:
        raise UserError("data.path", f"{str(path)!r} with a header only", "rows of data", "fill it")
    return source


def _open_table(path: Path, encoding: str) -> Table:
    try:
        "".encode(encoding)
    except (LookupError, ValueError):
        wanted = "the name of a text encoding, such as utf-8, utf-16 or latin-1"
        remedy = "correct it, or leave it out for utf-8"
        raise UserError("data.encoding", repr(encoding), wanted, remedy) from None
    kind = _kind_of(path.name)
    if kind == ".zip":
        member = only_member(path)
        kind = Path(member).suffix.lower()
        if kind not in _TEXT_TABLES:
            got = f"{member!r} in {str(path)!r}"
            raise UserError(
                "data.path", got, f"one of {', '.join(_TEXT_TABLES)} in a zip", "unpack it"
            )
    return ParquetTable(path) if kind == ".parquet" else _TEXT_TABLES[kind](path, encoding)


def _kind_of(name: str) -> str:
    """Return the end of a file name that says its format; ".zip" where only the archive knows."""
    path = Path(name.lower())
    packed = path.suffix in COMPRESSIONS
    kind = Path(path.stem).suffix if packed else path.suffix
    if kind in _TEXT_TABLES or (kind == ".parquet" and not packed):
        return kind
    if path.suffix == ".zip":
        return ".zip"
    wanted = f"a name that ends in {', '.join(_TEXT_TABLES)} or .parquet"
    remedy = f"convert or rename it (all but .parquet may be compressed: {', '.join(COMPRESSIONS)})"
    raise UserError("data.path", repr(name), wanted, remedy)


def _find_columns(
    names: list[str], path: Path, text: str | None, emoji: str | None, needs_emoji: bool
) -> Columns:
    if not names:
        raise empty(path)
    found = Columns(
        _require(names, path, text, TEXT_NAMES, "text"),
        _require(names, path, emoji, EMOJI_NAMES, "emoji")
        if needs_emoji or emoji is not None
        else _find(names, path, EMOJI_NAMES),
        _find(names, path, CODEPOINT_NAMES),
    )
    if found.text == found.emoji:
        got = f"the column {found.text!r} of {str(path)!r} for the texts and the emoji"
        raise UserError(
            "data.path", got, "two columns", "name both: {data.text_column}, {data.emoji_column}"
        )
    return found


def _require(
    names: list[str], path: Path, given: str | None, known: tuple[str, ...], role: str
) -> str:
    """Return the column of a role, given or found by name, or refuse with how to give it."""
    flag = f"data.{role}_column"
    found = _find(names, path, known if given is None else (given,))
    if found is not None:
        return found
    if given is not None:
        wanted = f"a column of {str(path)!r}, which has {_shown(names)}"
        raise UserError(flag, repr(given), wanted, "give one of these names")
    got = f"the columns {_shown(names)} in {str(path)!r}"
    remedy = f"name the column of {role} with {{{flag}}}"
    raise UserError("data.path", got, f"one named {' or '.join(known)}", remedy)


def _find(names: list[str], path: Path, wanted: tuple[str, ...]) -> str | None:
    """Return the first of ``wanted`` among ``names``; case and outer space may differ."""
    for name in wanted:
        same = [n for n in names if n == name] or [n for n in names if _folded(n) == _folded(name)]
        if len(same) > 1:
            got = f"{len(same)} columns named {name!r} in {str(path)!r}"
            raise UserError("data.path", got, "each name once", "rename or remove all but one")
        if same:
            return same[0]
    return None


def _folded(name: str) -> str:
    return name.strip().casefold()


def _shown(names: list[str]) -> str:
    """Return the names of columns for a message, cut to what fits a line."""
    short = [repr(n if len(n) <= 40 else n[:39] + "…") for n in names[:20]]
    return ", ".join(short) + (", …" if len(names) > 20 else "")
