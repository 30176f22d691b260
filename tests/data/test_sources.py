"""Sources: every format, header and address that is read, and every refusal as one exact line."""

import bz2
import csv
import gzip
import hashlib
import http.server
import io
import json
import logging
import lzma
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoji_gpt2 import files as fetch
from emoji_gpt2.data import sources
from emoji_gpt2.data.sources import Chunk, Columns, Source, open_source
from emoji_gpt2.errors import MissingFileError, UserError
from tests.hub.server import HubServer

KAGGLE = "emoji,name,group,sub_group,codepoints\n"
TABLE = "text,emoji\npizza,🍕\n⛩ shrine,⛩️\n"
PIZZA = [("pizza", "🍕"), ("⛩ shrine", "⛩️")]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def opened(path: Path | str, **options: Any) -> Source:
    """Open a source whose downloads, if any, lie beside it."""
    folder = path.parent if isinstance(path, Path) else Path("unused")
    return open_source(path, **{"cache_dir": folder / "cache", **options})


def records(source: Source, rows: int = 65_536) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for chunk in source.chunks(rows):
        assert chunk.emoji is not None
        assert 0 < len(chunk.texts) <= rows
        assert chunk.numbers == range(len(found) + 1, len(found) + 1 + len(chunk.texts))
        found += zip(chunk.texts, chunk.emoji, strict=True)
    return found


def refusal(call: Callable[[], object], kind: type[UserError] = UserError) -> str:
    """The line that a call is refused with."""
    with pytest.raises(UserError) as caught:
        call()
    assert type(caught.value) is kind
    line = str(caught.value)
    assert line
    assert "\n" not in line
    assert "\r" not in line
    return line


# --- formats --------------------------------------------------------------------------------------

