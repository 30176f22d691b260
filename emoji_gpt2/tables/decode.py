"""From a file's bytes to its lines: compression and encoding are found by content.

Bytes that are not UTF-8, in a file that is UTF-8 elsewhere, become lone surrogates, by which the
row is recognised as broken later.
"""

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import UserError, one_line
from emoji_gpt2.files import PATH, foreign_content

HEAD = 1 << 18
"""Bytes from which encoding and format are told."""
_OPEN: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
_BROKEN = (EOFError, OSError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_WORD = re.compile(r"[^\W\d_]{3,}")


@dataclass(frozen=True)
class TextFile:
    """An open text file."""

    encoding: str
    head: str  # the first ``HEAD`` bytes, decoded, without a line that is cut off
    is_whole: bool  # whether ``head`` is all of it
    lines: Iterator[str]  # all of them, with their ends


@contextlib.contextmanager
def open_binary(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, unpacked if it is compressed: gzip, bzip2, xz, or a zip of one table.

    Raises:
        UserError: it is not whole, or not what its first bytes say, at any time within the block.
    """
    try:
        with contextlib.ExitStack() as stack:
            with path.open("rb") as raw:
                start = raw.read(8)
            if start.startswith(b"PK\x03\x04"):
                archive = stack.enter_context(zipfile.ZipFile(path))
                yield stack.enter_context(archive.open(_member(archive, path)))
            else:
                openers = (one for magic, one in _OPEN.items() if start.startswith(magic))
                yield stack.enter_context(next(openers, open)(path, "rb"))
    except _BROKEN as error:
        got = f"{str(path)!r}, which cannot be read to its end ({one_line(error)})"
        raise UserError(PATH, got, "a whole file", "fetch or write it again") from None


def _member(archive: zipfile.ZipFile, path: Path) -> str:
    """Return the one table in a zip archive, such as Kaggle's downloads."""
    members = [n for n in archive.namelist() if not n.endswith("/") and "__MACOSX" not in n]
    no_table = (".md", ".pdf", ".png", ".jpg", ".html", ".py", ".ipynb")
    tables = [n for n in members if not n.lower().endswith(no_table)]
    if len(tables) != 1:
        got = f"{str(path)!r} with {len(members)} files ({', '.join(members[:5])})"
        remedy = "unpack it and name one of the files"
        raise UserError(PATH, got, "a zip archive of one table", remedy)
    return tables[0]


@contextlib.contextmanager
def open_text(path: Path, encoding: str | None) -> Iterator[TextFile]:
    """Open a text file in an encoding, or in the one that its bytes show."""
    with open_binary(path) as file:
        head = file.read(HEAD)
    is_whole = len(head) < HEAD
    if what := foreign_content(head):
        raise UserError(PATH, f"{str(path)!r}, which is {what}", "the table itself", "download it")
    codec = encoding or encoding_of(head, path)
    errors = "surrogateescape" if codecs.lookup(codec).name.startswith("utf-8") else "replace"
    text = codecs.getincrementaldecoder(codec)(errors).decode(head, final=is_whole)
    if not is_whole:
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
    with open_binary(path) as file:
        lines = io.TextIOWrapper(file, codec, errors, newline="")
        yield TextFile(codec, text, is_whole, iter(lines))


def check_encoding(encoding: str | None) -> None:
    """Raise a UserError for an encoding that Python does not know."""
    try:
        "".encode(encoding or "utf-8")
    except (LookupError, ValueError):
        wanted = "the name of a text encoding, such as utf-8, utf-16 or latin-1"
        raise UserError("data.encoding", repr(encoding), wanted, "or leave it out") from None


def encoding_of(head: bytes, path: Path) -> str:
    """Return the encoding of a text by its first bytes.

    Raises:
        UserError: it is no text, or in an encoding that cannot be told from others.
    """
    for mark, codec in _MARKS.items():
        if head.startswith(mark):
            return codec
    if b"\0" in head:
        got, remedy = (
            f"{str(path)!r}, a binary file",
            "export it as CSV, or name its {data.encoding}",
        )
        raise UserError(PATH, got, "a table of text", remedy)
    lines = head.split(b"\n")[: -1 if len(head) == HEAD else None]
    other = [_is_utf8(line) for line in lines if not line.isascii()]
    if all(other) or 2 * sum(other) >= len(other):
        return "utf-8"
    return _legacy_encoding(b"\n".join(lines), path)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _legacy_encoding(data: bytes, path: Path) -> str:
    """Return GB 18030 if that gives emoji, or Windows-1252 if that gives words of the West."""
    with contextlib.suppress(UnicodeDecodeError):
        text = data.decode("gb18030")
        if any(ord(one[0]) > 0xFFFF for one in EmojiTable.builtin().split(text)):
            return "gb18030"
    with contextlib.suppress(UnicodeDecodeError):
        words = _WORD.findall(data.decode("cp1252"))
        foreign = sum(all(ord(char) > 127 for char in word) for word in words)
        if words and 20 * foreign <= len(words):
            return "cp1252"
    got = f"{str(path)!r}, which is neither UTF-8 nor Windows-1252"
    raise UserError(PATH, got, "a known encoding", "name it with {data.encoding}, as in cp1251")
