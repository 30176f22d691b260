"""Sources: what is the same in every format, and refusals as one line."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import MissingFileError, UserError
from emoji_gpt2.tables.columns import Reading
from emoji_gpt2.tables.source import Chunk, Source, open_source

TABLE = "text,emoji\npizza,🍕\n⛩ shrine,⛩️\n"
PIZZA = [("pizza", "🍕"), ("⛩ shrine", "⛩️")]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def opened(table: Any, reading: Reading | None = None, **options: Any) -> Source:
    return open_source(table, reading, **{"cache_dir": Path("unused"), **options})


def records(source: Source, rows: int = 65_536) -> list[tuple[str, str]]:
    chunks = list(source.chunks(rows))
    assert all(0 < len(chunk.texts) + len(chunk.unread) <= rows for chunk in chunks)
    return [pair for chunk in chunks for pair in zip(chunk.texts, chunk.emoji, strict=True)]


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


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".XZ", lzma.compress)]
)
def test_compressed(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    assert records(opened(write(tmp_path, "a.csv" + suffix, pack(TABLE.encode())))) == PIZZA
    assert records(opened(write(tmp_path, "no suffix", pack(TABLE.encode()))), rows=1) == PIZZA


def parquet(columns: dict[str, Any], metadata: dict[str, Any] | None = None) -> bytes:
    file = io.BytesIO()
    table = pa.table(columns)
    if metadata:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    pq.write_table(table, file)
    return file.getvalue()


def test_parquet(tmp_path: Path) -> None:
    content = parquet(
        {
            "Name": pa.array(["pizza", None, "NA"]).dictionary_encode(),
            "emoji": pa.array(["🍕", "⛩️", "🚫"], pa.large_string()),
            "extra": [[1], [2], [3]],
        }
    )
    chunks = list(opened(write(tmp_path, "a.parquet", content)).chunks(rows=2))
    assert chunks == [Chunk(["pizza", ""], ["🍕", "⛩️"]), Chunk(["NA"], ["🚫"])]
    lists = parquet({"text": ["party"], "emoji": [["🎉", "🥳"]]})
    assert records(opened(write(tmp_path, "b.parquet", lists))) == [("party", "🎉 🥳")]


def test_only_columns_of_a_parquet_file_that_may_hold_texts_are_read(tmp_path: Path) -> None:
    picture = pa.array([{"bytes": b"\0" * 99, "path": "a.png"}])
    content = parquet(
        {"image": picture, "raw": [b"\xff"], "vector": [[0.5, 0.25]], "text": ["a pizza"],
         "emoji": [["🍕"]], "id": [7]}
    )  # fmt: skip
    source = opened(write(tmp_path, "a.parquet", content))
    assert source.parts[0].table.names == ["text", "emoji", "id"]
    assert records(source) == [("a pizza", "🍕")]


def test_two_columns_of_emoji_do_not_matter_where_none_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,x,y\nhello there,🍕,🐶\ngood night,🌙,🐱\n")
    assert records(opened(path, needs_emoji=False)) == [("hello there", ""), ("good night", "")]


def test_class_labels_of_a_data_set_are_their_names(tmp_path: Path) -> None:
    features = {"label": {"names": ["❤", "😂"], "_type": "ClassLabel"}}
    content = parquet(
        {"text": ["my love", "so funny"], "label": [0, 1]}, {"info": {"features": features}}
    )
    path = write(tmp_path, "train.parquet", content)
    assert records(opened(path)) == [("my love", "❤"), ("so funny", "😂")]


def test_frame(tmp_path: Path) -> None:
    frame = pd.DataFrame({"Name": ["a\rb", None, "c"], "x": 0, "emoji": ["🍕", ["🍕", "🐶"], None]})
    chunks = list(opened(frame).chunks(rows=2))
    assert chunks == [Chunk(["a\rb", ""], ["🍕", "🍕 🐶"]), Chunk(["c"], [""])]
    digests = [opened(table).digest() for table in (frame, frame.assign(emoji="🍕"))]
    assert digests[0] != digests[1]
    assert "wanted rows of data" in refusal(lambda: opened(frame[:0]))


@pytest.mark.parametrize("value", ["NA", "null", "nan", "#", "1.0", "007", " x ", "26E9"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_texts_stay_as_they_are(tmp_path: Path, name: str, value: str) -> None:
    rows = [(value, "🍕"), *((f"text {i}", "🍕") for i in range(5))]
    lines = [f"{text},{emoji}" for text, emoji in rows]
    if name == "a.jsonl":
        lines = [json.dumps({"text": text, "emoji": emoji}) for text, emoji in rows]
    else:
        lines.insert(0, "text,emoji")
    assert records(opened(write(tmp_path, name, "\n".join(lines)))) == rows


def test_json_values(tmp_path: Path) -> None:
    rows = ['{"text": 1.50, "emoji": "🍕"}', "", '{"text": null}', '{"emoji": NaN, "text": true}']
    rows += ['{"text": "half a \\ud83d", "emoji": "🍕"}', "no JSON"]
    path = write(tmp_path, "a.jsonl", "\ufeff" + "\r\n".join(rows))
    (chunk,) = opened(path).chunks()
    assert chunk.texts == ["1.50", "", "true", "half a \ud83d"]
    assert chunk.emoji == ["🍕", "", "", "🍕"]
    assert chunk.unread == ((6, "no JSON object"),)


def test_chunks_can_be_read_again_and_left_early(tmp_path: Path) -> None:
    source = opened(write(tmp_path, "a.csv", TABLE))
    chunks = source.chunks(1)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert records(source) == records(source, rows=1) == PIZZA


def test_giant_cell(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", f'text,emoji\n{"a" * 1_000_000},😀\n"{"b" * 1_000_000}",😀\n')
    assert [len(text) for text, _ in records(opened(path))] == [1_000_000, 1_000_000]


def test_an_encoding_that_is_named_is_taken(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,emoji\nПривет,:pizza:\nмир,:dog:\n".encode("cp1251"))
    assert records(opened(path, Reading(encoding="cp1251")))[0] == ("Привет", "🍕")
    assert "neither UTF-8 nor Windows-1252" in refusal(lambda: opened(path))
    line = refusal(lambda: opened(path, Reading(encoding="utf-99")))
    assert line.startswith("encoding: got 'utf-99', wanted the name of a text encoding")


@pytest.mark.parametrize(
    ("delimiter", "given"), [("\t", "\\t"), ("\t", "tab"), (" ||| ", " ||| "), ("~", "~")]
)
def test_a_separator_that_is_named_is_taken(tmp_path: Path, delimiter: str, given: str) -> None:
    rows = [("text", "emoji"), ('"so"', "🍕"), ("a dog", "🐶")]
    lines = [delimiter.join(row) for row in rows]
    path = write(tmp_path, "a.csv", "\n".join(lines))
    found = records(opened(path, Reading(delimiter=given)))
    assert found == [("so" if len(delimiter) == 1 else '"so"', "🍕"), ("a dog", "🐶")]


def test_the_digest_changes_with_the_content_and_the_columns_alone(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,name,emoji\npizza,dog,🍕\n")
    same = write(tmp_path, "b.csv", "text,name,emoji\npizza,dog,🍕\n")
    other = write(tmp_path, "c.csv", "text,name,emoji\npizza,cat,🍕\n")
    digest = opened(path).digest()
    assert opened(same).digest() == digest
    assert opened(other).digest() != digest
    assert opened(path, Reading(text_column="name")).digest() != digest


def test_a_text_column_alone_where_no_emoji_are_needed(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text\npizza\n\n \n""\ncake\n')
    (chunk,) = opened(path, needs_emoji=False).chunks()
    assert chunk == Chunk(["pizza", "", "cake"], ["", "", ""])


def is_clear(text: str) -> bool:
    """Whether no line of a text could be taken for a record: it has one line, or no emoji."""
    return not {"\n", "\r"} & set(text) or not EmojiTable.builtin().split(text)


def is_no_mojibake(text: str) -> bool:
    """Whether a text has no two characters in a row that mojibake is made of."""
    return re.search("[\x80-\xff€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]{2}", text) is None


ANY = st.text(st.characters(codec="utf-8", exclude_characters="\0&_:"), max_size=12)
TEXTS = (ANY | st.text('",;|\n\r\t a😀', max_size=12)).filter(is_clear).filter(is_no_mojibake)
EMOJI = st.lists(st.sampled_from(["🍕", "⛩️", "👩🏽‍🚀", "©️"]), min_size=1, max_size=3).map("".join)
FORMS = {
    "a.csv": csv.excel, "a.tsv": csv.excel_tab, "b.csv": "unix", "c.csv": ";", "d.csv": "|",
    "a.jsonl": None, "a.json": None,
}  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(TEXTS, EMOJI), min_size=1, max_size=20), st.integers(1, 25),
    st.sampled_from(sorted(FORMS)), st.booleans(),
)  # fmt: skip
def test_any_rows_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    size: int,
    name: str,
    emoji_first: bool,
) -> None:
    """Written by csv or json in any form, and read without an option."""
    path = tmp_path_factory.getbasetemp() / name
    rows = [("the first text", "🍕"), *rows]
    order = (1, 0) if emoji_first else (0, 1)
    header = ("text", "emoji")
    with path.open("w", encoding="utf-8", newline="") as file:
        form: Any = FORMS[name]
        if form:
            options = {"delimiter": form} if form in (";", "|") else {"dialect": form}
            writer = csv.writer(file, **options)  # type: ignore[arg-type]
            writer.writerows([row[i] for i in order] for row in [header, *rows])
        else:
            dicts = [{header[i]: row[i] for i in order} for row in rows]
            lines = "\n".join(map(json.dumps, dicts))
            file.write(json.dumps(dicts, indent=1) if name == "a.json" else lines)
    found = records(opened(path), size)
    assert found == [(text, emoji) for text, emoji in rows]


# --- refusals -------------------------------------------------------------------------------------


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, TABLE)
    return file.getvalue()


LONG = "text,emoji\n" + "".join(f"pizza number {i},🍕\n" for i in range(20_000))
BAD: dict[str, tuple[str, str | bytes, str]] = {
    "empty": ("a.csv", "", "got the empty file"),
    "blank": ("a.csv", "\n \n", "got the empty file"),
    "header only": ("a.csv", "text,emoji\n", "wanted rows of data"),
    "no list of JSON": ("a.json", "[]", "which is a list of 0"),
    "broken JSON": ("a.json", '{"text": "pizza",\n "emoji": ', "which is not JSON (Expecting"),
    "gzip cut off": ("a.csv.gz", gzip.compress(LONG.encode())[:-20], "cannot be read to its end"),
    "no zip archive": ("a.zip", b"PK\x03\x04 and no more", "cannot be read to its end"),
    "two tables": ("a.zip", zipped("a.csv", "b.csv"), "with 2 files (a.csv, b.csv), wanted a zip"),
    "Parquet cut off": ("a.parquet", parquet({"text": ["a"]})[:-9], "wanted a complete Parquet"),
    "a web page": ("a.csv", "\n<!DOCTYPE html><html>", "which is a web page"),
    "Git LFS": ("a.csv", "version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
    "a picture": ("a.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", "a binary file"),
    "no emoji": ("a.csv", "text,y\npizza,1\n", "such as '1', wanted emoji; map labels"),
    "twice": ("a.csv", "text,x,y\npizza,🍕,🐶\n", "may hold the emoji: 'x' (such as '🍕') and 'y'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(tmp_path: Path, case: str) -> None:
    name, content, wanted = BAD[case]
    path = write(tmp_path, name, content)

    def read() -> None:
        for _ in opened(path).chunks():
            pass

    line = refusal(read)
    assert line.startswith("path: got ")
    assert wanted in line


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", TABLE)
    line = refusal(lambda: opened(path, Reading(text_column="nom")))
    assert line.startswith("text_column: got 'nom', wanted a column of")
    assert "which has 'text', 'emoji'; give one of these names, or its number from 1" in line
    line = refusal(lambda: opened(path, Reading(text_column="3")))
    assert line.startswith("text_column: got '3', wanted a column of")
    line = refusal(lambda: opened(path, Reading(text_column="emoji", emoji_column="emoji")))
    assert "for the texts and the emoji, wanted two columns" in line


def test_labels_of_another_number_of_texts(tmp_path: Path) -> None:
    texts, labels = write(tmp_path, "a.txt", "a\nb\n"), write(tmp_path, "l.txt", "🍕\n")
    line = refusal(lambda: opened(texts, Reading(labels_path=str(labels))))
    assert line.startswith("labels_path: got ")
    assert "with 1 lines for 2 texts" in line
    line = refusal(lambda: opened(texts, Reading(labels_path="no.txt")), MissingFileError)
    assert line.startswith("labels_path: got 'no.txt', wanted a file that exists")
    mapping = write(tmp_path, "m.txt", "0\t🍕\n1\tnothing\n")
    line = refusal(lambda: opened(texts, Reading(label_names=str(mapping))))
    assert line.startswith("label_names: got ")


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    path = write(tmp_path, "a.parquet", parquet({"text": ["a"], "emoji": ["🍕"]}))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert refusal(lambda: opened(path)).endswith("pip install 'emoji_gpt2[parquet]'")


def test_bad_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = refusal(lambda: opened("no.csv"), MissingFileError)
    assert line == "path: got 'no.csv', wanted a file that exists; correct the path"
    os.mkfifo("pipe.csv")
    assert "wanted a regular file" in refusal(lambda: opened("pipe.csv"))
    refusal(lambda: opened("a\nb.csv"), MissingFileError)
