"""Delimited text, with or without a header: CSV, TSV and what people call so; plain lines too.

    table = DelimitedTable(Path("tweets.csv"))
    table.names, table.what                 # ["text", "emoji"], "separated by ';', utf-8"
    for number, cells in table.rows():      # number: the line; cells: or why it cannot be read
        ...

The separator is the one that cuts the lines into the same number of cells, best with a column of
emoji or with known names. A line that is whole without regard to quotes is never joined with those
after it: texts that begin with a quote are common in tables of tweets.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import UserError
from emoji_gpt2.files import PATH
from emoji_gpt2.tables.columns import is_known, looks_like_header, profile
from emoji_gpt2.tables.decode import open_text

Row = tuple[int, list[str] | str]
"""A number, and the cells of a record, or in words why they cannot be had."""
SEPARATORS = {",": "','", "\t": "tab", ";": "';'", "|": "'|'"}
ONE_COLUMN = "\x1f"
"""The separator of a table of one column, whose cells may have quotes; lines of text have none."""
COMMENT = "comments"
SAMPLE = 1_000
"""Records that are looked at before reading."""
MAX_CELL = 1 << 24
"""Characters of a quoted cell; the csv module takes 131,072 otherwise."""
MAX_LINES = 200
"""Lines that a quoted cell may span."""


@dataclass(frozen=True)
class _Layout:
    delimiter: str | None
    sample: list[list[str]]

    @property
    def width(self) -> int:
        """How many cells most records have."""
        return Counter(map(len, self.sample)).most_common(1)[0][0] if self.sample else 0

    def fitness(self, *, is_first_choice: bool) -> tuple[float, ...]:
        """Return how well the records fit, the most important first; below 1: not at all."""
        width = self.width
        same = sum(len(cells) == width for cells in self.sample) / max(1, len(self.sample))
        if width < 2 or same < 0.6:
            return (0.0,)
        known = len({is_known(name) for name in self.sample[0]} - {None})
        whole = [cells for cells in self.sample[1:] if len(cells) == width] or self.sample
        emoji = max(profile([cells[i] for cells in whole[:200]]).emoji for i in range(width))
        return (1.0 + (known == 2) + (emoji > 0.5), known, round(same, 1), is_first_choice, same)


class DelimitedTable:
    """A file of lines.

    Args:
        path: The file, which may be compressed.
        encoding: None finds it.
        delimiter: What separates cells; None finds it.
    """

    unit = "line"

    def __init__(
        self, path: Path, encoding: str | None = None, delimiter: str | None = None
    ) -> None:
        self.path = path
        with open_text(path, encoding) as file:
            self._encoding = file.encoding
            lines = list(io.StringIO(file.head, newline=""))
        numbered = [(n, line) for n, line in enumerate(lines, 1) if line.strip()]
        if not numbered:
            raise UserError(PATH, f"the empty file {str(path)!r}", "a table", "fill it")
        delimiter = {"\\t": "\t", "tab": "\t"}.get(delimiter or "", delimiter)
        self._skip = 0
        if said := re.fullmatch("sep=(.)\\s*", numbered[0][1], re.IGNORECASE):  # Excel's
            delimiter, self._skip = delimiter or said[1], numbered[0][0]
        body = [(n, line) for n, line in numbered if n > self._skip]
        layout = _layout(body, delimiter, path.name)
        self._delimiter, sample = layout.delimiter, layout.sample
        width = layout.width
        first = [name.strip() for name in sample[0]] if sample else []
        self._first = first
        self.has_header = looks_like_header(first, [s for s in sample[1:] if len(s) == width])
        self._width = max(width, len(first)) if self.has_header else width
        self.names = first if self.has_header else [str(n + 1) for n in range(width)]
        self.names = [name or str(n) for n, name in enumerate(self.names, 1)]
        self.names += [str(n + 1) for n in range(len(self.names), self._width)]

    @property
    def what(self) -> str:
        """In words: the separator and the encoding."""
        name = SEPARATORS.get(self._delimiter or "", repr(self._delimiter))
        is_list = self._delimiter in (None, ONE_COLUMN)
        separator = "one a line" if is_list else f"separated by {name}"
        return f"{separator}, {self._encoding}"

    def rows(self) -> Iterator[Row]:
        """Yield the records after the header, short ones filled with blank cells."""
        with open_text(self.path, self._encoding) as file:
            numbered = ((n, line) for n, line in enumerate(file.lines, 1) if n > self._skip)
            found = records(numbered, self._delimiter, self._width)
            if self.has_header:
                found = self._after_header(found)
            for number, cells in found:
                yield number, cells if isinstance(cells, str) else self._fitted(cells)

    def _after_header(self, found: Iterator[Row]) -> Iterator[Row]:
        """Leave out the header, and yield what stands before it."""
        for number, cells in found:
            if [cell.strip() for cell in cells][: len(self._first)] == self._first:
                break
            yield number, cells
        yield from found

    def _fitted(self, cells: list[str]) -> list[str] | str:
        """Return as many cells as there are columns, or why that cannot be."""
        width = self._width
        start = "#" if len(cells) < width else "# "
        if len(cells) != width and cells[0].startswith(start):
            return COMMENT
        if any(map(str.strip, cells[width:])):
            return "more cells than the others"
        return cells[:width] + [""] * (width - len(cells))


def _layout(lines: list[tuple[int, str]], delimiter: str | None, name: str) -> _Layout:
    """Return how the lines are cut."""

    def cut(by: str | None) -> _Layout:
        found = (cells for _, cells in records(lines, by, None) if isinstance(cells, list))
        sample = list(islice(found, SAMPLE))
        width = _Layout(by, [cells for cells in sample if not cells[0].startswith("#")]).width
        return _Layout(by, [s for s in sample if len(s) == width or not s[0].startswith("#")])

    if delimiter:
        return cut(delimiter)
    first_choice = "\t" if name.lower().endswith((".tsv", ".tab", ".txt")) else ","
    layouts = [cut(one) for one in SEPARATORS]
    fit = {one.fitness(is_first_choice=one.delimiter == first_choice): one for one in layouts}
    best = max(fit)
    is_text = not re.search(r"\.(csv|tsv|tab)\b", name.lower())
    if best[0] < 1 or (is_text and best[0] < 2 and fit[best].delimiter != "\t"):
        return cut(None if is_text else ONE_COLUMN)
    return fit[best]


def records(
    lines: Iterable[tuple[int, str]], delimiter: str | None, width: int | None
) -> Iterator[Row]:
    """Yield each record with the number of its first line; blank lines are left out.

    Args:
        lines: Numbered lines with their ends.
        delimiter: None takes each line as one cell.
        width: How many cells a record has; None if that is not known yet.
    """
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL))
    source = _PushBack(lines)
    for number, line in source:
        text = line.rstrip("\r\n")
        if not text or text.isspace():
            continue
        plain = text.split(delimiter) if delimiter else [text]
        cells = _quoted([line], delimiter) if '"' in text else plain
        if cells is None and delimiter:
            cells = _joined(line, source, delimiter, width)
        if isinstance(cells, list):
            yield number, cells
        elif delimiter is None or width in (None, len(plain)):
            yield number, plain
        else:
            yield number, "quotes that are not closed"


class _PushBack:
    """An iterator of lines that takes back what was not used."""

    def __init__(self, lines: Iterable[tuple[int, str]]) -> None:
        self._lines = iter(lines)
        self._back: list[tuple[int, str]] = []

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return self

    def __next__(self) -> tuple[int, str]:
        return self._back.pop() if self._back else next(self._lines)

    def give_back(self, lines: list[tuple[int, str]]) -> None:
        """Let these be the next lines."""
        self._back += reversed(lines)


def _joined(line: str, source: _PushBack, delimiter: str, width: int | None) -> list[str] | None:
    """Return the cells of a record that goes on in the next lines, where they close its quotes.

    None if that would swallow lines that are records: a tweet may begin with a quote, and a later
    one end with one.
    """
    taken: list[tuple[int, str]] = []
    for numbered in islice(source, MAX_LINES):
        taken.append(numbered)
        if '"' not in numbered[1]:
            continue
        more = [one for _, one in taken]
        cells = _quoted([line, *more], delimiter)
        if isinstance(cells, list) and not _swallows(line, more, delimiter, width):
            return cells
        if cells is not None:
            break
    source.give_back(taken)
    return None


def _swallows(line: str, more: list[str], delimiter: str, width: int | None) -> bool:
    """Return whether lines that a quote joins are records: all of them, or one without a quote."""
    whole = [one for one in more if _is_whole(one, delimiter, width)]
    if any(one.count('"') % 2 == 0 for one in whole):
        return True
    return len(whole) == len(more) and _is_whole(line, delimiter, width)


def _quoted(lines: list[str], delimiter: str | None) -> list[str] | bool | None:
    """Return the cells of a record in quotes, None if it goes on, False if the quotes are wrong."""
    if delimiter and len(delimiter) > 1:
        return False  # no rules for these
    try:
        spaced, by = ', "' in lines[0], delimiter or ONE_COLUMN
        return next(csv.reader(lines, delimiter=by, skipinitialspace=spaced, strict=True), [])
    except csv.Error as error:
        return None if "end of data" in str(error) else False


def _is_whole(line: str, delimiter: str, width: int | None) -> bool:
    """Return whether a line is a record if quotes are text: as many cells, one with emoji."""
    cells = line.rstrip("\r\n").split(delimiter)
    closed = [cell for cell in cells if not cell.startswith('"')]
    has_emoji = any(EmojiTable.builtin().split(cell) for cell in closed)
    return has_emoji and (len(cells) == width if width else len(cells) > 1)
