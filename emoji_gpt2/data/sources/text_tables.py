r"""CSV, TSV and JSON lines as blocks of columns of str, in constant memory.

Use::

    table = CsvTable(TextFile(Path("emoji_df.csv"), "utf-8"), ",")
    table.names()                                       # ["emoji", "name", …]
    for lines, (names, emoji) in table.blocks(["name", "emoji"], rows=65_536):
        ...

Every value stays what the file says: ``26E9``, ``NA``, ``null`` and ``#`` are text. That, exact
line numbers and rows of the wrong width are why CSV is read by the standard library's ``csv`` and
not by pandas, which guesses types, and fills or shifts such rows without a word.

Formats: CSV as RFC 4180 (https://www.rfc-editor.org/rfc/rfc4180), TSV the same with tabs;
JSON lines (https://jsonlines.org), or a .json file that holds one list of objects.
"""

import csv
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from emoji_gpt2.data.sources.textfile import TextFile
from emoji_gpt2.errors import UserError, one_line, refused

Block = tuple[list[int], list[list[str]]]  # the line of each record; its values column by column

_CELL_LIMIT = 1 << 24  # characters; a quote left open would otherwise swallow the file
_NAMED_BY = 1_000  # records of a JSON file whose keys are its column names


# --- CSV and TSV ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class CsvTable:
    """Rows of cells under a header. Every row must be as wide as the header."""

    file: TextFile
    delimiter: str

    def names(self) -> list[str]:
        """The cells of the first line that is not blank, without white space around them."""
        return next((row for _, row in self._rows()), [])

    def blocks(self, columns: list[str], rows: int) -> Iterator[Block]:
        """Refuses a row that is too wide or too narrow; blank lines are passed over."""
        records = self._rows()
        names = next(records)[1]
        picks = [names.index(column) for column in columns]
        while block := list(itertools.islice(records, rows)):
            yield [line for line, _ in block], [[row[i] for _, row in block] for i in picks]

    def n_lines(self) -> int | None:
        """Lines of the file, the header counted."""
        return self.file.n_lines()

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """The header and each record, with the line that it begins in."""
        csv.field_size_limit(max(csv.field_size_limit(), _CELL_LIMIT))
        with self.file.open() as text:
            reader = csv.reader(text, delimiter=self.delimiter, strict=True)
            width, line = 0, 1
            try:
                for row in reader:
                    if len(row) != width or not width:
                        if _blank(row):
                            line = reader.line_num + 1
                            continue
                        if width:
                            raise self._misfit(len(row), width, line)
                        row = [name.strip() for name in row]  # noqa: PLW2901
                        width = len(row)
                    yield line, row
                    line = reader.line_num + 1
            except csv.Error as error:
                raise self._malformed(error, line, reader.line_num) from None

    def _misfit(self, cells: int, width: int, line: int) -> UserError:
        got = f"{cells} cell{'s' * (cells > 1)} in line {line} of {str(self.file.path)!r}"
        remedy = "put double quotes around a cell that holds a comma, tab or line break"
        return refused(got, f"{width} as in its header", remedy)

    def _malformed(self, error: csv.Error, first: int, last: int) -> UserError:
        where = f"line {first}" if first == last else f"lines {first} to {last}"
        got = f"a record in {where} of {str(self.file.path)!r} that is not CSV ({one_line(error)})"
        wanted = f'each opening double quote closed (see line {first}) and a quote in a cell as ""'
        return refused(got, wanted, "mend that record")


def _blank(row: list[str]) -> bool:
    return not row or (len(row) == 1 and not row[0].strip())


# --- JSON lines -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class JsonTable:
    """One JSON object a line. A key that a record lacks, and ``null``, are ""."""

    unit: ClassVar[str] = "line"

    file: TextFile

    def names(self) -> list[str]:
        """The keys of the first thousand records, in the order in which they appear."""
        head = itertools.islice(self._records(), _NAMED_BY)
        return list(dict.fromkeys(key for _, record in head for key in record))

    def blocks(self, columns: list[str], rows: int) -> Iterator[Block]:
        """Numbers come out as they are written; lists and objects are refused."""
        records = self._records()
        while block := list(itertools.islice(records, rows)):
            yield [line for line, _ in block], [self._column(block, name) for name in columns]

    def n_lines(self) -> int | None:
        """Lines of the file."""
        return self.file.n_lines()

    def _records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        with self.file.open() as text:
            for number, line in enumerate(text, 1):
                if line.strip():
                    yield number, self._object(line, number)

    def _object(self, line: str, number: int) -> dict[str, Any]:
        try:
            record = _decode(line)
        except (ValueError, RecursionError) as error:
            got = f"line {number} of {str(self.file.path)!r}, which is not JSON ({_why(error)})"
            raise refused(got, "one JSON object a line", "mend that line") from None
        return self._checked(record, f"line {number}")

    def _checked(self, record: object, where: str) -> dict[str, Any]:
        if isinstance(record, dict):
            return record
        got = f"a {type(record).__name__} in {where} of {str(self.file.path)!r}"
        raise refused(got, 'a JSON object such as {"text": "pizza", "emoji": "🍕"}', "mend it")

    def _column(self, block: list[tuple[int, dict[str, Any]]], name: str) -> list[str]:
        values = [self._text(record.get(name), name, line) for line, record in block]
        try:
            "".join(values).encode()
        except UnicodeEncodeError:
            line = next(n for (n, _), v in zip(block, values, strict=True) if _HALF.search(v))
            got = rf"half a character (\ud800 to \udfff) {self._place(name, line)}"
            raise refused(got, "whole characters", "mend the text, it was cut in two") from None
        return values

    def _text(self, value: object, name: str, line: int) -> str:
        if isinstance(value, str):
            return value
        if value is None:
            return ""
        if isinstance(value, bool):
            return json.dumps(value)
        got = f"a {type(value).__name__} {self._place(name, line)}"
        raise refused(got, "a string", "write its value as one string")

    def _place(self, name: str, line: int) -> str:
        return f"as {name!r} in {self.unit} {line} of {str(self.file.path)!r}"


class JsonListTable(JsonTable):
    """A .json file that is one list of objects, read whole."""

    unit: ClassVar[str] = "record"

    def n_lines(self) -> int | None:
        """Unknown: it counts records, and is read whole anyway."""
        return None

    def _records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        with self.file.open() as text:
            whole = text.read()
        try:
            records = _decode(whole)
        except (ValueError, RecursionError) as error:
            got = f"{str(self.file.path)!r}, which is not JSON ({one_line(error)})"
            raise refused(got, "a JSON list or JSON lines", "write it again") from None
        for number, record in enumerate(records, 1):
            yield number, self._checked(record, f"record {number}")


def json_table(file: TextFile) -> JsonTable:
    """What a .json file holds: one list if it begins with a bracket, else JSON lines."""
    with file.open() as text:
        start = next((line.lstrip()[:1] for line in text if line.strip()), "")
    return JsonListTable(file) if start == "[" else JsonTable(file)


def _why(error: Exception) -> str:
    """What is wrong with one line of JSON; json itself would call it line 1."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, column {error.colno}"
    return one_line(error)


# Numbers stay as written; NaN and Infinity, which Python writes for missing values, are missing.
_decode: Callable[[str], Any] = json.JSONDecoder(
    parse_float=str, parse_int=str, parse_constant=lambda _: None
).decode
_HALF = re.compile("[\ud800-\udfff]")
