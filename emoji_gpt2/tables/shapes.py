"""The shapes in which people keep texts and emoji as JSON, as records: names and values.

{"text": "pizza", "emoji": "🍕"}                        a list of these
{"🍕": ["pizza", "food"]}   {"pizza": "🍕"}             by emoji, or by word
{"🍕": {"name": "pizza"}}   {"pizza": {"char": "🍕"}}   objects by key
{"Food": [{"emoji": …}]}    [{"name": "Food", "emojis": [{…}]}]   in groups
{"data": […]}   {"columns": […], "data": [[…]]}   {"text": {"0": …}, "emoji": {"0": …}}
{"messages": [{"role": "user", "content": …}, {"role": "assistant", "content": …}]}
"""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.tables.cells import emoji_cell
from emoji_gpt2.tables.columns import has_words, is_known

Record = dict[str, Any]
KEY, VALUE = "key", "value"
_CHATS = ("messages", "conversations", "contents")
_TURNS = {"user": "text", "human": "text", "assistant": "emoji", "gpt": "emoji", "model": "emoji"}
_NO_TEXT = ("role", "from", "type")  # keys of objects within a cell


def records_of(content: Any) -> Iterator[Record]:
    """Yield the records of a value, whatever its shape."""
    if isinstance(content, list):
        for item in content:
            yield from _of_item(item)
    elif isinstance(content, dict):
        yield from _of_object(content)


def as_text(value: Any) -> str:
    """Return a value as the text of a cell: lists and objects by what stands in them."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return " ".join(filter(None, map(as_text, value)))
    if isinstance(value, dict):
        return as_text([part for name, part in value.items() if name not in _NO_TEXT])
    return str(value).lower() if isinstance(value, bool) else str(value)


def described(content: Any) -> str:
    """Return what a value is, for an error."""
    if isinstance(content, dict):
        keys = ", ".join(repr(key) for key in islice(content, 3))
        return f"one object of {len(content):,} entries ({keys}, …)"
    return f"a list of {len(content):,}" if isinstance(content, list) else f"{content!r:.40}"


def _of_item(item: Any) -> Iterator[Record]:
    if isinstance(item, list):  # such as a pair
        yield {str(number): value for number, value in enumerate(item, 1)}
    elif not isinstance(item, dict):
        yield {"1": item}
    elif chats := [item[name] for name in _CHATS if isinstance(item.get(name), list)]:
        yield from _of_chat(chats[0])
    elif groups := [value for value in item.values() if _is_group(value)]:
        emoji = any(_is_emoji(value) for value in item.values())
        yield from [item] if emoji else (one for group in groups for one in records_of(group))
    else:
        yield item


def _of_chat(turns: list[Any]) -> Iterator[Record]:
    """Yield each text with the answer to it."""
    record: Record = {}
    for turn in (turn for turn in turns if isinstance(turn, dict)):
        said = turn.get("content", turn.get("value", turn.get("parts")))
        name = _TURNS.get(str(turn.get("role") or turn.get("from")))
        if name:
            record[name] = as_text(said)
        if name == "emoji" and "text" in record:
            yield record
            record = {}


def _of_object(content: Record) -> Iterator[Record]:
    values = list(content.values())
    keys_are_emoji = any(map(_is_emoji, content))
    if isinstance(content.get("columns"), list) and isinstance(content.get("data"), list):
        names = list(map(str, content["columns"]))  # pandas' orient="split"
        yield from (dict(zip(names, row, strict=False)) for row in content["data"])
    elif _are_columns(values):
        for key in values[0]:
            yield {name: value[key] for name, value in content.items()}
    elif (inner := [v for v in values if _is_container(v)]) and not keys_are_emoji:
        for value in [one for one in inner if _has_emoji(one)] or inner:
            yield from records_of(value)
    elif values and all(isinstance(value, dict) for value in values):
        yield from _of_objects(content, keys_are_emoji=keys_are_emoji)
    elif any(is_known(k) == "text" and not _is_emoji(v) for k, v in content.items()):
        yield content
    else:
        yield from _pairs(content)


def _of_objects(content: dict[str, Record], *, keys_are_emoji: bool) -> Iterator[Record]:
    names = [set(value) for value in content.values()]
    if set.intersection(*names) or keys_are_emoji:
        yield from ({KEY: key, **value} for key, value in content.items())
    elif all(map(_is_emoji, set.union(*names))):  # how well each emoji fits a word
        for key, value in content.items():
            yield from ({KEY: key, VALUE: emoji} for emoji in value)
    else:  # words by group
        for value in content.values():
            yield from _pairs(value)


def _pairs(content: Record) -> Iterator[Record]:
    """Yield key and value; each of a list of words is a record, a list of emoji is one."""
    for key, value in content.items():
        if isinstance(value, list) and not any(map(_is_emoji, value)):
            yield from ({KEY: key, VALUE: one} for one in value)
        else:
            yield {KEY: key, VALUE: value}


def _is_container(value: Any) -> bool:
    """Return whether these are records: a list of objects or of lists of text, objects by key."""
    if isinstance(value, dict):
        return bool(value) and all(isinstance(one, dict) for one in value.values())
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, dict | list) for one in value)
        and any(isinstance(one, dict) or any(isinstance(x, str) for x in one) for one in value)
    )


def _is_group(value: Any) -> bool:
    """Return whether a value within a record is itself records of words and emoji."""
    if not isinstance(value, list) or not _is_container(value) or not isinstance(value[0], dict):
        return False
    cells = list(map(as_text, value[0].values()))
    return any(map(_is_emoji, cells)) and any(has_words(cell) for cell in cells)


def _are_columns(values: list[Any]) -> bool:
    """Return whether these are pandas' columns: objects by row number."""
    if len(values) < 2 or not all(isinstance(value, dict) and value for value in values):
        return False
    keys = values[0].keys()
    return all(value.keys() == keys for value in values) and all(
        re.fullmatch(r"\d+", str(key)) for key in keys
    )


def _has_emoji(container: Any) -> bool:
    parts: Iterable[Any] = container.items() if isinstance(container, dict) else container
    words = (word for part in islice(parts, 50) for word in as_text(part).split())
    return any(map(_is_emoji, words))


def _is_emoji(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    table, cell = EmojiTable.builtin(), emoji_cell(value)
    return bool(table.split(cell)) and not table.residue(cell)
