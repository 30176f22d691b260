"""The store: what is written is read, nothing half-written is ever taken for whole."""

import json
import pickle
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoji_gpt2.batch import NO_SOFT_TARGETS, SoftTargets
from emoji_gpt2.data.splits import Split
from emoji_gpt2.data.store import Store, StoreWriter, is_whole, only_writer

ROW = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=8)
ROWS = [[1, 2, 3], [70_000, 5], [6]]


def train_on(rows: Sequence[int]) -> dict[str, Split]:
    return {"train": Split(np.array(rows, dtype=np.int64))}


def flat(rows: Sequence[Sequence[int]]) -> np.ndarray:
    return np.array([token for row in rows for token in row], dtype=np.uint32)


def finish(
    writer: StoreWriter,
    rows: Sequence[Sequence[int]] = ROWS,
    n_prompt: Sequence[int] | None = None,
    soft: SoftTargets = NO_SOFT_TARGETS,
    splits: dict[str, Split] | None = None,
    report: str = "a line",
) -> None:
    lengths = np.array([len(row) for row in rows], np.uint16)
    prompts = np.array([1] * len(rows) if n_prompt is None else n_prompt, np.uint16)
    writer.finish(lengths, prompts, soft, splits or train_on(range(len(rows))), [report])


def write(folder: Path, rows: Sequence[Sequence[int]] = ROWS, report: str = "a line") -> Store:
    one = np.array([1])
    with StoreWriter(folder) as writer:
        writer.add(flat(rows))
        finish(writer, rows, soft=SoftTargets(one, one, one, one / 1), report=report)
    return Store(folder)


@settings(deadline=None)
@given(st.lists(st.lists(ROW, max_size=5), max_size=4), st.data())
def test_rows_come_back_as_they_were_added(
    chunks: list[list[list[int]]], data: st.DataObject
) -> None:
    rows = [row for chunk in chunks for row in chunk]
    prompts = [data.draw(st.integers(0, len(row))) for row in rows]
    answers = [row[: i % 3] for i, row in enumerate(rows)]
    offsets = np.array([sum(map(len, answers[:i])) for i in range(len(rows) + 1)])
    ranked = Split(np.arange(len(rows))[::-1].copy(), flat(answers), offsets)
    splits = train_on([0] if rows else []) | {"val": ranked}
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "deep" / "store"
        with StoreWriter(folder) as writer:
            for chunk in chunks:
                writer.add(flat(chunk))
            finish(writer, rows, prompts, splits=splits, report="é 🍕")
        assert is_whole(folder)
        assert [entry.name for entry in folder.parent.iterdir()] == ["store"]
        for store in (Store(folder), pickle.loads(pickle.dumps(Store(folder)))):
            found = [store.row(i) for i in range(len(rows))]
            assert [(ids.tolist(), n) for ids, n in found] == list(zip(rows, prompts, strict=True))
            assert store.lengths.tolist() == [len(row) for row in rows]
            assert store.report == ["é 🍕"]
            assert list(store.splits) == ["train", "val"]
            assert store.splits["train"].rows.tolist() == ([0] if rows else [])
            assert store.splits["train"].answers is None
            val = store.splits["val"]
            assert val.rows.tolist() == list(reversed(range(len(rows))))
            assert [val.answers_of(i).tolist() for i in range(len(rows))] == answers


SOFT = st.lists(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1, width=32)), max_size=4))


@given(SOFT, st.data())
def test_soft_targets_come_back_for_any_rows_in_any_order(
    of_rows: list[list[tuple[int, float]]], data: st.DataObject
) -> None:
    """Rows of an empty list have no soft targets."""
    asked = data.draw(st.lists(st.integers(0, len(of_rows)), max_size=6))
    rows = [row for row in range(len(of_rows)) if of_rows[row]]
    answers = [answer for row in rows for answer in of_rows[row]]
    targets = SoftTargets(
        np.array(rows, np.uint32),
        np.array([len(of_rows[row]) for row in rows], np.uint16),
        np.array([token for token, _ in answers], np.uint32),
        np.array([share for _, share in answers], np.float32),
    )
    with tempfile.TemporaryDirectory() as parent:
        with StoreWriter(Path(parent) / "store") as writer:
            finish(writer, [], soft=targets)
        soft = Store(Path(parent) / "store").soft_targets(np.array(asked, np.int64))
    of_asked = [of_rows[row] if row < len(of_rows) else [] for row in asked]
    assert soft.rows.tolist() == [place for place, answers in enumerate(of_asked) if answers]
    assert soft.counts.tolist() == [len(answers) for answers in of_asked if answers]
    wanted = [answer for answers in of_asked for answer in answers]
    assert list(zip(soft.tokens.tolist(), soft.probs.tolist(), strict=True)) == wanted


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


def test_a_foreign_folder_is_not_whole(tmp_path: Path) -> None:
    assert not is_whole(tmp_path / "none")
    assert not is_whole(tmp_path)
    whole = json.loads((write(tmp_path / "store").folder / "meta.json").read_text())
    another = json.dumps(whole | {"format": 0})
    for meta in ("", "[]", "null", "3", "{}", '{"format": 1}', '{"format": 1, "sizes": []}', "\xff",
                 another):  # fmt: skip
        (tmp_path / "store" / "meta.json").write_bytes(meta.encode("latin-1"))
        assert not is_whole(tmp_path / "store"), meta
        assert not is_whole(tmp_path / "store" / "meta.json")


class Interrupted(BaseException):
    """Like KeyboardInterrupt: no Exception."""


def break_off(folder: Path, error: type[BaseException]) -> None:
    """Raise ``error`` in the middle of writing other rows than ``ROWS``."""
    with StoreWriter(folder) as writer:
        writer.add(flat([[9], [9]]))
        assert len(list(folder.parent.glob(".store-*"))) == 1
        raise error


@pytest.mark.parametrize("error", [RuntimeError, Interrupted])
def test_an_interrupted_writer_leaves_nothing_behind(
    tmp_path: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        break_off(tmp_path / "store", error)
    assert list(tmp_path.iterdir()) == []


def test_of_two_writers_the_first_wins(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store") as one, StoreWriter(tmp_path / "store") as two:
        one.add(flat([[1]]))
        two.add(flat([[1]]))
        finish(one, [[1]], report="one")
        mapped = Store(tmp_path / "store")  # as another rank may have done by now
        finish(two, [[1]], report="two")
    assert Store(tmp_path / "store").report == ["one"]
    assert mapped.row(0)[0].tolist() == [1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["store"]


def test_one_process_writes_at_a_time_and_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    (tmp_path / ".store-killed").mkdir()
    order = []

    def wait() -> None:
        with only_writer(tmp_path / "store"):
            order.append("other")

    other = threading.Thread(target=wait)
    with only_writer(tmp_path / "store"):
        assert not (tmp_path / ".store-killed").exists()
        other.start()
        other.join(0.2)
        order.append("this")
    other.join()
    assert order == ["this", "other"]
