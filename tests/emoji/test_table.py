"""The emoji table against Unicode's own list of spellings, and against a slow, plain splitter.

``data/emoji-test-17.0.txt.gz`` holds code points and status of emoji-test.txt's lines; there each
fully-qualified emoji is followed at once by its spellings that lack a U+FE0F somewhere.
"""

import gzip
import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from emoji_gpt2.emoji.table import SKIN_TONES, Emoji, EmojiTable
from emoji_gpt2.errors import UserError

TABLE = EmojiTable.builtin()
ALL = list(TABLE)
PERSONS = {  # without tones and U+FE0F: emoji whose build differs between the base and toned forms
    "🫱\u200d🫲": "🤝",
    "🧑\u200d❤\u200d🧑": "💑",
    "🧑\u200d❤\u200d💋\u200d🧑": "💏",
    "👩\u200d🤝\u200d👨": "👫",
    "👩\u200d🤝\u200d👩": "👭",
    "👨\u200d🤝\u200d👨": "👬",
    "🧑\u200d🐰\u200d🧑": "👯",
    "👨\u200d🐰\u200d👨": "👯\u200d♂️",
    "👩\u200d🐰\u200d👩": "👯\u200d♀️",
    "🧑\u200d\U0001faef\u200d🧑": "🤼",
    "👨\u200d\U0001faef\u200d👨": "🤼\u200d♂️",
    "👩\u200d\U0001faef\u200d👩": "🤼\u200d♀️",
}


@cache
def spellings() -> list[tuple[str, str, str]]:
    """Return (string, status, fully-qualified string) of each line of emoji-test.txt."""
    found, whole = [], ""
    path = Path(__file__).parent / "emoji-test-17.0.txt.gz"
    for line in gzip.decompress(path.read_bytes()).decode("utf-8").splitlines():
        if line.startswith("#"):
            continue
        codepoints, status = line.split(";")
        text = "".join(chr(int(code, 16)) for code in codepoints.split())
        whole = text if status == "fully-qualified" else whole
        found.append((text, status, whole))
    return found


@cache
def reference_pattern() -> re.Pattern[str]:
    """All emoji as one alternation, the longest first, then pairs of regional indicators."""
    keys = {whole.replace("\ufe0f", "") for _, _, whole in spellings()}
    ordered = sorted(keys, key=len, reverse=True)
    emoji = "|".join("\ufe0f*".join(map(re.escape, key)) for key in ordered)
    pair = "[\U0001f1e6-\U0001f1ff]\ufe0f*[\U0001f1e6-\U0001f1ff]"
    return re.compile(f"(?P<emoji>(?:{emoji})(?!\ufe0f*\ufe0e))|{pair}")


def reference_split(text: str) -> list[str]:
    whole = {full.replace("\ufe0f", ""): full for _, _, full in spellings()}
    text = re.sub("🏴(?:\ufe0f*[\U000e0020-\U000e007f])+", _unless_known, text)
    found = (match["emoji"] for match in reference_pattern().finditer(text))
    return [whole[emoji.replace("\ufe0f", "")] for emoji in found if emoji]


def _unless_known(flag: re.Match[str]) -> str:
    """A flag of the table as it is; that of an unknown region is no emoji, nor is its pole."""
    return flag[0] if reference_pattern().fullmatch(flag[0]) else "x"


def row(emoji: str, name: str) -> Emoji:
    return Emoji(emoji, name, "Group", "sub-group", "", ())


def test_every_spelling_in_emoji_test_has_its_fully_qualified_form():
    assert len(spellings()) == 5216
    assert len({text for text, status, _ in spellings() if status != "fully-qualified"}) == 1272
    for text, _, whole in spellings():
        assert TABLE.canonical(text) == whole
        assert TABLE.split(text) == [whole]
        assert text in TABLE
        assert TABLE.residue(text) == ""


