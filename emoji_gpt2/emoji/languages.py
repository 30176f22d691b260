"""The emoji table in other languages: CLDR's short names and keywords.

    german = table_in("de")                    # an EmojiTable
    german.name("🍕"), german.keywords("🍕")     # "Pizza", ("Essen", "Käse", …)

A file is a gzipped CSV of emoji, name and keywords; an emoji that the language has no word for has
no row. Source: https://cldr.unicode.org; the codes are CLDR's.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from emoji_gpt2.emoji.resources import read_bytes
from emoji_gpt2.emoji.table import EmojiTable, split_keywords
from emoji_gpt2.errors import UserError

ENGLISH = "en"
FOLDER = "languages"
"""Where the shipped languages lie below the package's resources."""
SUFFIX = ".csv.gz"
COLUMNS = ("emoji", "name", "keywords")


def shipped_languages() -> list[str]:
    """Return the codes of the languages in the package but English, in alphabetical order."""
    folder = files("emoji_gpt2.emoji.resources").joinpath(FOLDER)
    names = [path.name for path in folder.iterdir() if path.name.endswith(SUFFIX)]
    return sorted(name.removesuffix(SUFFIX) for name in names)


def parse_languages(given: str | Sequence[str]) -> tuple[str, ...]:
    """Return the languages of ``"en,de,es"``, or of a list, each once, in their order.

    Raises:
        UserError: There is none, or one is neither in the package nor a file; the known ones are
            named.
    """
    parts = given.split(",") if isinstance(given, str) else given
    languages = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    known = [ENGLISH, *shipped_languages()]
    unknown = [one for one in languages if one not in known and not _is_file(one)]
    if unknown or not languages:
        raise UserError(
            "data.languages",
            ", ".join(unknown) or "none",
            f"some of {', '.join(known)}",
            "for others give a file that emoji_gpt2.emoji.build_languages makes",
        )
    return languages


def language_code(language: str) -> str:
    """Return ``eu`` for ``my_languages/eu.csv.gz``; a code is its own."""
    return Path(language).name.removesuffix(SUFFIX)


def table_in(language: str) -> EmojiTable:
    """Return the emoji table in a language: ``en``, one of ``shipped_languages()``, or a file.

    Raises:
        UserError: When there is no such language, or the file is of another kind.
    """
    if language == ENGLISH:
        return EmojiTable.builtin()
    try:
        rows = list(csv.reader(io.StringIO(language_bytes(language).decode(), newline="")))
        words = {emoji: (name, split_keywords(joined)) for emoji, name, joined in rows[1:]}
        return EmojiTable.builtin().translated(words)
    except (ValueError, KeyError) as error:
        raise UserError(
            "data.languages",
            repr(language),
            f"a gzipped CSV of {', '.join(COLUMNS)} ({error})",
            "make it with emoji_gpt2.emoji.build_languages",
        ) from error


def language_bytes(language: str) -> bytes:
    """Return the unpacked file of a language; ``UserError`` if it cannot be read."""
    if not _is_file(language):
        return read_bytes(f"{FOLDER}/{language}{SUFFIX}")
    try:
        return gzip.decompress(Path(language).expanduser().read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        got = f"{language!r}: {error}"
        raise UserError("data.languages", got, remedy=f"give a whole {SUFFIX}") from error


def _is_file(language: str) -> bool:
    return language.endswith(SUFFIX) and Path(language).expanduser().is_file()
