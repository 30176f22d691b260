"""A text file that may be compressed, and a clear line for each way in which it is unreadable.

Use::

    file = TextFile(Path("emoji_df.csv.gz"), "utf-8")
    with file.open() as lines:            # UTF-8 with or without a byte order mark; newlines kept
        ...

The compression is told by the end of the name: .gz, .bz2, .xz, or a .zip that holds one file.
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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from emoji_gpt2.errors import UserError, one_line, refused

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zip")
_Bytes = IO[bytes] | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
_BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)

# First bytes: https://en.wikipedia.org/wiki/List_of_file_signatures
_SIGNATURES = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF-": "a PDF",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "gzip data",
    b"\x28\xb5\x2f\xfd": "zstd data",
    b"\xfd7zXZ": "xz data",
}
_TEXTUAL = b"PAR1"  # a CSV may begin with this one; a real Parquet file also holds NUL bytes


@dataclass(frozen=True)
class TextFile:
    """One text file: where it is and how its characters are written.

    Args:
        path: The local file.
        encoding: A codec name of Python. "utf-8" also takes a byte order mark.
    """

    path: Path
    encoding: str

    @contextlib.contextmanager
    def open(self) -> Iterator[io.TextIOWrapper]:
        """The text as a stream whose line ends are kept, as ``csv`` wants it.

        Raises:
            UserError: For undecodable bytes and broken compression, at any time within the block.
        """
        try:
            with self._binary() as binary:
                yield io.TextIOWrapper(binary, self._codec(), newline="")
        except UnicodeDecodeError as error:
            raise self._undecodable(error) from None
        except UnicodeError as error:  # such as UTF-16 without its byte order mark
            got = f"{str(self.path)!r}, which is in another encoding ({one_line(error)})"
            remedy = "name its encoding with --data.encoding"
            raise refused(got, f"{self.encoding} text", remedy) from None
        except UserError:
            raise
        except _BROKEN as error:
            got = f"{str(self.path)!r}, which cannot be read to its end ({one_line(error)})"
            wanted = "a readable file that is complete and compressed as its name says"
            raise refused(got, wanted, "fetch or write it again") from None

    def check(self) -> None:
        """Refuse an encoding that does not exist, and a file that is plainly not text in it."""
        try:
            "".encode(self.encoding)
        except (LookupError, ValueError):
            wanted = "the name of a text encoding, such as utf-8, utf-16 or latin-1"
            remedy = "correct it, or leave it out for utf-8"
            raise refused(repr(self.encoding), wanted, remedy, "--data.encoding") from None
        with self.open() as text:
            head = bytes(text.buffer.read(8_192))
        wide = self._codec().startswith(("utf-16", "utf-32"))
        if not wide and head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            got = f"{str(self.path)!r}, which begins as UTF-16 does"
            raise refused(got, f"{self.encoding} text", "say so with --data.encoding utf-16")
        signature = next((s for s in _SIGNATURES if head.startswith(s)), None)
        binary = signature is not None and signature != _TEXTUAL
        if binary or (not wide and b"\0" in head):
            kind = _SIGNATURES.get(signature or b"", "binary data")
            got = f"{str(self.path)!r}, which looks binary ({kind})"
            raise refused(got, "a text table", "convert it, or correct the end of its name")

    def n_lines(self) -> int | None:
        """The number of line feeds, counted without decoding; None if the file is compressed."""
        if self.path.suffix.lower() in COMPRESSIONS:
            return None
        with self.path.open("rb") as binary:
            return sum(block.count(b"\n") for block in iter(lambda: binary.read(1 << 20), b""))

    def _codec(self) -> str:
        name = codecs.lookup(self.encoding).name
        return "utf-8-sig" if name == "utf-8" else name

    @contextlib.contextmanager
    def _binary(self) -> Iterator[_Bytes]:
        """The decompressed bytes, closed in whatever state the reader leaves them."""
        suffix = self.path.suffix.lower()
        with contextlib.ExitStack() as stack:
            if suffix == ".zip":
                archive = stack.enter_context(zipfile.ZipFile(self.path))
                try:
                    member = archive.open(only_member(self.path))
                except RuntimeError as error:  # encrypted, or compressed in an unknown way
                    raise zipfile.BadZipFile(str(error)) from None
                yield stack.enter_context(member)
            elif suffix == ".gz":
                yield stack.enter_context(gzip.open(self.path))
            elif suffix == ".bz2":
                yield stack.enter_context(bz2.open(self.path))
            elif suffix == ".xz":
                yield stack.enter_context(lzma.open(self.path))
            else:
                yield stack.enter_context(self.path.open("rb"))

    def _undecodable(self, error: UnicodeDecodeError) -> UserError:
        """Say in which line the bad byte is: the stream was decoded in blocks, so look again."""
        number = 1
        with self._binary() as binary:
            lines = io.TextIOWrapper(binary, self._codec(), _MARK, newline="")
            for number, line in enumerate(lines, 1):  # noqa: B007
                if _MARKED.search(line):
                    break
        got = f"byte 0x{error.object[error.start]:02X} in line {number} of {str(self.path)!r}"
        remedy = "save the file as UTF-8 or name its encoding, as in --data.encoding latin-1"
        return refused(got, f"{self.encoding} text", remedy)


def only_member(path: Path) -> str:
    """The name of the one file in a zip archive, as Kaggle's downloads are."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [n for n in archive.namelist() if not n.endswith("/") and "__MACOSX" not in n]
    except (zipfile.BadZipFile, OSError) as error:
        got = f"{str(path)!r}, which cannot be unpacked ({one_line(error)})"
        raise refused(got, "a complete zip archive", "fetch or write it again") from None
    if len(members) != 1:
        got = f"{str(path)!r} with {len(members)} files"
        raise refused(got, "a zip archive of one file", "unpack it and name one of the files")
    return members[0]


# A lone surrogate never comes out of a strict decoder, so it marks a bad byte beyond doubt.
_MARK, _MARKED = "emoji_gpt2.mark", re.compile("\udcff")


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


codecs.register_error(_MARK, _mark)