def test_iterates_over_the_fully_qualified_in_the_files_order():
    assert [text for text, status, _ in spellings() if status == "fully-qualified"] == ALL
    assert len(TABLE) == 3944
    assert [found.emoji for found in TABLE.values()] == ALL


@pytest.mark.parametrize(
    "text", ["", "1", "#", "*", "1\ufe0f", "\ufe0f", "a", "🏽", "🍕🍕", "\u200d"]
)
def test_what_is_not_one_emoji(text):
    assert TABLE.canonical(text) is None
    assert text not in TABLE
    assert TABLE.get(text) is None
    with pytest.raises(KeyError, match=re.escape(repr(text)) if text.isascii() else None):
        TABLE.name(text)


@pytest.mark.parametrize(
    ("text", "found", "residue"),
    [
        ("", [], ""),
        ("so good 🍕👍🏽 !\n", ["🍕", "👍🏽"], "so good !"),
        ("call 1 # * 20", [], "call 1 # * 20"),
        ("1\ufe0f 1\u20e3 #\ufe0f\u20e3", ["1️⃣", "#️⃣"], "1"),
        ("© Acme™", ["©️", "™️"], "Acme"),
        ("❤\ufe0e ❤ ❤\ufe0f", ["❤️", "❤️"], "❤\ufe0e"),
        ("1\ufe0e\u20e3", [], "1\ufe0e\u20e3"),
        ("👪🏽", ["👪"], "🏽"),
        ("👨🏻\u200d👩🏻", ["👨🏻", "👩🏻"], "\u200d"),
        ("👩🏻\u200d❤\u200d👨🏿👩", ["👩🏻\u200d❤️\u200d👨🏿", "👩"], ""),
        ("\u200d🍕\u200d", ["🍕"], "\u200d \u200d"),
        ("🇫🇷🇩🇪🇫", ["🇫🇷", "🇩🇪"], "🇫"),
        ("🇽🇫🇷", [], "🇽🇫🇷"),  # the pairs are XF and a lone R
        ("🇽🇽🇫🇷", ["🇫🇷"], "🇽🇽"),
        ("🏴󠁧󠁢󠁥󠁮󠁧󠁿🏴", ["🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🏴"], ""),
    ],
)
def test_split_and_residue(text, found, residue):
    assert TABLE.split(text) == found
    assert TABLE.residue(text) == residue


PIECES = [
    *"1#*a ©❤👩👨🧑🤝🐰👍☝🫱🫲🏻🏿🇫🇷🇽🏴🐻❄🔥",
    "\u200d",
    "\ufe0f",
    "\ufe0e",
    "\u20e3",
    "\U000e0067",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.sampled_from(ALL))
@example("👍🏻\ufe0e")
@example("❤\ufe0f\ufe0e")
@example("🇫\ufe0f🇷\ufe0f🇫")
def test_split_agrees_with_a_plain_regular_expression(text):
    assert TABLE.split(text) == reference_split(text)


words = st.text("abcXYZäß漢字русский09.,!?\"'’-|", min_size=1)
emoji_with_drops = st.tuples(
    st.sampled_from(ALL), st.lists(st.booleans(), min_size=4, max_size=4), words | st.none()
)


def drop_some(emoji: str, drops: list[bool]) -> str:
    """Leave out each U+FE0F for which `drops` says so."""
    first, *rest = emoji.split("\ufe0f")
    kept = (("" if drop else "\ufe0f") + part for drop, part in zip(drops, rest, strict=False))
    return first + "".join(kept)


@given(st.lists(emoji_with_drops))
def test_split_gives_back_what_was_joined(parts):
    text = "".join(drop_some(emoji, drops) + (word or "") for emoji, drops, word in parts)
    assert TABLE.split(text) == [emoji for emoji, _, _ in parts]
    assert TABLE.residue(text) == " ".join(word for _, _, word in parts if word)


