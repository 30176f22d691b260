"""What a cell of a table means: emoji written as codes, texts decoded twice, HTML entities.

Mojibake is UTF-8 that was once read as Windows-1252 or Latin-1: ``ðŸ˜©`` is 😩. It is mended where
the bytes are whole; ``is_broken`` finds what is left.
"""

import codecs
import html
import re
from collections.abc import Mapping

from emoji_gpt2.emoji.shortcodes import replace_shortcodes
from emoji_gpt2.emoji.table import EmojiTable

_HIGH = "\x80-\xff€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"  # what bytes above 127 are in Windows-1252
_RUN = re.compile(f"[{_HIGH}]{{2,}}")
_LIKELY = re.compile("[\n -\u024f\u200d\u2000-\u2bff\ufe0f\U0001f000-\U000e01ff]+")
_NAME = re.compile(r"[:_]*([a-z0-9]+(?:_[a-z0-9]+)+)[:_]*|[:_]([a-z][\w-]*?)[:_]", re.IGNORECASE)
_BYTES = re.compile(r"(?:\\x[0-9a-f]{2})+", re.IGNORECASE)
_IN_WORD = re.compile("(?<=\\w)[©®™](?!\ufe0f)")  # text, as in Levi's®
_BROKEN = re.compile("ð[Ÿ\x9f]|â[€\x80]|ï¸|[\ud800-\udfff\ufffd]")
_CODE = re.compile(r"(?:U\+|0x|\\U|\\u\{?|&#x)?([0-9a-f]{4,8})[;}]?", re.IGNORECASE)
_BETWEEN_CODES = re.compile(r"[\s,<>_-]+|(?=U\+|0x|\\u|&#x)", re.IGNORECASE)


def _latin_1(error: UnicodeError) -> tuple[bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    return error.object[error.start : error.end].encode("latin-1"), error.end


codecs.register_error("emoji_gpt2.latin_1", _latin_1)


def mended(text: str) -> str:
    """Return the text with mojibake decoded, wherever its bytes are whole."""
    return text if text.isascii() else _RUN.sub(_decoded, text)


def _decoded(run: re.Match[str]) -> str:
    try:
        text = run[0].encode("cp1252", "emoji_gpt2.latin_1").decode()
    except UnicodeError:
        return run[0]
    return text if _LIKELY.fullmatch(text) else run[0]


def is_broken(text: str) -> bool:
    """Return whether a text holds mojibake that cannot be mended, or bytes of no character."""
    return not text.isascii() and _BROKEN.search(text) is not None


def text_cell(cell: str) -> str:
    """Return a cell of texts: mojibake mended, entities such as ``&amp;`` replaced.

    A name such as ``white_check_mark`` or ``:art:`` becomes words.
    """
    cell = mended(cell)
    cell = html.unescape(cell) if "&" in cell else cell
    name = _NAME.fullmatch(cell) if "_" in cell or ":" in cell else None
    return re.sub("[_-]", " ", name[1] or name[2]) if name else cell


def emoji_cell(cell: str, labels: Mapping[str, str] | None = None) -> str:
    """Return emoji, shortcodes, code points or one of the labels as the emoji themselves."""
    if labels and cell.strip() in labels:
        cell = labels[cell.strip()]
    cell = html.unescape(mended(cell))
    if not cell.isascii():
        return _IN_WORD.sub("", cell)
    if not cell or cell.isspace():
        return cell
    return decoded_codes(cell) or replace_shortcodes(cell)


def decoded_codes(cell: str) -> str:
    """Return the emoji that a cell gives by code points alone, such as ``1F468-200D-1F33E``."""
    table = EmojiTable.builtin()
    if _BYTES.fullmatch(cell):
        text = bytes.fromhex(cell.replace("\\x", "")).decode(errors="replace")
        return text if table.split(text) else ""
    codes = [part for part in _BETWEEN_CODES.split(cell.strip(" []<>'\"")) if part]
    found = [_CODE.fullmatch(code) for code in codes]
    numbers = [int(one[1], 16) for one in found if one]
    if not numbers or len(numbers) < len(codes) or max(numbers) > 0x10FFFF:
        return ""
    text = "".join(map(chr, numbers)).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text if table.split(text) and not table.residue(text) else ""
