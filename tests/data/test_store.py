"""The store: what is written is read, nothing half-written is ever taken for whole."""

import json
import pickle
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoji_gpt2.batch import SoftTargets
from emoji_gpt2.data.store import Split, Store, StoreWriter, is_whole

ROW = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=8)
ROWS = [[1, 2, 3], [70_000, 5], [6]]


def train_on(rows: Sequence[int]) -> dict[str, Split]:
    return {"train": Split(np.array(rows, dtype=np.int64))}


def add(writer: StoreWriter, rows: Sequence[Sequence[int]], n_prompt: Sequence[int]) -> None:
    ids = np.array([token for row in rows for token in row], dtype=np.uint32)
    writer.add(ids, np.array([len(row) for row in rows], np.int64), np.array(n_prompt, np.int64))


def write(folder: Path, rows: Sequence[Sequence[int]] = ROWS, report: str = "a line") -> Store:
    with StoreWriter(folder) as writer:
        add(writer, rows, [1] * len(rows))
        one = np.array([1])
        writer.add_soft_targets(SoftTargets(one, one, one.astype(np.uint32), one / 1))
        writer.finish(train_on(range(len(rows))), [report])
    return Store(folder)


@settings(deadline=None)
@given(st.lists(st.lists(ROW, max_size=5), max_size=4), st.data())
def test_rows_come_back_as_they_were_added(
    chunks: list[list[list[int]]], data: st.DataObject
) -> None:
    rows = [row for chunk in chunks for row in chunk]
    prompts = [data.draw(st.integers(0, len(row))) for row in rows]
    answers = [row[: i % 3] for i, row in enumerate(rows)]
    flat = np.array([token for one in answers for token in one], dtype=np.int64)
    offsets = np.array([sum(map(len, answers[:i])) for i in range(len(rows) + 1)])
    ranked = Split(np.arange(len(rows))[::-1].copy(), flat, offsets)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "deep" / "store"
        with StoreWriter(folder) as writer:
            done = 0
            for chunk in chunks:
                add(writer, chunk, prompts[done : done + len(chunk)])
                done += len(chunk)
                assert writer.lengths.values.tolist() == [len(row) for row in rows[:done]]
                assert writer.n_prompt.values.tolist() == prompts[:done]
            writer.finish(train_on([0] if rows else []) | {"val": ranked}, ["é", "🍕"])
        assert is_whole(folder)
        assert [entry.name for entry in folder.parent.iterdir()] == ["store"]
        for store in (Store(folder), pickle.loads(pickle.dumps(Store(folder)))):
            found = [store.row(i) for i in range(len(rows))]
            assert [(ids.tolist(), n) for ids, n in found] == list(zip(rows, prompts, strict=True))
            assert store.lengths.tolist() == [len(row) for row in rows]
            assert store.report == ["é", "🍕"]
            assert list(store.splits) == ["train", "val"]
            assert store.splits["train"].rows.tolist() == ([0] if rows else [])
            assert store.splits["train"].answers is None
            val = store.splits["val"]
            assert val.rows.tolist() == list(reversed(range(len(rows))))
            assert [val.answers_of(i).tolist() for i in range(len(rows))] == answers


def test_a_store_of_no_rows(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store") as writer:
        assert len(writer.lengths.values) == len(writer.n_prompt.values) == 0
        none = Split(np.empty(0, np.int64), np.empty(0, np.int64), np.zeros(1, np.int64))
        writer.finish({"train": Split(np.empty(0, np.int64)), "val": none}, [])
    store = Store(tmp_path / "store")
    assert is_whole(tmp_path / "store")
    assert (len(store.lengths), len(store.splits["train"]), len(store.splits["val"])) == (0, 0, 0)


SOFT = st.lists(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1, width=32)), max_size=4))


