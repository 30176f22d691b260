"""Examples: what is used, what is dropped for which reason, and what is said about it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoji_gpt2.data.examples import (
    Example,
    Report,
    SkinTones,
    keyword_examples,
    name_examples,
    read_examples,
)
from emoji_gpt2.emoji.descriptions import keyword_split
from emoji_gpt2.emoji.table import Emoji, EmojiTable
from emoji_gpt2.tables.source import Chunk

TABLE = EmojiTable.builtin()
BESIDE = "text or unknown emoji beside the emoji (ignored)"
Cells = list[tuple[str, str]]


def read(cells: Cells, skin_tones: SkinTones = "keep") -> tuple[list[Example], Report]:
    chunk = Chunk([text for text, _ in cells], [cell for _, cell in cells])
    report = Report("a.csv")
    return read_examples(chunk, TABLE, skin_tones, report), report


def table_of(*rows: tuple[str, str, tuple[str, ...]]) -> EmojiTable:
    return EmojiTable(Emoji(e, name, "", "", "", keywords) for e, name, keywords in rows)


@pytest.mark.parametrize(
    ("text", "cell", "reason"),
    [
        ("", "🍕", "empty text"),
        (" \t\u00a0\x00", "🍕", "empty text"),
        ("pizza \ud83c", "🍕", "text with broken characters"),
        ("pizza", "", "no emoji in the row"),
        ("pizza", "pizza :)", "no emoji in the row"),
        ("pizza", "\U0001fbff", "emoji not in the table"),
        ("letters", "🇽🇽", "emoji not in the table"),
        ("pizza", "\ud83c", "text with broken characters"),
        ("smile", "☺\ufe0e", "emoji not in the table"),
    ],
)
def test_each_reason_to_drop_is_counted(text: str, cell: str, reason: str) -> None:
    examples, report = read([("fine", "🍕"), (text, cell), ("fine too", "🍕"), (text, cell)])
    assert examples == [Example("fine", ("🍕",)), Example("fine too", ("🍕",))]
    assert (report.rows_read, dict(report.dropped), dict(report.noted)) == (4, {reason: 2}, {})


def test_texts_are_normalised_and_emoji_fully_qualified() -> None:
    examples, report = read(
        [
            (" “Red”  HEART ", "❤"),
            ("red heart", "❤️"),
            ("bare", "🏳\u200d🌈"),
            ("two", "❤🍕❤️"),
            ("spaced", " 🍕 ❤ "),
            ("keycap", "#⃣"),
            ("family", "👨‍👩‍👧‍👦"),
        ]
    )
    assert examples == [
        Example('"red" heart', ("❤️",)),
        Example("red heart", ("❤️",)),
        Example("bare", ("🏳️‍🌈",)),
        Example("two", ("❤️", "🍕", "❤️")),
        Example("spaced", ("🍕", "❤️")),
        Example("keycap", ("#️⃣",)),
        Example("family", ("👨‍👩‍👧‍👦",)),
    ]
    assert not report.dropped
    assert not report.noted


@pytest.mark.parametrize("cell", ["🍕 yum", "yum🍕", "🍕🇽🇽", "🍕\U0001fbff"])
def test_what_stands_beside_an_emoji_is_noted(cell: str) -> None:
    examples, report = read([("pizza", cell)])
    assert examples == [Example("pizza", ("🍕",))]
    assert dict(report.noted) == {BESIDE: 1}


def test_skin_tones_are_kept_or_dropped() -> None:
    cells: Cells = [
        ("ok", "👍🏽"),
        ("Thumbs up: Medium Skin Tone", "👍🏽"),
        ("both", "👍🏿🍕👋"),
        ("couple", "👩🏻‍🤝‍👨🏿"),
    ]
    examples, report = read(cells, "keep")
    assert ["".join(example.emoji) for example in examples] == [cell for _, cell in cells]
    assert not report.dropped
    examples, report = read(cells, "drop")
    assert examples == [
        Example("ok", ("👍",)),
        Example("both", ("👍", "🍕", "👋")),
        Example("couple", ("👫",)),
    ]
    assert dict(report.dropped) == {"text names a skin tone": 1}


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(categories=None), max_size=3) | st.just("pizza"),
            st.text(st.sampled_from("🍕❤️👍🏽🇫🇷a \u200d\ufe0e")) | st.sampled_from(list(TABLE)),
        ),
        min_size=1,
    ),
    st.sampled_from(["keep", "drop"]),
)
def test_every_record_is_an_example_or_counted(cells: Cells, skin_tones: SkinTones) -> None:
    examples, report = read(cells, skin_tones)
    assert report.rows_read == len(cells) == len(examples) + report.dropped.total()
    for example in examples:
        example.text.encode()
        assert example.text.strip()
        assert example.emoji
        assert all(emoji in list(TABLE) for emoji in example.emoji)
        tones = [char for char in "".join(example.emoji) if "🏻" <= char <= "🏿"]
        assert skin_tones == "keep" or not tones


def test_the_summary_is_one_line_of_all_counts() -> None:
    report = Report("emoji_df.csv", 4_724)
    assert report.summary(3_655, 3_600) == (
        "emoji_df.csv: 4,724 rows read, 3,600 emoji kept in 3,655 examples, 1,069 variants merged"
    )
    report.dropped.update({"empty text": 9, "no emoji in the row": 1_010})
    report.noted.update({BESIDE: 2})
    assert report.summary(3_655, 3_600) == (
        "emoji_df.csv: 4,724 rows read, 3,600 emoji kept in 3,655 examples, 50 variants merged; "
        "dropped: 1,010 no emoji in the row, 9 empty text; "
        f"2 with {BESIDE}"
    )


def test_names_with_and_without_skin_tones() -> None:
    report, without = Report("names"), Report("names")
    names = {example.text: example.emoji for example in name_examples(TABLE, "keep", report)}
    assert len(names) == report.rows_read == 3_944
    assert not report.dropped
    assert names["pizza"] == ("🍕",)
    assert names["thumbs up: medium skin tone"] == ("👍🏽",)
    assert names["flag: côte d'ivoire"] == ("🇨🇮",)
    untoned = name_examples(TABLE, "drop", without)
    toned = sum(any("🏻" <= char <= "🏿" for char in e) for e in TABLE)
    assert toned > 1_000
    assert len(untoned) == 3_944 - toned
    assert dict(without.dropped) == {"text names a skin tone": toned}
    assert without.rows_read == 3_944
    assert not [one for one in untoned if "skin tone" in one.text]


KEYWORDS = table_of(
    ("🍕", "pizza", ("cheese", "Food ", "food", "slice")),
    ("🧀", "cheese wedge", ("cheese", "pizza")),
    ("👍", "thumbs up", ("yes",)),
    ("👍🏽", "thumbs up: medium skin tone", ("yes",)),
    ("🍔", "hamburger", ()),
)


def test_each_keyword_stands_with_each_of_its_emoji_tones_left_out() -> None:
    report = Report("keywords")
    examples = keyword_examples(KEYWORDS, KEYWORDS, {"pizza"}, "train", report)
    assert sorted(examples) == [
        Example("cheese", ("🍕",)),
        Example("cheese", ("🧀",)),
        Example("food", ("🍕",)),
        Example("slice", ("🍕",)),
        Example("yes", ("👍",)),
    ]
    assert report.rows_read == 6
    assert dict(report.dropped) == {"keyword that is also a name or text": 1}
    given = keyword_examples(KEYWORDS, ["🧀", "👍🏽"], (), "train", report)
    assert given == [Example("cheese", ("🧀",)), Example("pizza", ("🧀",))]


def test_a_split_has_the_keywords_that_are_for_it() -> None:
    keywords = ("star", "map", "cat", "foot", "hope", "queen", "tree")
    table = table_of(("🍕", "pizza", keywords))
    parts = {
        split: [e.text for e in keyword_examples(table, table, (), split, Report("keywords"))]
        for split in ("train", "val", "test")
    }
    assert all(parts.values())
    assert parts == {s: [k for k in keywords if keyword_split(k) == s] for s in parts}


@pytest.mark.parametrize(("emoji", "used"), [(1, True), (16, True), (17, False)])
def test_a_keyword_of_more_than_16_emoji_says_too_little(emoji: int, used: bool) -> None:
    faces = list(TABLE)[:emoji]
    table = table_of(*((e, str(i), ("face",)) for i, e in enumerate(faces)))
    report = Report("keywords")
    examples = keyword_examples(table, table, (), "train", report)
    assert examples == ([Example("face", (e,)) for e in faces] if used else [])
    assert dict(report.dropped) == ({} if used else {"keyword of more than 16 emoji": emoji})
    assert report.rows_read == emoji