def test_facts_of_an_emoji_by_any_spelling():
    assert TABLE.name("☺") == TABLE.name("☺️") == "smiling face"
    assert TABLE.group("🇫🇷") == "Flags"
    assert "pizza" in TABLE.keywords("🍕")
    assert TABLE["❤"].codepoints == "2764 FE0F"
    assert TABLE["👋🏻"].sub_group == "hand-fingers-open"


def bare(emoji: str) -> str:
    return re.sub("[🏻-🏿\ufe0f]", "", emoji)


def test_base_of_each_emoji_is_it_without_modifiers():
    by_key = {bare(emoji): emoji for emoji in ALL if not re.search("[🏻-🏿]", emoji)}
    toned = [emoji for emoji in ALL if re.search("[🏻-🏿]", emoji)]
    assert len(toned) == 2030
    for emoji in toned:
        assert TABLE.base(emoji) == (by_key.get(bare(emoji)) or PERSONS[bare(emoji)])
        assert TABLE.base(emoji) in ALL
        assert TABLE.tones(TABLE.base(emoji)) == ()
    for emoji in by_key.values():
        assert TABLE.base(emoji) == emoji


def test_tones_are_those_in_the_name():
    for emoji in ALL:
        named = re.findall(r"(?:: |, )([a-z-]+) skin tone", TABLE.name(emoji))
        tones = TABLE.tones(emoji)
        assert list(tones) == (named if len(named) == len(tones) else named * 2)
    assert TABLE.tones("🧑🏻\u200d🤝\u200d🧑🏿") == ("light", "dark")


def test_with_tone_goes_there_and_back():
    bases = {TABLE.base(emoji) for emoji in ALL if TABLE.tones(emoji)}
    assert len(bases) == 330
    for base in bases:
        for tone in SKIN_TONES:
            toned = TABLE.with_tone(base, tone)
            assert toned in ALL
            assert set(TABLE.tones(toned)) == {tone}
            assert TABLE.base(toned) == TABLE.with_tone(toned, None) == base
            assert TABLE.with_tone(toned, "dark") == TABLE.with_tone(base, "dark")


@pytest.mark.parametrize(
    ("emoji", "tone", "wanted"),
    [
        ("☝️", "dark", "☝🏿"),
        ("☝", None, "☝️"),
        ("🤝", "medium", "🤝🏽"),
        ("🫱🏻\u200d🫲🏿", "light", "🤝🏻"),
        ("👫", "medium-dark", "👫🏾"),
        ("🧑\u200d🤝\u200d🧑", "light", "🧑🏻\u200d🤝\u200d🧑🏻"),
        ("👩🏻\u200d❤️\u200d👨🏿", "medium-light", "👩🏼\u200d❤️\u200d👨🏼"),
        ("👨\u200d🦰", "light", "👨🏻\u200d🦰"),
        ("❤", "light", "❤️"),
    ],
)
def test_with_tone(emoji, tone, wanted):
    assert TABLE.with_tone(emoji, tone) == wanted


def test_with_tone_refuses_other_tones_and_strings():
    with pytest.raises(UserError, match=r"got 'pale', wanted one of light, medium-light, .* dark"):
        TABLE.with_tone("👍", "pale")
    with pytest.raises(KeyError):
        TABLE.with_tone("pizza", "light")


def test_a_table_of_ones_own():
    table = EmojiTable([row("❤️", "red heart"), row("👍🏽", "thumbs up: medium skin tone")])
    assert table.split("❤👍🏽👍") == ["❤️", "👍🏽"]
    assert table.base("👍🏽") == "👍🏽", "its base is not in this table"
    assert table.with_tone("👍🏽", "light") == "👍🏽"


@pytest.mark.parametrize("rows", [["❤️", "🍕", "❤"], ["\ufe0f"]])
def test_a_table_refuses_emoji_that_only_differ_in_fe0f(rows):
    with pytest.raises(UserError, match=r"^rows: got .* twice or empty"):
        EmojiTable(row(emoji, "name") for emoji in rows)
