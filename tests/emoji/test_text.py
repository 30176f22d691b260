"""normalize_text: one spelling per description, and the same one when it is applied again."""

import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from emoji_gpt2.emoji.text import is_valid_unicode, normalize_text

ACUTE, DIAERESIS = "\u0301", "\u0308"


@given(st.text())
@example(f"{chr(0x399)}{DIAERESIS}{ACUTE}")  # Ϊ́ has no composed form, its lower case ΐ has one
@example(f"e\x01{ACUTE}")  # a control character that keeps two others from composing
@example("\u2033 \u2034 \u2057 ¨ İ ΑΣ Σ")
def test_normalizing_twice_is_normalizing_once(text: str) -> None:
    once = normalize_text(text)
    assert normalize_text(once) == once


def test_every_character_normalizes_to_a_fixed_point() -> None:
    every = [*map(chr, range(0xD800)), *map(chr, range(0xE000, sys.maxunicode + 1))]
    for start in range(0, len(every), 256):  # what stands beside "|" is as if it stood alone
        block = "|".join(every[start : start + 256])
        once = normalize_text(block)
        assert once == block or normalize_text(once) == once, hex(ord(block[0]))


@given(st.text())
@example(f"{chr(0x399)}{DIAERESIS}{ACUTE}")
def test_the_result_is_composed_collapsed_and_free_of_controls(text: str) -> None:
    result = normalize_text(text)
    assert unicodedata.is_normalized("NFKC", result)
    assert result == " ".join(result.split())
    assert not any(unicodedata.category(char) == "Cc" for char in result)
    assert not set(result) & set("‘’‚‛“”„‟‐‑‒–—−")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ""),
        (" \t\n\u00a0\u3000\x0b\x1c\x85\u2028", ""),
        ("  “Birthday”\tCake \r\n", '"birthday" cake'),
        ("ＰＩＺＺＡ ﬁre №5", "pizza fire no5"),  # full width, a ligature, a sign of two letters
        (f"cafe{ACUTE}", "café"),
        ("CAFÉ", "café"),
        ("don’t ‘so’ ‚x‛", "don't 'so' 'x'"),
        ("„a‟", '"a"'),
        ("a‐b‑c‒d–e—f−g", "a-b-c-d-e-f-g"),
        ("5′ tall", "5' tall"),
        ("6″ pan", '6" pan'),
        ("wait…", "wait..."),
        ("a\x00b\x07c\x7fd\x9fe", "abcde"),
        ("a\tb", "a b"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("straße", "straße"),
        ("🍕 Pizza ❤️", "🍕 pizza ❤️"),
    ],
)
def test_known_spellings(text: str, wanted: str) -> None:
    assert normalize_text(text) == wanted


@pytest.mark.parametrize(
    ("text", "valid"),
    [("", True), ("pizza 🍕", True), ("\ud83c", False), ("a\udf55b", False), ("\uffff", True)],
)
def test_is_valid_unicode(text: str, valid: bool) -> None:
    assert is_valid_unicode(text) is valid