LINES = '{"text": "pizza", "emoji": "🍕"}\n{"emoji": "⛩️", "text": "⛩ shrine"}\n'
LIST = json.dumps([json.loads(line) for line in LINES.splitlines()], indent=1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", TABLE),
        ("A.CSV", TABLE),
        ("a.tsv", TABLE.replace(",", "\t")),
        ("a.tab", TABLE.replace(",", "\t")),
        ("a.jsonl", LINES),
        ("a.ndjson", LINES),
        ("a.json", LINES),
        ("a.json", LIST),
    ],
)
def test_text_formats(tmp_path: Path, name: str, content: str) -> None:
    source = opened(write(tmp_path, name, content))
    assert records(source) == PIZZA
    assert source.columns == Columns("text", "emoji", None)
    assert source.path == tmp_path / name


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".XZ", lzma.compress)]
)
def test_compressed(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    path = write(tmp_path, "a.csv" + suffix, pack(TABLE.encode()))
    assert records(opened(path)) == PIZZA
    path = write(tmp_path, "a.jsonl" + suffix, pack(LINES.encode()))
    assert records(opened(path), rows=1) == PIZZA


@pytest.mark.parametrize("name", ["archive.zip", "emoji_df.csv.zip"])
def test_zip_of_one_file(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("data/emoji_df.csv", TABLE)
        archive.writestr("__MACOSX/._emoji_df.csv", "junk")
    assert records(opened(tmp_path / name)) == PIZZA


def test_parquet(tmp_path: Path) -> None:
    table = pa.table(
        {
            "Name": pa.array(["pizza", None, "NA"]).dictionary_encode(),
            "emoji": pa.array(["🍕", "⛩️", "🚫"], pa.large_string()),
            "codepoints": pa.array([1, 2, None]),
            "extra": [[1], [2], [3]],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    chunks = list(opened(tmp_path / "a.parquet").chunks(rows=2))
    assert chunks == [
        Chunk(range(1, 3), ["pizza", ""], ["🍕", "⛩️"], ["1", "2"]),
        Chunk(range(3, 4), ["NA"], ["🚫"], [""]),
    ]


def test_frame(tmp_path: Path) -> None:
    frame = pd.DataFrame({"Name": ["a\rb", None, 7], "x": 0, "emoji": ["🍕", "NA", float("nan")]})
    chunks = list(open_source(frame, cache_dir=tmp_path).chunks(rows=2))
    assert chunks == [
        Chunk(range(1, 3), ["a\rb", ""], ["🍕", "NA"], None),
        Chunk(range(3, 4), ["7"], [""], None),
    ]
    digests = [
        open_source(table, cache_dir=tmp_path).digest()
        for table in (frame, frame.assign(x=1), frame.assign(emoji="🍕"))
    ]
    assert digests[0] == digests[1] != digests[2]
    wanted = "got 'DataFrame' with a header only, wanted rows of data"
    assert wanted in refusal(lambda: open_source(frame[:0], cache_dir=tmp_path))


# --- headers and values ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        (KAGGLE + "⛩️,shrine,g,s,26E9", Columns("name", "emoji", "codepoints")),
        ("emoji,name,codepoint\n⛩️,shrine,26E9\n", Columns("name", "emoji", "codepoint")),
        (",emoji,name\n0,⛩️,shrine\n", Columns("name", "emoji", None)),
        ("Unnamed: 0,index,status,emoji,name\n0,0,f,⛩️,shrine\n", Columns("name", "emoji", None)),
        ("emoji,name\n⛩️,shrine\n", Columns("name", "emoji", None)),
        ("\ufeffemoji,name\n⛩️,shrine\n", Columns("name", "emoji", None)),
        ('\ufeff"emoji","name"\n⛩️,shrine\n', Columns("name", "emoji", None)),
        ("emoji,name\r\n⛩️,shrine\r\n", Columns("name", "emoji", None)),
        ("emoji,name\r⛩️,shrine\r", Columns("name", "emoji", None)),
        ("\n \nemoji,name\n\n⛩️,shrine\n\n", Columns("name", "emoji", None)),
        (" Emoji , NAME \n⛩️,shrine\n", Columns("NAME", "Emoji", None)),
        ("prompt,completion\nshrine,⛩️\n", Columns("prompt", "completion", None)),
        ("Description,emojis\nshrine,⛩️\n", Columns("Description", "emojis", None)),
        ("text,name,emojis,emoji\n,shrine,,⛩️\n", Columns("name", "emoji", None)),
    ],
)
def test_headers_found(tmp_path: Path, content: str, columns: Columns) -> None:
    source = opened(write(tmp_path, "a.csv", content))
    assert source.columns == columns
    (chunk,) = source.chunks()
    assert (chunk.texts, chunk.emoji) == (["shrine"], ["⛩️"])
    assert chunk.codepoints == (["26E9"] if columns.codepoints else None)


def test_columns_given(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "name,x,X,E\na,b,c,😀\n")
    assert opened(path, text_column="X", emoji_column="e").columns == Columns("X", "E", None)
    assert records(opened(path, text_column="X", emoji_column="E")) == [("c", "😀")]
    assert records(opened(path, text_column="x", emoji_column="E")) == [("b", "😀")]


def test_emoji_are_optional_where_not_needed(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text\npizza\n\n \n""\ncake\n')
    (chunk,) = opened(path, needs_emoji=False).chunks()
    assert chunk == Chunk(range(1, 5), ["pizza", " ", "", "cake"], None, None)
    both = opened(write(tmp_path, "b.csv", TABLE), needs_emoji=False)
    assert both.columns.emoji == "emoji"


@pytest.mark.parametrize(
    "value", ["26E9", "23E9", "NA", "null", "nan", "#", "1.0", "007", " x ", ""]
)
def test_values_stay_text(tmp_path: Path, value: str) -> None:
    path = write(tmp_path, "a.csv", f"text,emoji,codepoints\n{value},{value},{value}\n")
    assert list(opened(path).chunks()) == [Chunk(range(1, 2), [value], [value], [value])]
    line = json.dumps({"text": value, "emoji": value, "codepoints": value})
    path = write(tmp_path, "a.jsonl", line)
    assert list(opened(path).chunks()) == [Chunk(range(1, 2), [value], [value], [value])]


def test_json_values(tmp_path: Path) -> None:
    rows = ['{"text": 1.50, "emoji": 1E9}', "", '{"text": null}', '{"emoji": NaN, "text": true}']
    source = opened(write(tmp_path, "a.jsonl", "\ufeff" + "\r\n".join(rows)))
    assert records(source) == [("1.50", "1E9"), ("", ""), ("true", "")]


def test_records_that_span_lines(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text,emoji\n"a\n\nb, ""c""",1\n\nd,2\n')
    assert records(opened(path), rows=1) == [('a\n\nb, "c"', "1"), ("d", "2")]


def test_chunks_can_be_read_again_and_left_early(tmp_path: Path) -> None:
    source = opened(write(tmp_path, "a.csv", TABLE))
    chunks = source.chunks(1)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert records(source) == records(source, rows=1) == PIZZA


def test_giant_cell(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", f"text,emoji\n{'a' * 1_000_000},😀\n")
    assert [len(text) for text, _ in records(opened(path))] == [1_000_000]


def test_encoding(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,emoji\ncafé,1\n".encode("latin-1"))
    assert records(opened(path, encoding="latin-1")) == [("café", "1")]
    path = write(tmp_path, "b.csv", TABLE.encode("utf-16"))
    assert records(opened(path, encoding="UTF-16")) == PIZZA


def test_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    content = gzip.compress(TABLE.encode())
    source = opened(write(tmp_path, "a.csv.gz", content))
    assert source.digest() == hashlib.sha256(content).hexdigest()


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write(tmp_path, "a.csv", TABLE)
    assert records(opened("~/a.csv")) == PIZZA


ANY_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
TEXTS = ANY_TEXT | st.text('",\n\r\t a😀', max_size=12)
ROWS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=20)


@settings(deadline=None, max_examples=150)
@given(ROWS, st.integers(1, 25), st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.json"]))
def test_any_rows_come_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], size: int, name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    with path.open("w", encoding="utf-8", newline="") as file:
        if name.endswith("sv"):
            dialect: Any = csv.excel if name == "a.csv" else csv.excel_tab
            csv.writer(file, dialect).writerows([("text", "emoji"), *rows])
        else:
            dicts = [dict(zip(("text", "emoji"), row, strict=True)) for row in rows]
            file.write(json.dumps(dicts) if name == "a.json" else "\n".join(map(json.dumps, dicts)))
    assert records(opened(path), size) == rows


# --- refusals -------------------------------------------------------------------------------------


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, TABLE)
    return file.getvalue()


def encrypted() -> bytes:
    """A zip archive whose one member claims to be encrypted: bit 0 of the general purpose flag."""
    content = bytearray(zipped("a.csv"))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def parquet(columns: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


LONG = "text,emoji\n" + "".join(f"pizza number {i},🍕\n" for i in range(20_000))
BROKEN = "wanted a readable file that is complete and compressed as its name says"
CSV = "wanted rows as wide as the header, quotes closed; put double quotes around a cell that holds"
OTHER = "wanted utf-8 text; save it as UTF-8 or name its encoding, as in encoding latin-1"
SHORT = "wanted 2 as in its header; complete the row; is the file cut off?"

NO_TEXT = (
    "got the columns 'x', 'emoji' in 'a.csv', wanted one named name or text or description or "
    "prompt; name the column of text with text_column"
)
NOT_JSON = (
    "got line 4 of 'a.jsonl', which is not JSON (Expecting property name enclosed in double "
    "quotes), wanted one JSON object a line, or a list of them; mend it"
)
JSON_LIST = 'got a list in line 3 of \'a.jsonl\', wanted a JSON object such as {"text": "pizza", '
COLUMNS_JSON = '{"text": {"0": "a"}, "emoji": {"0": "b"}}'
LISTS = {"text": ["a"], "emoji": [["b"]]}
BAD = {
    "empty": ("a.csv", "", "got the empty file 'a.csv', wanted a table with named columns; fill"),
    "blank": ("a.csv", " \n\n \r\n", "got the empty file 'a.csv', wanted a table with named"),
    "empty-jsonl": ("a.jsonl", "\n \n", "got the empty file 'a.jsonl', wanted a table"),
    "empty-list": ("a.json", "[]", "got the empty file 'a.json', wanted a table"),
    "only-bom": ("a.csv", "\ufeff", "got the empty file 'a.csv'"),
    "header-only": ("a.csv", KAGGLE, "got 'a.csv' with a header only, wanted rows of data"),
    "header-only-parquet": ("a.parquet", parquet({"text": [], "emoji": []}), "a header only"),
    "no-text-column": ("a.csv", "x,emoji\n1,2\n", NO_TEXT),
    "no-emoji-column": ("a.csv", "text,y\n1,2\n", "name the column of emoji with emoji_co"),
    "wrong-comma": ("a.csv", "text;emoji\na;b\n", "got the columns 'text;emoji' in 'a.csv'"),
    "many-columns": ("a.csv", ",".join("ab" * 50) + "\n", "'a', 'b', 'a', 'b', … in 'a.csv'"),
    "twice": ("a.csv", "text,emoji,emoji\na,b,c\n", "got 2 columns named 'emoji' in 'a.csv'"),
    "twice-but-for-case": ("a.csv", "TEXT,Text,emoji\n1,2,3\n", "got 2 columns named 'text' in"),
    "wide-row": ("a.csv", TABLE + "\na,b,c\n", f"(Expected 2 fields in line 5, saw 3), {CSV}"),
    "wide-first-row": ("a.csv", "text,emoji\na,b,c\n", "(Expected 2 fields in line 2, saw 3)"),
    "short-row": (
        "a.csv",
        TABLE + "a\n",
        f"cells in record 3 after the header of 'a.csv', {SHORT}",
    ),
    "cut-csv": ("a.csv", LONG[:-3], "got fewer cells in record 20,000 after the header of 'a.csv'"),
    "open-quote": ("a.csv", TABLE + '"open,🍕\nb,c\n', f"CSV (unexpected end of data), {CSV}"),
    "text-after-quote": ("a.csv", TABLE + '"a"b,c\n', "CSV (',' expected after '\"'), wanted"),
    "latin-1": ("a.csv", LONG.encode() + b"caf\xe9,1\n", "can't decode byte 0xe9 in position"),
    "latin-1-gz": ("a.csv.gz", gzip.compress(b"text,emoji\nab,c\n\xff,d"), OTHER),
    "cut-utf8": ("a.csv", TABLE.encode() + "a,🍕".encode()[:-1], OTHER),
    "utf-16": ("a.csv", TABLE.encode("utf-16"), OTHER),
    "png": ("a.csv", b"\x89PNG\r\n\x1a\n", OTHER),
    "zip-as-csv": ("a.csv", zipped("a"), OTHER),
    "gzip-as-csv": ("a.csv", gzip.compress(TABLE.encode()), OTHER),
    "parquet-as-csv": ("a.csv", parquet({"text": ["a"]}), OTHER),
    "cut-gzip": ("a.csv.gz", gzip.compress(LONG.encode())[:-9], BROKEN),
    "csv-as-gzip": ("a.csv.gz", TABLE, "'a.csv.gz', which cannot be read to its end (Not a gzip"),
    "cut-bz2": ("a.csv.bz2", bz2.compress(LONG.encode())[:-9], BROKEN),
    "cut-xz": ("a.csv.xz", lzma.compress(LONG.encode())[:-9], BROKEN),
    "cut-zip": ("a.csv.zip", zipped("a.csv")[:-9], "got 'a.csv.zip', which cannot be"),
    "zip-of-two": ("a.zip", zipped("a.csv", "b.csv"), "'a.zip' with 2 files, wanted a zip archive"),
    "zip-in-zip": ("a.zip", zipped("b.zip"), "got 'b.zip' in 'a.zip', wanted one of .csv"),
    "encrypted-zip": ("a.csv.zip", encrypted(), "is encrypted, password required"),
    "not-parquet": ("a.parquet", TABLE, "got 'a.parquet', which cannot be read (Parquet magic"),
    "cut-parquet": ("a.parquet", parquet({"text": ["a"]})[:-9], "wanted a complete Parquet file"),
    "empty-parquet": ("a.parquet", b"", "got 'a.parquet', which cannot be read (Parquet file size"),
    "parquet-lists": (
        "a.parquet",
        parquet(LISTS),
        "in column 'emoji' of 'a.parquet', wanted strin",
    ),
    "not-json": ("a.jsonl", LINES + "\n{text: 1}\n", NOT_JSON),
    "deep-json": ("a.jsonl", "[" * 200_000, "got line 1 of 'a.jsonl', which is not JSON"),
    "json-array-line": ("a.jsonl", LINES + '["a", "b"]\n', JSON_LIST),
    "json-of-columns": ("a.json", COLUMNS_JSON, "got a dict as 'text' in line 1 of 'a.json', want"),
    "json-list-value": ("a.json", '[{"text": "a", "emoji": ["b"]}]', "'emoji' in record 1 of"),
    "json-list-of-lists": ("a.json", "[[1]]", "got a list in record 1 of 'a.json'"),
    "cut-json-list": ("a.json", LIST[:-1], "JSON (Expecting ',' delimiter: line 10"),
    "xlsx": (
        "a.xlsx",
        b"",
        "a name that ends in .csv, .tsv, .tab, .jsonl, .ndjson, .json or .parq",
    ),
    "no-end": ("csv", TABLE, "got 'csv', wanted a name that ends in .csv"),
    "packed-parquet": ("a.parquet.gz", b"", "got 'a.parquet.gz', wanted a name that ends in"),
    "zst": ("a.csv.zst", b"", "got 'a.csv.zst', wanted a name that ends in"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    name, content, wanted = BAD[case]
    monkeypatch.chdir(tmp_path)
    write(tmp_path, name, content)
    line = refusal(lambda: records(opened(name)))
    assert line.startswith("path: got ")
    assert wanted in line


@pytest.mark.parametrize(
    "case", ["empty", "header-only", "no-text-column", "twice", "png", "utf-16"]
)
def test_headers_are_refused_at_once(tmp_path: Path, case: str) -> None:
    name, content, _ = BAD[case]
    refusal(lambda: opened(write(tmp_path, name, content)))


def test_rows_before_a_bad_one_are_read(tmp_path: Path) -> None:
    source = opened(write(tmp_path, "a.csv", LONG + "too,many,cells\n"))
    chunks = source.chunks(rows=1_000)
    assert sum(len(next(chunks).texts) for _ in range(20)) == 20_000
    assert "Expected 2 fields in line 20002, saw 3" in refusal(lambda: next(chunks))


def test_quote_left_open_in_a_huge_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", TABLE + '"open,🍕\n' + "abcdefgh,1\n" * 1_600_000)
    assert "field larger than field limit" in refusal(lambda: records(opened(path)))


def test_blank_lines_and_half_characters_are_no_end(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,emoji\na,1\n" + "\n \n" * 50 + "b,2\n")
    assert records(opened(path), rows=10) == [("a", "1"), ("b", "2")]
    path = write(tmp_path, "a.jsonl", '{"text": "\\ud83d", "emoji": "1"}')
    assert records(opened(path)) == [("\ud83d", "1")]


def test_bad_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "a.csv", TABLE)
    assert refusal(lambda: opened("a.csv", text_column="nom")) == (
        "text_column: got 'nom', wanted a column of 'a.csv', which has 'text', 'emoji'; "
        "give one of these names"
    )
    line = refusal(lambda: opened("a.csv", emoji_column="x", needs_emoji=False))
    assert line.startswith("emoji_column: got 'x', wanted a column of 'a.csv'")
    assert refusal(lambda: opened("a.csv", text_column="emoji")) == (
        "path: got the column 'emoji' of 'a.csv' for the texts and the emoji, wanted two "
        "columns; name both: text_column, emoji_column"
    )
    for encoding in ("utf-9", "rot13", "a\0b"):
        line = refusal(lambda encoding=encoding: opened("a.csv", encoding=encoding))
        assert line.startswith(f"encoding: got {encoding!r}, wanted the name of a text enc")
    line = refusal(lambda: opened("a.csv", encoding="utf-16"))
    assert line.startswith("path: got 'a.csv', which is in another encoding or no text (UTF-16")


def test_bad_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.csv").mkdir()
    write(tmp_path, "a.csv", TABLE)
    wanted = "path: got 'no.csv', wanted a file that exists; correct the path"
    assert refusal(lambda: opened("no.csv"), MissingFileError) == wanted
    refusal(lambda: opened("a.csv/b.csv"), MissingFileError)
    wanted = "path: got the folder 'd.csv', wanted a file; name a file in it"
    assert refusal(lambda: opened("d.csv")) == wanted
    assert "the folder ''" in refusal(lambda: opened(""))
    for path in ("~nobody-of-that-name/a.csv", "a\0.csv", "x" * 5_000):
        assert f"got {path!r}, wanted a readable file" in refusal(lambda path=path: opened(path))
    os.mkfifo("pipe.csv")
    assert "wanted a regular file" in refusal(lambda: opened("pipe.csv"))
    refusal(lambda: opened("a\nb.csv"), MissingFileError)


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "a.parquet", parquet({"text": ["a"], "emoji": ["b"]}))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    line = refusal(lambda: opened(path))
    assert line.endswith("wanted pyarrow for it; pip install 'emoji_gpt2[parquet]'")


# --- addresses ------------------------------------------------------------------------------------


class Site(http.server.BaseHTTPRequestHandler):
    """Serves TABLE, and every way in which a download goes wrong."""

    paths: list[str]  # set on a subclass per test

    def do_GET(self) -> None:
        self.paths.append(self.path)
        body = TABLE.encode()
        status = {"/gone.csv": 404, "/moved.csv": 302, "/to-ftp.csv": 302}.get(self.path, 200)
        self.send_response(status)
        if status == 302:
            target = "/a.csv" if self.path == "/moved.csv" else "ftp://127.0.0.1:9/a.csv"
            self.send_header("Location", target)
        size = len(body) if status == 200 else 0
        self.send_header("Content-Length", str(size + 10 * (self.path == "/cut.csv")))
        self.end_headers()
        self.wfile.write(body[:size])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """The address of a server on loopback, and the paths that were asked for."""
    monkeypatch.setenv("no_proxy", "*")
    handler = type("Handler", (Site,), {"paths": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler.paths
        server.shutdown()
        thread.join()


def test_download_once(
    tmp_path: Path, site: tuple[str, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "emoji_gpt2")
    url = site[0] + "/a.csv?x=1"
    source = opened(url, cache_dir=tmp_path)
    assert records(source) == PIZZA
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    assert source.path == tmp_path / "downloads" / f"{key}-a.csv"
    assert records(opened(url, cache_dir=tmp_path)) == PIZZA
    assert site[1] == ["/a.csv?x=1"]
    assert "delete it to fetch again" in caplog.messages[-1]
    assert " UTC" in caplog.messages[-1]
    source.path.unlink()
    assert records(opened(url, cache_dir=tmp_path)) == PIZZA
    assert len(site[1]) == 2


def test_download_names(tmp_path: Path, site: tuple[str, list[str]]) -> None:
    source = opened(site[0] + "/moved.csv", cache_dir=tmp_path)
    assert records(source) == PIZZA
    source = opened(site[0] + "/ä b%20🍕.csv", cache_dir=tmp_path)
    assert site[1][-1] == "/%C3%A4%20b%20%F0%9F%8D%95.csv"
    assert source.path.name.endswith("-ä_b_20_.csv")
    assert len(list((tmp_path / "downloads").iterdir())) == 2


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/gone.csv", "(HTTP status 404, Not Found), wanted an address that answers; check it, or"),
        ("/cut.csv", "(only 40 of 50 bytes)"),
        ("/to-ftp.csv", "(unknown url type: ftp)"),
    ],
)
def test_failed_downloads(
    tmp_path: Path, site: tuple[str, list[str]], path: str, wanted: str
) -> None:
    url = site[0] + path
    line = refusal(lambda: opened(url, cache_dir=tmp_path))
    assert line.startswith(f"path: got {url!r}, whose download failed (")
    assert wanted in line
    assert list((tmp_path / "downloads").iterdir()) == []


def test_silent_and_absent_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(fetch, "TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.csv"
        assert "timed out" in refusal(lambda: opened(url, cache_dir=tmp_path))
    assert "refused" in refusal(lambda: opened(url, cache_dir=tmp_path))
    refusal(lambda: opened("http://127.0.0.1:port/a.csv", cache_dir=tmp_path))


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("ftp://host/a.csv", "wanted a local path, https://… or hf://datasets/…; ftp:// is not"),
        ("file:///a.csv", "file:// is not followed"),
        ("s3://bucket/a.csv", "s3:// is not followed"),
        ("https://host/a.xlsx", "got 'a.xlsx', wanted a name that ends in .csv"),
        ("https://[host/a.csv", "wanted a valid address"),
        ("hf://models/user/name/a.csv", "wanted hf://datasets/user/name[@revision]/path/in/repo"),
        ("hf://datasets/user/a.csv", "wanted hf://datasets/user/name[@revision]/path/in/repo"),
    ],
)
def test_bad_addresses(address: str, wanted: str) -> None:
    assert wanted in refusal(lambda: opened(address))


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("hf://datasets/user/name/a.csv", ("user/name", "a.csv", None)),
        ("hf://datasets/user/name@v1.0/in/a.csv", ("user/name", "in/a.csv", "v1.0")),
        ("hf://datasets/u/n@refs%2Fpr%2F1/a.csv", ("u/n", "a.csv", "refs/pr/1")),
        (
            "hf://datasets/u/n@refs/convert/parquet/default/a.csv",
            ("u/n", "default/a.csv", "refs/convert/parquet"),
        ),
    ],
)
def test_hub_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, wanted: tuple[str, ...]
) -> None:
    asked = []

    def download(repo_id: str, filename: str, *, repo_type: str, revision: str | None) -> str:
        asked.append((repo_id, filename, revision))
        assert repo_type == "dataset"
        return str(write(tmp_path, "a.csv", TABLE))

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert records(opened(address)) == PIZZA
    assert asked == [wanted]


def test_hub_offline(tmp_path: Path) -> None:
    code = (
        "from emoji_gpt2.data.sources import *; from pathlib import Path\n"
        "try: open_source('hf://datasets/user/name/a.csv', cache_dir=Path('cache'))\n"
        "except ValueError as error: print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    environment["PYTHONPATH"] = str(Path(sources.__file__).parents[2])
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == (
        "path: got 'hf://datasets/user/name/a.csv', wanted a file in the Hub's cache or a "
        "reachable Hub; check the connection and HF_HUB_OFFLINE, or give a local file\n"
    )


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("GatedRepoError", "wanted a data set open to you; ask at https"),
        ("RepositoryNotFoundError", "wanted a data set that exists; if private, `hf auth login`"),
        ("RevisionNotFoundError", "wanted a revision that exists"),
        ("EntryNotFoundError", "wanted a file of the data set"),
        ("HFValidationError", "the Hub client said: two lines"),
    ],
)
def test_hub_refusals(monkeypatch: pytest.MonkeyPatch, name: str, wanted: str) -> None:
    from huggingface_hub import errors

    monkeypatch.setenv("HF_ENDPOINT", "https://huggingface.co")
    kind = getattr(errors, name)
    error = kind.__new__(kind, "two\nlines")  # some of these want a response to be made with
    error.args = ("two\nlines",)

    def download(*args: object, **options: object) -> str:
        raise error

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    line = refusal(lambda: opened("hf://datasets/user/name/a.csv"))
    assert line.startswith("path: got 'hf://datasets/user/name/a.csv', wanted ")
    assert wanted in line


def test_a_data_set_of_the_hub_is_read(hub: HubServer, tmp_path: Path) -> None:
    hub.add_repo("tester/emoji", {"all/train.csv": "text,emoji\npizza,🍕\n".encode()}, "dataset")
    source = open_source("hf://datasets/tester/emoji/all/train.csv", cache_dir=tmp_path)
    assert [chunk.texts for chunk in source.chunks()] == [["pizza"]]
    with pytest.raises(UserError) as caught:
        open_source("hf://datasets/tester/emoji/none.csv", cache_dir=tmp_path)
    assert "none.csv" in str(caught.value)
    assert "\n" not in str(caught.value)
