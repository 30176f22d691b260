"""JSON in the shapes that people keep emoji in, as rows of cells.

    {"text": "pizza", "emoji": "🍕"}                        one object a line, or a list of them
    {"🍕": ["pizza", "food"]}   {"pizza": "🍕"}             by emoji, or by word
    {"🍕": {"name": "pizza"}}   {"Food": [{"emoji": …}]}    objects by key; lists by key
    {"data": […]}   {"columns": […], "data": [[…]]}   {"text": {"0": …}, "emoji": {"0": …}}
    {"messages": [{"role": "user", "content": …}, {"role": "assistant", "content": …}]}

The standard library reads it: pandas drops half a surrogate pair silently, and rounds numbers.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import UserError, one_line
from emoji_gpt2.files import PATH
from emoji_gpt2.tables.columns import is_known
from emoji_gpt2.tables.decode import TextFile, open_text
from emoji_gpt2.tables.delimited import Row

_NAMED_BY = 1_000  # records whose keys are the names of the columns
_TURNS = {"user": "text", "human": "text", "assistant": "emoji", "gpt": "emoji", "model": "emoji"}
# Numbers stay as written; NaN and Infinity, which Python writes for missing values, are missing.
_decode = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=lambda _: None).decode
KEY, VALUE = "key", "value"


class JsonTable:
    """A JSON file; a key that a record lacks, and ``null``, are "".

    Args:
        path: The file, which may be compressed. One object a line is read line by line, all else
            whole.
        encoding: None finds it.
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
            raise UserError(PATH, f"{str(path)!r}, which is {_described(self._content)}", wanted)

    @property
    def what(self) -> str:
        """In words: the format and the encoding."""
        return f"JSON{' lines' * self._is_lines}, {self._encoding}"

    def rows(self) -> Iterator[Row]:
        """Yield the values of each record as text; a list of texts is joined."""
        for number, record in self._records():
            if isinstance(record, dict):
                values = map(record.get, self.names)
                yield number, [v if isinstance(v, str) else _text(v) for v in values]
            else:
                yield number, str(record)

    def _whole(self, file: TextFile) -> Any:
        try:
            return _decode("".join(file.lines))
        except (ValueError, RecursionError) as error:
            got = f"{str(self.path)!r}, which is not JSON ({one_line(error)})"
            raise UserError(PATH, got, "one JSON value, or an object a line", "mend it") from None

    def _records(self) -> Iterator[tuple[int, dict[str, Any] | str]]:
        if not self._is_lines:
            yield from enumerate(records_of(self._content), 1)
            return
        with open_text(self.path, self._encoding) as file:
            for number, line in enumerate(file.lines, 1):
                if line.strip():
                    record = _decoded_line(line)
                    yield number, "no JSON object" if record is None else record


def _is_lines(file: TextFile) -> bool:
    """Return whether there is one value a line, and more than one of them."""
    lines = [line for line in file.head.splitlines() if line.strip()][:20]
    return len(lines) > 1 and sum(_decoded_line(line) is not None for line in lines) * 2 >= len(
        lines
    )


def _decoded_line(line: str) -> dict[str, Any] | None:
    try:
        value = _decode(line)
    except (ValueError, RecursionError):
        return None
    return _as_record(value) if isinstance(value, dict | list) else None


def records_of(content: Any) -> Iterator[dict[str, Any]]:
    """Yield the records of a JSON value, whatever its shape."""
    if isinstance(content, list):
        for item in content:
            yield _as_record(item)
    elif isinstance(content, dict):
        yield from _of_object(content)


def _as_record(item: Any) -> dict[str, Any]:
    if isinstance(item, list):  # such as a pair
        return {str(number): value for number, value in enumerate(item, 1)}
    if not isinstance(item, dict):
        return {"1": item}
    for turns in (item.get("messages"), item.get("conversations")):
        if isinstance(turns, list) and all(isinstance(turn, dict) for turn in turns):
            roles = ((turn.get("role") or turn.get("from"), turn) for turn in turns)
            return {
                _TURNS[role]: turn.get("content", turn.get("value"))
                for role, turn in roles
                if role in _TURNS
            }
    return item


def _of_object(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    values = list(content.values())
    if isinstance(content.get("columns"), list) and isinstance(content.get("data"), list):
        names = list(map(str, content["columns"]))  # pandas' orient="split"
        yield from (dict(zip(names, row, strict=False)) for row in content["data"])
    elif any(map(_is_record_list, values)) and not any(map(_is_emoji, content)):
        for value in filter(_is_record_list, values):
            yield from records_of(value)
    elif _are_columns(values):
        for key in values[0]:
            yield {name: value[key] for name, value in content.items()}
    elif values and all(isinstance(value, dict) for value in values):
        yield from _of_objects(content)
    elif _is_record(content):
        yield content
    else:
        yield from _pairs(content)


def _is_record(content: dict[str, Any]) -> bool:
    """Return whether an object is one record, rather than a mapping of words and emoji."""
    return any(map(is_known, content)) and not any(map(_is_emoji, content))


def _of_objects(content: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    keys = [set(value) for value in content.values()]
    if set.intersection(*keys) or any(map(_is_emoji, content)):
        for key, value in content.items():
            yield {KEY: key, **value}
    else:  # words by group
        for value in content.values():
            yield from _pairs(value)


def _pairs(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield key and value; each of a list of words is a record, a list of emoji is one."""
    for key, value in content.items():
        if isinstance(value, list) and not any(map(_is_emoji, value)):
            yield from ({KEY: key, VALUE: one} for one in value)
        else:
            yield {KEY: key, VALUE: value}


def _is_record_list(value: Any) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(isinstance(v, dict | list) for v in value)
    )


def _are_columns(values: list[Any]) -> bool:
    """Return whether these are pandas' columns: objects by row number."""
    if len(values) < 2 or not all(isinstance(value, dict) and value for value in values):
        return False
    keys = values[0].keys()
    return all(value.keys() == keys for value in values) and all(key.isdigit() for key in keys)


def _is_emoji(value: Any) -> bool:
    table = EmojiTable.builtin()
    return isinstance(value, str) and bool(table.split(value)) and not table.residue(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return " ".join(value)
    return json.dumps(value, ensure_ascii=False)


def _described(content: Any) -> str:
    """Return what a JSON value is, for an error."""
    if isinstance(content, dict):
        keys = ", ".join(repr(key) for key in islice(content, 3))
        return f"one object of {len(content):,} entries ({keys}, …)"
    return f"a list of {len(content):,}" if isinstance(content, list) else f"{content!r:.40}"


def texts_of(values: Iterable[Any]) -> list[str]:
    """Return values as texts; lists of texts are joined, missing values are ""."""
    return [_text(value) for value in values]
