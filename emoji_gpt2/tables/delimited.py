"""Delimited text, with or without a header: CSV, TSV and what people call so; plain lines too.

The separator is the one that cuts the lines into the same number of cells, best with a column of
emoji or with known names. A line that is whole without regard to quotes is never joined with those
after it: texts that begin with a quote are common in tables of tweets.
"""

import csv
import io
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import UserError
from emoji_gpt2.files import PATH
from emoji_gpt2.tables.columns import is_known, looks_like_header, profile
from emoji_gpt2.tables.decode import open_text

Row = tuple[int, list[str] | str]
"""A number, and the cells of a record, or in words why they cannot be had."""
Line = tuple[int, str]
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


class DelimitedTable:
    """A file of lines, which may be compressed; encoding and delimiter None are found."""

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
        self._delimiter, sample = _layout(body, delimiter, path.name)
        self._width = _width(sample)
        self._first = [name.strip() for name in sample[0]] if sample else []
        others = [cells for cells in sample[1:] if len(cells) == self._width]
        self.has_header = looks_like_header(self._first, others)
        names = self._first if self.has_header else []
        self._width = max(self._width, len(names))
        names = names + [""] * (self._width - len(names))
        self.names = [name or str(n) for n, name in enumerate(names, 1)]

    @property
    def what(self) -> str:
        """In words: the separator and the encoding."""
        name = SEPARATORS.get(self._delimiter or "", repr(self._delimiter))
        is_list = self._delimiter in (None, ONE_COLUMN)
        separator = "one a line" if is_list else f"separated by {name}"
        return f"{separator}, {self._encoding}"

    def rows(self) -> Iterator[Row]:
        """Yield the records but the header, short ones filled with blank cells."""
        awaits_header = self.has_header
        with open_text(self.path, self._encoding) as file:
            numbered = ((n, line) for n, line in enumerate(file.lines, 1) if n > self._skip)
            for number, cells in records(numbered, self._delimiter, self._width):
                if isinstance(cells, str):
                    yield number, cells
                elif (
                    awaits_header and [c.strip() for c in cells[: len(self._first)]] == self._first
                ):
                    awaits_header = False
                else:
                    yield number, self._fitted(cells)

    def _fitted(self, cells: list[str]) -> list[str] | str:
        """Return as many cells as there are columns, or why that cannot be."""
        width = self._width
        if len(cells) == width:
            return cells
        if cells[0].startswith("#" if len(cells) < width else "# "):
            return COMMENT
        if any(map(str.strip, cells[width:])):
            return "more cells than the others"
        return cells[:width] + [""] * (width - len(cells))


def _layout(
    lines: list[Line], delimiter: str | None, name: str
) -> tuple[str | None, list[list[str]]]:
    """Return what separates the cells of lines, and the first records."""
    if delimiter:
        return delimiter, _cut(lines, delimiter)
    first_choice = "\t" if name.lower().endswith((".tsv", ".tab", ".txt")) else ","
    samples = {one: _cut(lines, one) for one in SEPARATORS}
    fits = {one: (*_fitness(cut), one == first_choice) for one, cut in samples.items()}
    best = max(fits, key=lambda one: fits[one])
    is_text = not re.search(r"\.(csv|tsv|tab)\b", name.lower())
    if fits[best][0] < 1 or (is_text and fits[best][0] < 2 and best != "\t"):
        by = None if is_text else ONE_COLUMN
        return by, _cut(lines, by)
    return best, samples[best]


def _cut(lines: list[Line], delimiter: str | None) -> list[list[str]]:
    """Return the first records but comments, which begin with # and have other numbers of cells."""
    found = (cells for _, cells in records(lines, delimiter, None) if isinstance(cells, list))
    sample = list(islice(found, SAMPLE))
    width = _width([cells for cells in sample if not cells[0].startswith("#")])
    return [cells for cells in sample if len(cells) == width or not cells[0].startswith("#")]


def _width(sample: list[list[str]]) -> int:
    """Return how many cells most records have."""
    return Counter(map(len, sample)).most_common(1)[0][0] if sample else 0


def _fitness(sample: list[list[str]]) -> tuple[float, ...]:
    """Return how well records fit, the most important first; below 1: not at all."""
    width = _width(sample)
    whole = [cells for cells in sample if len(cells) == width]
    if width < 2 or len(whole) < 0.6 * len(sample):
        return (0.0,)
    known = len({is_known(name) for name in sample[0]} - {None})
    body = [cells for cells in sample[1:] if len(cells) == width] or whole
    emoji = max(profile([cells[i] for cells in body[:200]]).emoji for i in range(width))
    return (1.0 + (known == 2) + (emoji > 0.5), known, round(len(whole) / len(sample), 1))


def records(lines: Iterable[Line], delimiter: str | None, width: int | None) -> Iterator[Row]:
    """Yield each record with the number of its first line; blank lines are left out.

    Args:
        lines: Numbered lines with their ends.
        delimiter: None takes each line as one cell.
        width: How many cells a record has; None if that is not known yet.
    """
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL))
    source, ahead = iter(lines), deque[Line]()
    while numbered := ahead.popleft() if ahead else next(source, None):
        number, line = numbered
        text = line.rstrip("\r\n")
        if not text or text.isspace():
            continue
        plain = text.split(delimiter) if delimiter else [text]
        cells = _quoted([line], delimiter) if '"' in text else plain
        if cells is None and delimiter:
            ahead.extend(islice(source, MAX_LINES - len(ahead)))
            more = [one for _, one in ahead]
            cells, joined = _joined(line, more, delimiter, width)
            for _ in range(joined):
                ahead.popleft()
        if isinstance(cells, list):
            yield number, cells
        elif delimiter is None or width in (None, len(plain)):
            yield number, plain
        else:
            yield number, "quotes that are not closed"


def _joined(
    line: str, more: list[str], delimiter: str, width: int | None
) -> tuple[list[str] | None, int]:
    """Return the cells of a record that goes on in the next lines, and in how many of them.

    None if that would swallow lines that are records: a tweet may begin with a quote, and a later
    one end with one.
    """
    for count in (n for n, one in enumerate(more, 1) if '"' in one):
        cells = _quoted([line, *more[:count]], delimiter)
        if isinstance(cells, list) and not _swallows(line, more[:count], delimiter, width):
            return cells, count
        if cells is not None:
            break
    return None, 0


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