@given(SOFT, st.data())
def test_soft_targets_come_back_for_any_rows_in_any_order(
    of_rows: list[list[tuple[int, float]]], data: st.DataObject
) -> None:
    """Rows are added in two chunks; those of an empty list have no soft targets."""
    cut = data.draw(st.integers(0, len(of_rows)))
    asked = data.draw(st.lists(st.integers(0, len(of_rows)), max_size=6))
    with tempfile.TemporaryDirectory() as parent:
        with StoreWriter(Path(parent) / "store") as writer:
            for part in (range(cut), range(cut, len(of_rows))):
                rows = [row for row in part if of_rows[row]]
                flat = [answer for row in rows for answer in of_rows[row]]
                writer.add_soft_targets(
                    SoftTargets(
                        np.array(rows, np.uint32),
                        np.array([len(of_rows[row]) for row in rows], np.uint16),
                        np.array([token for token, _ in flat], np.uint32),
                        np.array([share for _, share in flat], np.float32),
                    )
                )
            writer.finish(train_on([]), [])
        soft = Store(Path(parent) / "store").soft_targets(np.array(asked, np.int64))
    of_asked = [of_rows[row] if row < len(of_rows) else [] for row in asked]
    assert soft.rows.tolist() == [place for place, answers in enumerate(of_asked) if answers]
    assert soft.counts.tolist() == [len(answers) for answers in of_asked if answers]
    wanted = [answer for answers in of_asked for answer in answers]
    assert list(zip(soft.tokens.tolist(), soft.shares.tolist(), strict=True)) == wanted


def test_a_pickled_store_is_an_address(tmp_path: Path) -> None:
    store = write(tmp_path / "store", [[1] * 1000] * 100)
    assert len(pickle.dumps(store)) < 1000


def test_what_is_mapped_cannot_be_written(tmp_path: Path) -> None:
    ids, _ = write(tmp_path / "store").row(0)
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 9


def test_a_folder_with_any_file_missing_short_or_long_is_not_whole(tmp_path: Path) -> None:
    write(tmp_path / "store")
    names = sorted(entry.name for entry in (tmp_path / "store").iterdir())
    assert {"ids.bin", "lengths.npy", "meta.json", "train.rows.npy"} <= set(names)
    for name in names:
        for harm in ("gone", "short", "long"):
            copy = tmp_path / f"{name}-{harm}"
            shutil.copytree(tmp_path / "store", copy)
            assert is_whole(copy)
            content = (copy / name).read_bytes()
            if harm == "gone":
                (copy / name).unlink()
            else:
                (copy / name).write_bytes(content[:-1] if harm == "short" else content + b"}")
            assert not is_whole(copy), (name, harm)


@pytest.mark.parametrize(
    "meta", ["", "[]", "null", "3", "{}", '{"format": 1}', '{"format": 1, "sizes": []}', "\xff"]
)
def test_a_foreign_folder_is_not_whole(tmp_path: Path, meta: str) -> None:
    (tmp_path / "meta.json").write_bytes(meta.encode("latin-1"))
    assert not is_whole(tmp_path)


def test_no_folder_an_empty_one_a_file_and_another_format_are_not_whole(tmp_path: Path) -> None:
    assert not is_whole(tmp_path / "none")
    assert not is_whole(tmp_path)
    (tmp_path / "file").write_text("x")
    assert not is_whole(tmp_path / "file")
    write(tmp_path / "store")
    meta = tmp_path / "store" / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"format": 0}))
    assert not is_whole(tmp_path / "store")


class Interrupted(BaseException):
    """Like KeyboardInterrupt: no Exception."""


def break_off(folder: Path, error: type[BaseException]) -> None:
    """Raise ``error`` in the middle of writing other rows than ``ROWS``."""
    with StoreWriter(folder) as writer:
        add(writer, [[9], [9]], [1, 1])
        assert len(list(folder.parent.glob(".store-*"))) == 1
        raise error


@pytest.mark.parametrize("error", [RuntimeError, Interrupted])
def test_an_interrupted_writer_leaves_nothing_behind(
    tmp_path: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        break_off(tmp_path / "store", error)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_writer_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "store")
    with pytest.raises(RuntimeError):
        break_off(tmp_path / "store", RuntimeError)
    assert Store(tmp_path / "store").row(0)[0].tolist() == [1, 2, 3]


def test_a_writer_that_never_finishes_leaves_nothing_behind(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store") as writer:
        add(writer, ROWS, [1, 1, 1])
    assert list(tmp_path.iterdir()) == []


def test_of_two_writers_the_first_wins(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store") as one, StoreWriter(tmp_path / "store") as two:
        add(one, [[1]], [0])
        add(two, [[1]], [0])
        one.finish(train_on([0]), ["one"])
        mapped = Store(tmp_path / "store")  # as another rank may have done by now
        two.finish(train_on([0]), ["two"])
    assert Store(tmp_path / "store").report == ["one"]
    assert mapped.row(0)[0].tolist() == [1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["store"]


def test_a_truncated_folder_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "store", report="old")
    (tmp_path / "store" / "ids.bin").write_bytes(b"")
    assert write(tmp_path / "store", report="new").report == ["new"]
    assert is_whole(tmp_path / "store")
