r"""One way to write a description, the same in training and in use.

    >>> normalize_text("  “Birthday”\tCake ")
    '"birthday" cake'

Lower case, since people write capitals where the table has none. The tokenizer carries
``NORMALIZER``, so that plain Transformers reads a text as we do.
"""

import hashlib
import re
import unicodedata
from functools import cache
from itertools import pairwise

from tokenizers import Regex, normalizers

from emoji_gpt2.emoji.table import EmojiTable

_SPACES = "".join(c for c in map(chr, range(0x3001)) if c.isspace())
_CONTROLS = "".join(
    c for c in map(chr, range(0xA0)) if unicodedata.category(c) == "Cc" and not c.isspace()
)  # there are no others
_WITH_SELECTOR = "".join(
    sorted({char for one in EmojiTable.builtin() for char, n in pairwise(one) if n == "\ufe0f"})
)
_TEXT = "0123456789#*©®™‼⁉ℹⓂ🈂🈷㊗㊙"  # what is text without U+FE0F, the last ones by NFKC
_SELECTED = "".join(sorted(set(_WITH_SELECTOR) - set(_TEXT)))
_INVISIBLE = "\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff"
_FOLDED = {
    "\u2018\u2019\u201a\u201b\u2032": "'",
    "\u201c\u201d\u201e\u201f\u2033": '"',
    "\u2010\u2011\u2012\u2013\u2014\u2212": "-",
}


def _replace(characters: str, by: str) -> normalizers.Normalizer:
    return normalizers.Replace(Regex(f"[{characters}]+" if by == " " else f"[{characters}]"), by)


_SPELLING = normalizers.Sequence(
    [
        _replace(_INVISIBLE, ""),
        normalizers.Replace(Regex(f"(?<![{_WITH_SELECTOR}])\ufe0f"), ""),
        normalizers.Replace(Regex("(?<=[0-9#*])\ufe0f(?!\u20e3)"), ""),
        normalizers.Replace(Regex(f"(?<=[{_SELECTED}])(?![\ufe0f\ufe0e\u20e3🏻-🏿])"), "\ufe0f"),
        normalizers.Replace(Regex("(?<=[0-9#*])(?=\u20e3)"), "\ufe0f"),
    ]
)
"""Gives each emoji the spelling of the table: ❤ and ❤️ are one, as are 1⃣ and 1️⃣."""
_FOLDS = [_replace(characters, by) for characters, by in _FOLDED.items()]
_INNER = normalizers.Sequence(
    [
        _replace(_CONTROLS, ""),  # first: a control keeps characters from composing
        *_FOLDS,
        normalizers.NFKC(),  # https://unicode.org/reports/tr15/
        *_FOLDS,
        normalizers.Lowercase(),
        normalizers.NFKC(),  # some compose in lower case only
        normalizers.Lowercase(),
        normalizers.Replace(Regex(r"(?<=\p{L})σ(?!\p{L})"), "ς"),  # at the end of a word
        _replace(_SPACES, " "),
    ]
)
NORMALIZER = normalizers.Sequence([_SPELLING, _INNER, normalizers.Strip()])
"""What the tokenizer does to a text."""


@cache
def _emoji_that_change() -> re.Pattern[str]:
    """Return what finds the emoji of which NFKC would make letters, such as ‼️ and Ⓜ️."""
    changed = [one for one in EmojiTable.builtin() if NORMALIZER.normalize_str(one) != one]
    return re.compile(f"({'|'.join(sorted(map(re.escape, changed), key=len, reverse=True))})")


def normalize_text(text: str) -> str:
    """Return ``text`` in NFKC, quotes and dashes folded, lower case, white space collapsed.

    Control and invisible characters are removed, emoji are spelt as in the table. The result may be
    empty.
    """
    if text.isascii() and text.isprintable():  # nothing to fold or to remove
        return " ".join(text.lower().split())
    text = text.encode(errors="replace").decode()  # lone surrogates, which no tokenizer takes
    parts = _emoji_that_change().split(_SPELLING.normalize_str(text))
    parts[::2] = [_INNER.normalize_str(part) for part in parts[::2]]
    return " ".join("".join(parts).split())


def words(text: str) -> list[str]:
    """Return the words of a text, normalised: runs of a-z and 0-9, in order."""
    return re.findall(r"[a-z0-9]+", normalize_text(text))


def text_hash(text: str) -> int:
    """Return 64 bits of BLAKE2b of a normalised text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def is_valid_unicode(text: str) -> bool:
    """Tell whether ``text`` can be encoded, that is, holds no lone surrogate."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
