"""Splits against plain dictionaries: held-out texts are new, their emoji known, none is lost."""

import hashlib
from typing import NamedTuple

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from emoji_gpt2.data.splits import Split, TextIndex, text_index

Row = tuple[str, tuple[int, ...]]
EMOJI = st.integers(50_257, 50_262)
ROWS = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.lists(EMOJI, min_size=1, max_size=3).map(tuple)),
    min_size=1,
    max_size=30,
)


def hash_of(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def index_of(rows: list[Row], used: list[int] | None = None) -> TextIndex:
    """Index the rows numbered ``used`` among all ``rows``."""
    numbers = np.arange(len(rows)) if used is None else np.array(used)
    hashes = np.array([hash_of(text) for text, _ in rows], dtype=np.uint64)
    tokens = np.array([token for _, emoji in rows for token in emoji], dtype=np.uint16)
    n_emoji = np.array([len(emoji) for _, emoji in rows], dtype=np.uint16)
    return text_index(numbers, hashes, tokens, n_emoji)


class Parts(NamedTuple):
    train: list[int]
    val: Split
    test: Split
    held_out: set[str]


def parts_of(
    rows: list[Row], wanted: int, used: list[int] | None = None, train_only: str = ""
) -> Parts:
    """Split as a user of the module does: hold out texts and share them between val and test."""
    index = index_of(rows, used)
    text_of = {hash_of(text): text for text, _ in rows}
    texts = [text_of[int(h)] for h in index.hashes]
    allowed = np.array([text not in train_only for text in texts], dtype=bool)
    held_out = index.hold_out(wanted, allowed)
    half = len(held_out) // 2
    return Parts(
        index.training_split(held_out).rows.tolist(),
        index.evaluation_split(held_out[:half]),
        index.evaluation_split(held_out[half:]),
        {texts[i] for i in held_out.tolist()},
    )


@given(ROWS, st.integers(0, 9), st.sampled_from(["", "a", "abcd"]), st.data())
def test_every_promise_of_a_split(
    rows: list[Row], wanted: int, train_only: str, data: st.DataObject
) -> None:
    numbers = st.sets(st.integers(0, len(rows) - 1), min_size=1)
    used = sorted(data.draw(numbers, label="used"))
    parts = parts_of(rows, wanted, used, train_only)
    evaluated = [*parts.val.rows.tolist(), *parts.test.rows.tolist()]
    assert sorted([*parts.train, *evaluated]) == used  # each row in exactly one split

    train_texts = {rows[i][0] for i in parts.train}
    held_out = {rows[i][0] for i in evaluated}
    assert held_out == parts.held_out
    assert not train_texts & held_out
    assert not {rows[i][0] for i in parts.val.rows} & {rows[i][0] for i in parts.test.rows}
    assert not held_out & set(train_only)
    assert len(held_out) <= wanted

    trained = {emoji for i in parts.train for emoji in rows[i][1]}
    assert {emoji for i in evaluated for emoji in rows[i][1]} <= trained


@given(ROWS, st.integers(0, 9))
@example([("a", (50_257,)), ("b", (50_257,)), ("c", (50_257,))], 2)
def test_no_text_that_could_be_spared_is_left_when_too_few_are_held_out(
    rows: list[Row], wanted: int
) -> None:
    parts = parts_of(rows, wanted)
    texts_of: dict[int, set[str]] = {}
    for i in parts.train:
        for emoji in rows[i][1]:
            texts_of.setdefault(emoji, set()).add(rows[i][0])
    emoji_of: dict[str, set[int]] = {}
    for i in parts.train:
        emoji_of.setdefault(rows[i][0], set()).update(rows[i][1])
    spare = [t for t, emoji in emoji_of.items() if all(len(texts_of[e]) > 1 for e in emoji)]
    assert len(parts.held_out) == wanted or not spare


@given(ROWS, st.integers(0, 9))
def test_the_answers_are_the_union_over_a_text_s_rows_given_once(
    rows: list[Row], wanted: int
) -> None:
    parts = parts_of(rows, wanted)
    for split in (parts.val, parts.test):
        given_for: dict[str, list[set[int]]] = {}
        for number, row in enumerate(split.rows.tolist()):
            answers = split.answers_of(number).tolist()
            assert len(set(answers)) == len(answers)
            given_for.setdefault(rows[row][0], []).append(set(answers))
        for text, answers in given_for.items():
            union = {emoji for other, all_of_it in rows if other == text for emoji in all_of_it}
            assert answers == [union] + [set()] * (len(answers) - 1)


@given(ROWS, st.integers(0, 9), st.randoms(use_true_random=False))
def test_the_held_out_texts_do_not_depend_on_the_order_of_rows(
    rows: list[Row], wanted: int, random: "np.random.Generator"
) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert parts_of(rows, wanted).held_out == parts_of(shuffled, wanted).held_out


def test_the_same_rows_split_the_same() -> None:
    rows = [(f"text {i}", (50_257 + i % 3,)) for i in range(100)]
    first, second = parts_of(rows, 20), parts_of(rows, 20)
    assert first.train == second.train
    assert first.val.rows.tolist() == second.val.rows.tolist()
    assert len(first.held_out) == 20
    assert {int(t.split()[1]) for t in first.held_out} != set(range(20))  # not the first that come
    nothing = np.empty(0, np.int64)
    assert index_of(rows).training_split(nothing).answers_of(0).size == 0
