"""Table formats: CSV, TSV, JSON, Parquet and a DataFrame, all as blocks of columns of str.

    table = CsvTable(Path("emoji_df.csv.gz"), "utf-8", ",")
    table.names()                                       # ["emoji", "name", ...]
    for names, emoji in table.blocks(["name", "emoji"], rows=65_536):
        ...

Every value stays what the file says: ``26E9``, ``NA``, ``null`` and ``#`` are text.

CSV is read by pandas' Python engine: it fills short rows with missing values, which differ from
empty cells; the C engine does not. JSON is read by the standard library: pandas drops half a
surrogate pair without a word, rounds numbers, and names no line.
"""

import bz2
import codecs
import contextlib
import csv
import gzip
import hashlib
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from emoji_gpt2.errors import UserError, one_line

if TYPE_CHECKING:
    import pandas as pd

Block = list[list[str]]  # the values of some records, column by column
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zip")
_OPEN: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_BROKEN = (EOFError, OSError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
_CELL_LIMIT = 1 << 24  # characters; the csv module refuses longer cells than 131,072 otherwise
_NAMED_BY = 1_000  # records of a JSON file whose keys are its column names


class Table(Protocol):
    """What each format offers."""

    def names(self) -> list[str]:
        """Return the names of the columns, [] when there are none."""
        ...

    def blocks(self, columns: list[str], rows: int) -> Iterator[Block]:
        """Yield the values of ``columns``, "" where missing, at most ``rows`` records at a time."""
        ...


@contextlib.contextmanager
def open_text(path: Path, encoding: str) -> Iterator[TextIO]:
    """Open a text file that may be compressed; a byte order mark is not part of the text.

    Raises:
        UserError: For undecodable bytes and broken compression, at any time within the block.
    """
    codec = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
    suffix = path.suffix.lower()
    try:
        with contextlib.ExitStack() as stack:
            if suffix == ".zip":
                member = only_member(path)
                archive = stack.enter_context(zipfile.ZipFile(path))
                binary = stack.enter_context(archive.open(member))
                yield io.TextIOWrapper(binary, codec, newline="")
            else:
                opener = _OPEN.get(suffix, open)
                yield stack.enter_context(opener(path, "rt", encoding=codec, newline=""))
    except UnicodeError as error:
        got = f"{str(path)!r}, which is in another encoding or no text ({one_line(error)})"
        remedy = "save it as UTF-8 or name its encoding, as in {data.encoding} latin-1"
        raise UserError("data.path", got, f"{encoding} text", remedy) from None
    except _BROKEN as error:
        got = f"{str(path)!r}, which cannot be read to its end ({one_line(error)})"
        wanted = "a readable file that is complete and compressed as its name says"
        raise UserError("data.path", got, wanted, "fetch or write it again") from None


def only_member(path: Path) -> str:
    """Return the name of the one file in a zip archive, such as Kaggle's downloads."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [n for n in archive.namelist() if not n.endswith("/") and "__MACOSX" not in n]
    except (zipfile.BadZipFile, OSError) as error:
        got = f"{str(path)!r}, which cannot be unpacked ({one_line(error)})"
        raise UserError(
            "data.path", got, "a complete zip archive", "fetch or write it again"
        ) from None
    if len(members) != 1:
        got = f"{str(path)!r} with {len(members)} files"
        raise UserError(
            "data.path", got, "a zip archive of one file", "unpack it and name one of the files"
        )
    return members[0]


@dataclass(frozen=True)
class CsvTable:
    """Rows of cells under a header; every row must be as wide as the header."""

    path: Path
    encoding: str
    delimiter: str

    def names(self) -> list[str]:
        """Return the cells of the first line that is not blank, without white space around them."""
        with self._reader() as reader:
            return self._header(reader)

    def blocks(self, columns: list[str], rows: int) -> Iterator[Block]:
        """Yield columns; a row that is too wide or too narrow is refused, a blank line skipped."""
        with self._reader() as reader:
            names, record = self._header(reader), 1
            picks = [names.index(column) for column in columns]
            reader.chunksize = rows
            for chunk in reader:
                frame = chunk[~_blank(chunk)]
                short = frame[len(names) - 1].isna()
                if short.any():
                    self._refuse_short_row(record + int(short.argmax()), len(names))
                if len(frame):
                    yield [frame[pick].tolist() for pick in picks]
                record += len(frame)

    def _header(self, reader: Any) -> list[str]:
        return [str(name).strip() for name in reader.get_chunk(1).iloc[0]]

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Any]:  # pandas has no types
        """Read without a header: pandas would rename repeated names, and shift wide rows."""
        import pandas as pd  # noqa: PLC0415 (slow, and needed for tables only)

        csv.field_size_limit(max(csv.field_size_limit(), _CELL_LIMIT))
        with open_text(self.path, self.encoding) as text:
            n_blank = sum(1 for _ in takewhile(lambda line: not line.strip(), text))
        options = {"dtype": object, "keep_default_na": False, "na_filter": False, "iterator": True}
        options |= {"skip_blank_lines": False, "skiprows": n_blank}  # a cell may be blank: '""'
        with open_text(self.path, self.encoding) as text:
            try:
                with pd.read_csv(
                    text, sep=self.delimiter, header=None, engine="python", **options
                ) as reader:  # type: ignore[call-overload]
                    yield reader
            except pd.errors.EmptyDataError:
                raise empty(self.path) from None
            except (pd.errors.ParserError, csv.Error) as error:
                got = f"{str(self.path)!r}, which is not CSV ({one_line(error)})"
                remedy = "put double quotes around a cell that holds a comma, tab or line break"
                raise UserError(
                    "data.path", got, "rows as wide as the header, quotes closed", remedy
                ) from None

    def _refuse_short_row(self, record: int, width: int) -> None:
        got = f"fewer cells in record {record:,} after the header of {str(self.path)!r}"
        raise UserError(
            "data.path", got, f"{width} as in its header", "complete the row; is the file cut off?"
        )


def _blank(frame: "pd.DataFrame") -> "pd.Series":
    """Return which rows come from a blank line, as opposed to a row of empty cells."""
    first = frame[0].str.strip()
    blank: pd.Series = (first.isna() | (first == "")) & frame.iloc[:, 1:].isna().all(axis=1)
    return blank & frame[frame.columns[-1]].isna()


def empty(path: Path) -> UserError:
    """Return the refusal of a table without columns."""
    return UserError(
        "data.path", f"the empty file {str(path)!r}", "a table with named columns", "fill it"
    )


@dataclass(frozen=True)
class JsonTable:
    """JSON objects, one a line, or one list of them, which is read whole.

    A key that a record lacks, and ``null``, are "".
    """

    path: Path
    encoding: str
    is_list: bool = False

    def names(self) -> list[str]:
        """Return the keys of the first thousand records, in the order in which they appear."""
        head = islice(self._records(), _NAMED_BY)
        return list(dict.fromkeys(key for _, record in head for key in record))

    def blocks(self, columns: list[str], rows: int) -> Iterator[Block]:
        """Yield columns; numbers stay as written, lists and objects are refused."""
        records = self._records()
        while block := list(islice(records, rows)):
            yield [[self._text(record.get(c), c, n) for n, record in block] for c in columns]

    def _records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        with open_text(self.path, self.encoding) as text:
            numbered: Iterable[tuple[int, Any]]
            if self.is_list:
                numbered = enumerate(self._decode(text.read(), "the list"), 1)
            else:
                lines = ((n, line) for n, line in enumerate(text, 1) if line.strip())
                numbered = ((n, self._decode(line, f"line {n}")) for n, line in lines)
            for number, record in numbered:
                if not isinstance(record, dict):
                    wanted = 'a JSON object such as {"text": "pizza", "emoji": "🍕"}'
                    raise UserError("data.path", self._got(record, number), wanted, "mend it")
                yield number, record

    def _decode(self, text: str, what: str) -> Any:
        try:
            return _decode(text)
        except (ValueError, RecursionError) as error:
            why = one_line(error) if self.is_list else getattr(error, "msg", "nested too deeply")
            got = f"{what} of {str(self.path)!r}, which is not JSON ({why})"
            raise UserError(
                "data.path", got, "one JSON object a line, or a list of them", "mend it"
            ) from None

    def _text(self, value: object, column: str, number: int) -> str:
        if isinstance(value, str):
            return value
        if value is None:
            return ""
        if isinstance(value, bool):
            return json.dumps(value)
        raise UserError(
            "data.path", self._got(value, number, f" as {column!r}"), "a string", "write one string"
        )

    def _got(self, value: object, number: int, role: str = "") -> str:
        unit = "record" if self.is_list else "line"
        return f"a {type(value).__name__}{role} in {unit} {number} of {str(self.path)!r}"


# Numbers stay as written; NaN and Infinity, which Python writes for missing values, are missing.
_decode = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=lambda _: None).decode


def json_table(path: Path, encoding: str) -> JsonTable:
    """Return the table of a .json file: one list if it begins with a bracket, else JSON lines."""
    with open_text(path, encoding) as text:
        start = next((line.lstrip()[:1] for line in text if line.strip()), "")
    return JsonTable(path, encoding, is_list=start == "[")


@dataclass(frozen=True)
class ParquetTable:
    """A Parquet file, row group by row group; pyarrow is an extra of this package."""

    path: Path

    def names(self) -> list[str]:
        """Return the names in the schema."""
        with self._open() as file:
            return list(file.schema_arrow.names)

    def blocks(self, columns: list[str], rows: int) -> Iterator[Block]:
        """Yield columns; those whose values are not single ones, such as lists, are refused."""
        with self._open() as file:
            for batch in file.iter_batches(batch_size=rows, columns=columns):
                yield [self._texts(batch.column(column), column) for column in columns]

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:  # pyarrow has no types
        try:
            import pyarrow as pa  # noqa: PLC0415 (an extra)
            import pyarrow.parquet as pq  # noqa: PLC0415
        except ImportError:
            remedy = "pip install 'emoji_gpt2[parquet]'"
            raise UserError("data.path", repr(str(self.path)), "pyarrow for it", remedy) from None
        try:
            with pq.ParquetFile(self.path) as file:
                yield file
        except (pa.ArrowException, OSError) as error:
            got = f"{str(self.path)!r}, which cannot be read ({one_line(error)})"
            raise UserError(
                "data.path", got, "a complete Parquet file", "fetch or write it again"
            ) from None

    def _texts(self, column: Any, name: str) -> list[str]:
        import pyarrow as pa  # noqa: PLC0415

        try:
            texts: list[str | None] = column.cast(pa.large_string()).to_pylist()
        except pa.ArrowException:
            got = f"values of type {column.type} in column {name!r} of {str(self.path)!r}"
            raise UserError("data.path", got, "strings", "write each value as one string") from None
        return ["" if text is None else text for text in texts]


@dataclass(frozen=True)
class FrameTable:
    """A DataFrame in memory; missing values are ""."""

    frame: "pd.DataFrame"

    def names(self) -> list[str]:
        """Return the names of the columns."""
        return list(map(str, self.frame.columns))

    def blocks(self, columns: list[str], rows: int) -> Iterator[Block]:
        """Yield columns, their values written as text."""
        names = self.names()
        picks = [names.index(column) for column in columns]
        for start in range(0, len(self.frame), rows):
            part = self.frame.iloc[start : start + rows, picks].astype(object)
            texts = part.where(part.notna(), "").map(str)
            yield [texts.iloc[:, number].tolist() for number in range(len(columns))]

    def digest(self, columns: list[str]) -> str:
        """Return the sha256 of these columns, in hexadecimal."""
        digest = hashlib.sha256()
        for block in self.blocks(columns, 65_536):
            digest.update(json.dumps(block).encode())
        return digest.hexdigest()
