"""EmojiDataModule from files to batches; batches are decoded and compared with the files."""

import csv
import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn
from transformers import GPT2Tokenizer

from emoji_gpt2.batch import Batch
from emoji_gpt2.data.datamodule import EmojiDataModule, default_cache_dir
from emoji_gpt2.data.loader import RowLoader
from emoji_gpt2.data.prepare import Preparation
from emoji_gpt2.data.store import is_whole
from emoji_gpt2.emoji.descriptions import keyword_split
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.emoji.text import normalize_text
from emoji_gpt2.errors import UserError
from emoji_gpt2.tokenizer import add_emoji_tokens, builtin_gpt2_tokenizer
from tests import tiny

TABLE = EmojiTable.builtin()
EOS, END = 50_256, 54_201
FOOD = "🍕🍔🌮🍣"
KAGGLE = "emoji,name,group,sub_group,codepoints"


class Row(NamedTuple):
    """What a model is shown and asked for: the text, its emoji, all emoji that count as a hit."""

    text: str
    emoji: str
    answers: frozenset[str]


@cache
def tokenizer() -> GPT2Tokenizer:
    return add_emoji_tokens(builtin_gpt2_tokenizer())[0]


def write(path: Path, rows: Iterable[tuple[str, ...]], header: str = "name,emoji") -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return str(path)


def spare(n: int = 40, emoji: str = FOOD) -> list[tuple[str, str]]:
    """Rows with many texts per emoji, of different lengths."""
    return [(f"text {i}" + " more" * (i % 7), emoji[i % len(emoji)]) for i in range(n)]


def module(tmp_path: Path, path: str | None = None, **options: Any) -> EmojiDataModule:
    return quick(EmojiDataModule(path, **{"cache_dir": str(tmp_path / "cache")} | options))


def quick(data: EmojiDataModule) -> EmojiDataModule:
    data._tokenizer = tokenizer()  # made once for all tests: it takes half a second
    return data


def ready(tmp_path: Path, path: str | None = None, **options: Any) -> EmojiDataModule:
    return tiny.ready(module(tmp_path, path, **options))


def of_built_in(tmp_path: Path, **options: Any) -> EmojiDataModule:
    """Names and keywords of the table, in the cache of all tests."""
    return ready(tmp_path, cache_dir=str(tmp_path.parent / "rows"), **options)


