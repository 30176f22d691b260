"""What the table says of an emoji, and which of its keywords nothing may learn from.

    describe(table, "🍕")                 # ["pizza", "cheese", "food", ...]: none is held out
    keyword_split("smile")                # "val"; others are for "train" or "test"
    held_out_keywords()["smile"]          # "val"

Which built-in keywords a model is validated and tested on is a fact of the table: a hash of the
keyword decides, about 5 % for each. Embeddings, synthetic texts and training rows never use them,
so that data and model, which may be made in any order and without a trainer, need not agree on it.
A keyword that is also some emoji's name is never held out, since names are always trained on.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Literal

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.emoji.text import normalize_text

KEYWORD_SPLIT_VERSION = 1
"""Part of the hash. Another number holds out other keywords: results no longer compare."""
HELD_OUT_SHARE = 0.05
"""Share of the keywords in each of validation and test."""


def keyword_split(keyword: str) -> Literal["train", "val", "test"]:
    """Return what a normalised keyword, in any language, is for."""
    digest = hashlib.blake2b(f"{KEYWORD_SPLIT_VERSION}:{keyword}".encode(), digest_size=8).digest()
    share = int.from_bytes(digest, "big") / 2**64
    if share < HELD_OUT_SHARE:
        return "val"
    return "test" if share < 2 * HELD_OUT_SHARE else "train"


@cache
def held_out_keywords() -> Mapping[str, Literal["val", "test"]]:
    """Return the normalised built-in English keywords that are held out, and for which split."""
    table = EmojiTable.builtin()
    names = {normalize_text(table.name(one)) for one in table}
    keywords = {normalize_text(keyword) for one in table for keyword in table.keywords(one)}
    splits = {keyword: keyword_split(keyword) for keyword in sorted(keywords - names)}
    return MappingProxyType({k: split for k, split in splits.items() if split != "train"})


def describe(table: EmojiTable, emoji: str) -> list[str]:
    """Return the emoji's name and keywords, normalised, without those that are held out."""
    texts = map(normalize_text, (table.name(emoji), *table.keywords(emoji)))
    held_out = held_out_keywords()
    return [text for text in dict.fromkeys(texts) if text and text not in held_out]


@cache
def trained_descriptions() -> frozenset[str]:
    """Return all names and keywords that embeddings begin with: no text to validate on."""
    table = EmojiTable.builtin()
    return frozenset(text for one in table for text in describe(table, one))
