"""JSON and JSON lines as rows of cells.

The standard library reads JSON: pandas drops half a surrogate pair silently, and rounds numbers.
"""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from emoji_gpt2.errors import UserError, one_line
from emoji_gpt2.files import PATH
from emoji_gpt2.tables.decode import TextFile, open_text
from emoji_gpt2.tables.delimited import Row
from emoji_gpt2.tables.shapes import Record, as_text, described, records_of

_NAMED_BY = 1_000  # records whose keys are the names of the columns
# Numbers stay as written; NaN and Infinity, which Python writes for missing values, are missing.
_decoder = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=lambda _: None)
_decode = _decoder.decode


class JsonTable:
    """A JSON file; a key that a record lacks, and ``null``, are "".

    One object a line is read line by line, all else whole.
    """

    has_header = True

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        self.path = path
        with open_text(path, encoding) as file:
            self._encoding = file.encoding
            self._is_lines = _is_lines(file)
            self._content: Any = None if self._is_lines else self._whole(file)
        self.unit = "line" if self._is_lines else "record"
        head = islice((record for _, record in self._records()), _NAMED_BY)
        keys = (key for record in head if isinstance(record, dict) for key in record)
        self.names = list(dict.fromkeys(keys))
        if not self.names:
            wanted = "objects such as {'text': 'pizza', 'emoji': '🍕'}"
            raise UserError(PATH, f"{str(path)!r}, which is {described(self._content)}", wanted)

    @property
    def what(self) -> str:
        """In words: the format and the encoding."""
        return f"JSON{' lines' * self._is_lines}, {self._encoding}"

    def rows(self) -> Iterator[Row]:
        """Yield the values of each record as text; a list of texts is joined."""
        for number, record in self._records():
            if isinstance(record, dict):
                values = map(record.get, self.names)
                yield number, [v if isinstance(v, str) else as_text(v) for v in values]
            else:
                yield number, str(record)

    def _whole(self, file: TextFile) -> Any:
        try:
            return _decode("".join(file.lines))
        except (ValueError, RecursionError) as error:
            got = f"{str(self.path)!r}, which is not JSON ({one_line(error)})"
            wanted = "one JSON value, or a JSON object a line"
            raise UserError(PATH, got, wanted, "mend it") from None

    def _records(self) -> Iterator[tuple[int, Record | str]]:
        if not self._is_lines:
            yield from enumerate(records_of(self._content), 1)
            return
        with open_text(self.path, self._encoding) as file:
            for number, line in enumerate(file.lines, 1):
                if line.strip():
                    records: list[Any] = _decoded_line(line) or ["no JSON object"]
                    yield from ((number, one) for one in records)


def _is_lines(file: TextFile) -> bool:
    """Return whether there is one value a line, and more than one of them."""
    lines = [line for line in file.head.splitlines() if line.strip()][:20]
    whole = [line for line in lines if _decoded_line(line) is not None]
    return len(lines) > 1 and 2 * len(whole) >= len(lines)


def _decoded_line(line: str) -> list[Record] | None:
    try:
        value = _decode(line)
    except (ValueError, RecursionError):
        return None
    return list(records_of([value])) if isinstance(value, dict | list) else None


def is_json(head: str, *, is_whole: bool) -> bool:
    """Return whether a text that begins with a bracket is JSON, and not a list of such texts."""
    try:
        _decoder.raw_decode(head.lstrip("\ufeff \t\r\n"))
    except ValueError as error:
        return not is_whole and getattr(error, "pos", 0) > 0.9 * len(head)
    except RecursionError:
        return False
    return True