def decoded(batch: Batch) -> Iterator[Row]:
    """Take a batch apart by the tokens in it, and check its shape on the way."""
    width = batch.ids_BT.shape[1]
    labels: dict[int, list[int]] = {}
    for position, label in zip(batch.positions_N.tolist(), batch.labels_N.tolist(), strict=True):
        labels.setdefault(position // width, []).append(label)
        assert (
            position == int(batch.first_B[position // width]) + len(labels[position // width]) - 1
        )
    for number, ids in enumerate(batch.ids_BT.tolist()):
        end = ids.index(END)
        assert int(batch.first_B[number]) == number * width + end
        *emoji, last = labels[number]
        assert last == EOS
        assert ids[end + 1 : end + 1 + len(emoji)] == emoji
        assert set(ids[end + 1 + len(emoji) :]) <= {EOS}
        answers = [token for token in batch.answers_BK[number].tolist() if token != -1]
        assert len(set(answers)) == len(answers)
        yield Row(
            tokenizer().decode(ids[:end]).removeprefix(" "),
            tokenizer().decode(emoji),
            frozenset(tokenizer().decode([token]) for token in answers),
        )


def rows_of(loader: RowLoader | list[RowLoader]) -> list[Row]:
    assert not isinstance(loader, list)
    return [row for batch in loader for row in decoded(batch)]


def all_rows(data: EmojiDataModule) -> dict[str, list[Row]]:
    return {
        "train": rows_of(data.train_dataloader()),
        "val": rows_of(data.val_dataloader()),
        "test": rows_of(data.test_dataloader()),
    }


def pairs(rows: Iterable[Row]) -> Counter[tuple[str, str]]:
    return Counter((row.text, row.emoji) for row in rows)


def refusal(call: Callable[[], object]) -> str:
    """The line that a call is refused with."""
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def stores(tmp_path: Path) -> dict[str, int]:
    """The prepared stores and when each was written."""
    found = (tmp_path / "cache" / "rows").glob("*/meta.json")
    return {meta.parent.name: meta.stat().st_mtime_ns for meta in found}


def store_of(data: EmojiDataModule) -> Path:
    """Where the rows of a data module are kept."""
    sources = data.config.sources(data.cache_dir)
    return data.config.folder(sources, data.tokenizer, data.cache_dir)


def kept(folder: Path) -> list[Path]:
    """What is in a folder of the cache, but for locks."""
    return [path for path in folder.iterdir() if path.suffix != ".lock"]


def test_batches_hold_exactly_the_rows_of_the_file(tmp_path: Path) -> None:
    rows = [*spare(), ("two  “Things”", "🍕🍔"), ("red heart", "❤"), ("ask <|emoji|> 🍕 now", "🌮")]
    data = ready(tmp_path, write(tmp_path / "a.csv", rows), val_fraction=0.1, test_fraction=0.2)
    parts = all_rows(data)
    wanted = [
        *spare(),
        ('two "things"', "🍕🍔"),
        ("red heart", "❤️"),
        ("ask <|emoji|>🍕 now", "🌮"),  # no space is read before an emoji
    ]
    assert sum(map(pairs, parts.values()), Counter()) == Counter(wanted)
    texts = {name: {row.text for row in part} for name, part in parts.items()}
    assert {name: len(found) for name, found in texts.items()} == {"train": 30, "val": 4, "test": 9}
    assert not texts["train"] & (texts["val"] | texts["test"])
    assert not texts["val"] & texts["test"]
    assert "red heart" in texts["train"]  # its emoji's only text
    assert all(row.answers == frozenset() for row in parts["train"])
    assert all(row.answers == {row.emoji} for row in parts["val"] if len(row.emoji) == 1)
    assert data.report == [
        "a.csv: 43 rows read, 5 emoji kept in 43 examples, 0 variants merged",
        "rows by split: train 30, val 4, test 9",
    ]


def test_a_held_out_text_takes_all_its_rows_along(tmp_path: Path) -> None:
    rows = [(f"Text {i}", e) for i in range(40) for e in FOOD[i % 2 : i % 2 + 2]]
    spelled = [(text.upper() + " ", emoji) for text, emoji in rows]  # the same, normalised
    data = ready(tmp_path, write(tmp_path / "a.csv", rows + spelled), val_fraction=0.2)
    parts = all_rows(data)
    assert sum(map(pairs, parts.values()), Counter()) == Counter(
        (text.lower(), emoji) for text, emoji in rows
    )
    assert "80 variants merged" in data.report[0]
    assert not {row.text for row in parts["train"]} & {row.text for row in parts["val"]}
    for part in (parts["val"], parts["test"]):
        by_text: dict[str, list[Row]] = {}
        for row in part:
            by_text.setdefault(row.text, []).append(row)
        for text, found in by_text.items():
            union = {emoji for other, emoji in rows if other.lower() == text}
            assert {row.emoji for row in found} == union
            assert sorted(row.answers for row in found) == [frozenset(), frozenset(union)]


def kaggle_like(path: Path, n: int = 60) -> str:
    """Write Kaggle's columns: one name per emoji, and the unqualified spellings as rows too."""
    rows = []
    for emoji in list(TABLE)[:n]:
        for spelling in dict.fromkeys([emoji, emoji.replace("\ufe0f", "")]):
            codes = " ".join(f"{ord(char):X}" for char in spelling)
            rows.append((spelling, TABLE.name(emoji), "a group", "a sub-group", codes))
    return write(path, rows, KAGGLE)


def test_a_source_of_one_text_per_emoji_validates_on_keywords(tmp_path: Path) -> None:
    data = ready(tmp_path, kaggle_like(tmp_path / "emoji_df.csv", 200))
    parts = all_rows(data)
    assert pairs(parts["train"]) == Counter(
        (normalize_text(TABLE.name(e)), e) for e in list(TABLE)[:200]
    )
    merged = sum("\ufe0f" in emoji for emoji in list(TABLE)[:200])
    assert merged > 0
    assert data.report[0] == (
        f"emoji_df.csv: {200 + merged} rows read, 200 emoji kept in 200 examples, "
        f"{merged} variants merged"
    )
    train_texts = {row.text for row in parts["train"]}
    for name in ("val", "test"):
        part = parts[name]
        assert len(part) > 20
        for row in part:
            assert row.text in map(normalize_text, TABLE.keywords(row.emoji))
            assert row.emoji in list(TABLE)[:200]
            assert row.text not in train_texts
            assert keyword_split(row.text) == name
            assert row.answers == frozenset() or row.emoji in row.answers
            assert all(row.text in map(normalize_text, TABLE.keywords(e)) for e in row.answers)
        for text in {row.text for row in part}:
            answers = [row.answers for row in part if row.text == text and row.answers]
            assert answers == [frozenset(row.emoji for row in part if row.text == text)]
    for line, part, name in ((1, "val", "validation"), (2, "test", "test")):
        assert data.report[line].startswith(f"built-in keywords for {name}: ")
        assert f"in {len(parts[part])} examples" in data.report[line]
        assert "embeddings begin with" not in data.report[line]
    two = ready(tmp_path, write(tmp_path / "a.csv", [("pizza", "🍕"), ("slice of pizza", "🍕")]))
    assert len(rows_of(two.train_dataloader())) == 1
    assert len(rows_of(two.val_dataloader())) == 1, "where one text can be spared it validates"


def test_val_path_and_test_path(tmp_path: Path) -> None:
    val = [(f"other {i}", "🍕") for i in range(5)] + [("other 0", "🍔")]
    test = [("third", "🌮")]
    data = ready(
        tmp_path,
        write(tmp_path / "a.csv", spare()),
        val_path=write(tmp_path / "val.csv", val),
        test_path=write(tmp_path / "test.csv", test),
    )
    parts = all_rows(data)
    assert pairs(parts["train"]) == Counter(spare())
    assert pairs(parts["val"]) == Counter(val)
    assert parts["test"] == [Row("third", "🌮", frozenset("🌮"))]
    answers = sorted(row.answers for row in parts["val"] if row.text == "other 0")
    assert answers == [frozenset(), frozenset("🍕🍔")]
    assert [line.partition(":")[0] for line in data.report[:3]] == ["a.csv", "val.csv", "test.csv"]
    paths = {"path": str(tmp_path / "a.csv"), "val_path": str(tmp_path / "val.csv")}
    parts = all_rows(ready(tmp_path, **paths, test_fraction=0.1))
    assert pairs(parts["val"]) == Counter(val)
    assert (len(parts["train"]), len(parts["test"])) == (36, 4)


def test_built_in_data(tmp_path: Path) -> None:
    """Names, and keywords of up to 16 emoji where the table has no tones; a hash splits these."""
    parts = all_rows(of_built_in(tmp_path, batch_size=512))
    names = {(normalize_text(TABLE.name(emoji)), emoji) for emoji in TABLE}
    assert len(names) == 3_944
    of_keyword: dict[str, set[str]] = {}
    for emoji in TABLE:
        for keyword in TABLE.keywords(emoji) if not TABLE.tones(emoji) else ():
            of_keyword.setdefault(normalize_text(keyword), set()).add(emoji)
    texts = {text for text, _ in names}
    few = {k: of for k, of in of_keyword.items() if len(of) <= 16 and k not in texts}
    for part, rows in parts.items():
        wanted = {(k, e) for k, of in few.items() for e in of if keyword_split(k) == part}
        assert pairs(rows) == Counter(wanted | (names if part == "train" else set()))
        share = len({k for k, _ in wanted}) / len(few)
        assert share == pytest.approx(0.9 if part == "train" else 0.05, abs=0.015)
    assert list(TABLE) == [tokenizer().decode([50_257 + i]) for i in range(3_944)]


def test_texts_that_embeddings_begin_with_are_no_new_ones(tmp_path: Path) -> None:
    """Neither are they held out of a source, nor silently validated on."""
    known = [(TABLE.name(e), e) for e in FOOD] + [("cheese", "🍕"), ("Fish", "🍣")]
    path = write(tmp_path / "a.csv", [*known, *spare(8)])
    val = write(tmp_path / "val.csv", [("cheese", "🍕"), ("text 0", "🍕"), ("other", "🍕")])
    data = ready(tmp_path, path, val_fraction=0.5, test_fraction=0.5)
    parts = all_rows(data)
    assert {row.text for row in parts["train"]} == {normalize_text(text) for text, _ in known}
    assert pairs(parts["val"] + parts["test"]) == Counter(spare(8))
    data = ready(tmp_path, path, val_path=val, test_fraction=0)
    assert "2 with text that is also trained on" in data.report[1]
    assert "1 with text that embeddings begin with" in data.report[1]


def test_each_row_once_an_epoch_in_another_order_and_the_same_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", spare(100))
    one, two, other = (ready(tmp_path, path, batch_size=8, seed=seed) for seed in (0, 0, 1))
    loader = one.train_dataloader()
    first, second = rows_of(loader), rows_of(loader)
    assert first != second
    assert pairs(first) == pairs(second)
    assert len(loader) == math.ceil(len(first) / 8)
    assert rows_of(two.train_dataloader()) == first
    assert rows_of(other.train_dataloader()) != first
    assert rows_of(one.val_dataloader()) == rows_of(two.val_dataloader())


def test_a_worker_process_gives_the_same_batches(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", spare())
    one, none = (ready(tmp_path, path, batch_size=8, num_workers=n) for n in (1, 0))
    for name in ("train_dataloader", "val_dataloader"):
        loaders = getattr(one, name)(), getattr(none, name)()
        for _ in range(2):
            batches = [list(loader) for loader in loaders]
            assert len(batches[0]) == len(batches[1]) > 0
            for left, right in zip(*batches, strict=True):
                for mine, its in zip(left, right, strict=True):
                    assert torch.equal(mine, its) if torch.is_tensor(mine) else mine == its


def test_prepare_is_done_once_and_the_cache_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    run = Preparation.run
    monkeypatch.setattr(Preparation, "run", lambda self, s: (runs.append(1), run(self, s)))
    path = write(tmp_path / "a.csv", spare())
    before = all_rows(ready(tmp_path, path, batch_size=8))
    written = stores(tmp_path)
    assert len(written) == 1
    # What does not change the rows does not change the store: the file's place, batches, the seed.
    copy = write(tmp_path / "elsewhere.csv", spare())
    again = ready(tmp_path, copy, batch_size=4, seed=7)
    assert stores(tmp_path) == written
    assert len(runs) == 1
    after = all_rows(again)
    assert {n: Counter(rows) for n, rows in before.items()} == {
        n: Counter(rows) for n, rows in after.items()
    }
    assert again.report[0].startswith("elsewhere.csv: ")
    assert "a.csv" not in "\n".join(again.report), "the name is that of the file given"


def test_what_changes_the_rows_makes_another_store(tmp_path: Path) -> None:
    rows = [(text, emoji, f"other {text}") for text, emoji in spare()]
    path = write(tmp_path / "a.csv", rows, "name,emoji,other")
    older = builtin_gpt2_tokenizer()
    older.backend_tokenizer.add_tokens(["🍕"])
    other_ids = module(tmp_path, path)
    other_ids._tokenizer = add_emoji_tokens(older)[0]
    of_options = [
        {},
        {"max_length": 64},
        {"skin_tones": "drop"},
        {"val_fraction": 0.2},
        {"test_fraction": 0.0},
        {"text_column": "other"},
        {"val_path": path},
        {"encoding": "utf-8-sig"},
    ]
    all_of_them = [other_ids, *(module(tmp_path, path, **options) for options in of_options)]
    assert len({store_of(data) for data in all_of_them}) == len(all_of_them)


def test_a_changed_file_makes_another_store(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", spare())
    times = Path(path).stat()
    ready(tmp_path, path)
    write(tmp_path / "a.csv", [("text 0", "🍣"), *spare()[1:]])  # as long as it was
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    data = ready(tmp_path, path)
    assert len(stores(tmp_path)) == 2
    assert ("text 0", "🍣") in sum(map(pairs, all_rows(data).values()), Counter())


def test_a_truncated_store_is_written_again_which_a_line_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.csv", spare())
    wanted = all_rows(ready(tmp_path, path))
    (folder,) = kept(tmp_path / "cache" / "rows")
    ids = (folder / "ids.bin").read_bytes()
    (folder / "ids.bin").write_bytes(ids[:-4])
    with caplog.at_level(logging.WARNING):
        data = ready(tmp_path, path)
    assert is_whole(folder)
    assert (folder / "ids.bin").read_bytes() == ids
    assert all_rows(data) == wanted
    (line,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert line == f"the cache {folder} is truncated or foreign: it is written again"
    assert kept(folder.parent) == [folder]


def test_made_up_texts_are_trained_on_and_nowhere_else(tmp_path: Path) -> None:
    """They have several answers, and no other row has."""
    without = all_rows(of_built_in(tmp_path))
    data = of_built_in(tmp_path, made_up_texts=200)
    rows = all_rows(data)
    assert rows["val"] == without["val"]
    assert rows["test"] == without["test"]
    made_up = pairs(rows["train"]) - pairs(without["train"])
    assert made_up.total() == 200
    held_out = {row.text for row in rows["val"] + rows["test"]}
    assert not held_out & {text for text, _ in made_up}
    assert any(" " in text for text, _ in made_up)
    (line,) = [line for line in data.report if line.startswith("synthetic texts")]
    assert line.startswith("synthetic texts: 200 rows read")
    assert "in 200 examples, 0 variants merged" in line

    known = {row.text for row in without["train"]}
    soft = 0
    for batch in data.train_dataloader():
        shares: dict[int, dict[str, float]] = {}
        row_of = (batch.positions_N // batch.ids_BT.shape[1])[batch.soft_indices_M].tolist()
        tokens, parts = batch.soft_tokens_M.tolist(), batch.soft_probs_M.tolist()
        for row, token, share in zip(row_of, tokens, parts, strict=True):
            shares.setdefault(row, {})[tokenizer().decode([token])] = share
        assert batch.positions_N[batch.soft_indices_M].tolist() == batch.first_B[row_of].tolist()
        for number, row in enumerate(decoded(batch)):
            assert number in shares or row.text in known
            if number in shares:
                assert row.emoji in shares[number]
                assert not any(map(TABLE.tones, shares[number]))
                assert sum(shares[number].values()) == pytest.approx(1, abs=1e-6)
        soft += len(shares)
    assert soft == 200


def test_made_up_texts_leave_out_what_is_validated_on_beside_a_table(tmp_path: Path) -> None:
    """One text per emoji, so built-in keywords are tested on; a val_path of one's own."""
    names = [(TABLE.name(e), e) for e in TABLE if not TABLE.tones(e)][:300]
    words = ("flag", "sport", "fairytale")  # the 4,000 hold them otherwise
    val = [(word, "🍕") for word in words]
    path, val_path = write(tmp_path / "a.csv", names), write(tmp_path / "val.csv", val)
    rows = all_rows(ready(tmp_path, path, val_path=val_path, made_up_texts=4000))
    assert rows["val"]
    assert rows["test"]
    assert not {row.text for row in rows["val"] + rows["test"]} & {r.text for r in rows["train"]}


def test_predictions_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    texts = [f"{'long ' * (i % 5)}Text {i}" for i in range(20)]
    path = write(tmp_path / "texts.csv", [(text,) for text in texts], "text")
    data = module(tmp_path, predict_path=path, batch_size=6)
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        state=SimpleNamespace(fn=TrainerFn.PREDICTING)
    )
    data.prepare_data()  # there are no rows to prepare
    assert not (tmp_path / "cache" / "rows").exists()
    data.setup("predict")
    loader = data.predict_dataloader()
    assert len(loader) == 4
    batches = list(loader)
    prompts = []
    for batch in batches:
        width = batch.ids_BT.shape[1]
        for number, ids in enumerate(batch.ids_BT.tolist()):
            end = ids.index(END)
            assert int(batch.first_B[number]) == number * width + end
            prompts.append(tokenizer().decode(ids[:end]).removeprefix(" "))
        assert set(batch.answers_BK.flatten().tolist()) == {-1}
    assert prompts == [text.lower() for text in texts]


def test_predict_path_with_an_empty_text_and_without_a_path(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    line = refusal(lambda: module(tmp_path).predict_dataloader())
    assert line.startswith("predict_path: got none, wanted")
    path = write(tmp_path / "texts.csv", [("", "x"), ("fine", "x"), (" ", "x")], "text,other")
    data = module(tmp_path, predict_path=path)
    with caplog.at_level(logging.INFO):
        data.setup("predict")
    assert data.predict_dataloader().dataset.texts == ["fine"]
    assert "texts.csv: 2 of 3 rows have no text" in caplog.messages


def test_an_argument_out_of_range_is_refused() -> None:
    for name, value in (
        ("batch_size", 0),
        ("batch_size", -1),
        ("max_length", 3),
        ("max_length", 1025),
        ("skin_tones", "some"),
        ("val_fraction", 0.51),
        ("val_fraction", -0.1),
        ("test_fraction", math.nan),
        ("seed", -1),
        ("num_workers", -1),
    ):
        line = refusal(lambda options={name: value}: EmojiDataModule(**options))
        assert line.startswith(f"{name}: got {value!r}, wanted ")


@pytest.mark.parametrize(
    "options",
    [
        {"path": "none.csv"},
        {"path": "a.doc"},
        {"path": "a.csv", "text_column": "other"},
        {"path": "a.csv", "val_path": "none.csv"},
        {"path": "a.csv", "test_path": "texts.csv"},
        {"path": "a.csv", "cache_dir": "a.csv"},
        {"path": "a.csv", "cache_dir": "a.csv/below"},
        {"path": "a.csv", "encoding": "no-such-codec"},
        {"path": "a.csv", "tokenizer": "./no-such-folder"},
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.csv", spare())
    write(tmp_path / "texts.csv", [("a",)], "text")
    data = EmojiDataModule(**{"cache_dir": "cache"} | options)
    assert refusal((data if "tokenizer" in options else quick(data)).prepare_data)


def test_rows_before_they_are_prepared_are_refused(tmp_path: Path) -> None:
    data = module(tmp_path, write(tmp_path / "a.csv", spare()))
    assert "call prepare_data() and setup() first" in refusal(lambda: data.store)
    assert "prepare_data()" in refusal(lambda: data.setup("fit"))


@pytest.mark.parametrize("argument", ["path", "val_path", "test_path"])
def test_no_row_with_an_emoji_is_refused_with_the_reasons(tmp_path: Path, argument: str) -> None:
    bad = write(tmp_path / "bad.csv", [("pizza", "pizza"), ("hat", "hat"), ("a", "")])
    paths = {"path": write(tmp_path / "a.csv", spare())} | {argument: bad}
    line = refusal(module(tmp_path, **paths).prepare_data)
    assert line.startswith(f"{argument}: got ")
    assert "whose column 'emoji' has no emoji, such as 'pizza', wanted emoji; map labels" in line


def test_dropped_cells_are_printed_and_stand_in_no_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first line says how the source is read, the next are the report."""
    path = write(tmp_path / "a.csv", [*spare(), ("a diary", "secret words"), ("b", "more of them")])
    caplog.set_level(logging.INFO, "lightning.pytorch")
    for _ in range(2):  # the second time from the cache
        caplog.clear()
        data = ready(tmp_path, path)
        assert caplog.messages[0].startswith("a.csv: separated by ',', utf-8; texts: 'name', emoji")
        assert caplog.messages[1:3] == data.report
        assert caplog.messages[3:] == [
            "a.csv: no emoji in the row, such as 'secret words', 'more of them'"
        ]
        assert "2 no emoji in the row" in data.report[0]
        assert "secret" not in "".join(data.report)


def test_secrets_of_an_address_are_not_kept(tmp_path: Path) -> None:
    data = EmojiDataModule("https://me:hunter2@host/a.csv?key=hunter2&raw=1", val_path=["a?b"])
    assert data.hparams["path"] == "https://host/a.csv?key=***&raw=1"
    assert data.hparams["val_path"] == ["a?b"]


def test_a_row_is_cut_to_max_length_and_counted(tmp_path: Path) -> None:
    rows = [("word " * 100, "🍕"), ("many", "🍔" * 500), ("both " * 100, "🌮" * 500), ("a b", "🍕")]
    data = ready(
        tmp_path,
        write(tmp_path / "a.csv", rows),
        max_length=16,
        val_path=write(tmp_path / "val.csv", rows[:1]),
        test_fraction=0,
    )
    train = {row.text.split()[0]: row for row in rows_of(data.train_dataloader())}
    assert train["word"].text == " ".join(["word"] * 13)
    assert train["word"].emoji == "🍕"
    assert (train["many"].text, train["many"].emoji) == ("many", "🍔" * 7)
    assert (train["both"].text, train["both"].emoji) == (" ".join(["both"] * 7), "🌮" * 7)
    assert (train["a"].text, train["a"].emoji) == ("a b", "🍕")
    assert max(data.store.lengths) == 16
    assert data.report[0].endswith(
        "; 2 with text longer than max_length 16 (cut), "
        "2 with more than 7 emoji (cut: max_length 16)"
    )


@pytest.mark.parametrize("max_length", [4, 5])
def test_the_shortest_rows(tmp_path: Path, max_length: int) -> None:
    path = write(tmp_path / "a.csv", [("hello world again", "🍕🍔"), ("hello", "🍕")])
    data = ready(tmp_path, path, max_length=max_length, val_fraction=0, test_fraction=0)
    assert (data.val_dataloader(), data.test_dataloader()) == ([], [])
    text = "hello" if max_length == 4 else "hello world"
    assert sorted(rows_of(data.train_dataloader())) == [
        Row("hello", "🍕", frozenset()), Row(text, "🍕", frozenset())
    ]  # fmt: skip


def test_the_module_s_own_tokenizer_and_default_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "emoji_gpt2"
    data = EmojiDataModule(write(tmp_path / "a.csv", spare()))
    assert data.tokenizer.get_vocab() == tokenizer().get_vocab()
    data.prepare_data()
    assert len(kept(tmp_path / "emoji_gpt2" / "rows")) == 1
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache_dir() == tmp_path / "home" / ".cache" / "emoji_gpt2"


def test_a_frame_gives_the_rows_of_the_same_table_in_a_file(tmp_path: Path) -> None:
    rows = [("pizza\rpie", "🍕"), ("NA", "🚀"), ('a "quoted", one', "🐱"), ("pizza slice", "🍕")]
    path = write(tmp_path / "table.csv", rows, "text,emoji")
    frame = pd.DataFrame(rows, columns=["text", "emoji"])

    def stored(data: EmojiDataModule) -> list[list[int]]:
        tiny.ready(quick(data))
        return [data.store.row(number)[0].tolist() for number in range(len(data.store.lengths))]

    from_frame = EmojiDataModule.from_frame(frame, cache_dir=str(tmp_path / "a"))
    assert stored(from_frame) == stored(module(tmp_path, path))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["rows"]


def test_a_frame_is_copied_its_other_columns_do_not_count_and_gaps_are_empty(
    tmp_path: Path,
) -> None:
    frame = pd.DataFrame({"text": [*"abcd", None, 6], "emoji": ["🍕"] * 6, "other": range(6)})
    data = quick(EmojiDataModule.from_frame(frame, cache_dir=str(tmp_path)))
    frame["text"] = "changed"
    tiny.ready(data)
    assert data.report[0] == (
        "DataFrame: 6 rows read, 1 emoji kept in 5 examples, 0 variants merged; dropped: "
        "1 empty text"
    )
    frame["text"] = [*"abcd", None, 6]
    again = EmojiDataModule.from_frame(frame.drop(columns="other"), cache_dir=str(tmp_path))
    quick(again).setup("fit")  # the same rows are there
    texts = quick(EmojiDataModule.from_frame(frame[["text"]], cache_dir=str(tmp_path)))
    assert refusal(texts.prepare_data) == (
        "path: got 'DataFrame', a list of texts without emoji, wanted texts with emoji; give the "
        "file of their labels with labels_path"
    )


def test_tones_are_dropped_in_any_language(tmp_path: Path) -> None:
    rows = [
        ("mão a acenar: tipo de pele 4", "👋🏽"),
        ("mão a acenar", "👋"),
        ("boa sorte: vamos", "👍🏽"),
        ("obrigado", "🙏🏽"),
    ]
    path = write(tmp_path / "pt.csv", rows)
    data = ready(tmp_path, path, skin_tones="drop", val_fraction=0, test_fraction=0)
    assert data.report[0] == (
        "pt.csv: 4 rows read, 3 emoji kept in 3 examples, 0 variants merged; dropped: "
        "1 text names a skin tone; 1 with emoji without the tone that it had, the text unchanged"
    )
    kept = ready(tmp_path, path, val_fraction=0, test_fraction=0)
    assert kept.report[0].startswith("pt.csv: 4 rows read, 4 emoji kept in 4 examples")
