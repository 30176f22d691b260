"""Word by word gives what tokenizing whole texts gives, or whole texts are tokenized."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, normalizers, pre_tokenizers
from transformers import GPT2Tokenizer

from emoji_gpt2.data import wordwise
from emoji_gpt2.data.wordwise import WordwiseEncoder, words_stand_alone
from emoji_gpt2.emoji.text import normalize_text
from emoji_gpt2.tokenizer import add_emoji_tokens, builtin_gpt2_tokenizer

TOKENIZER = add_emoji_tokens(builtin_gpt2_tokenizer())[0]
PARTS = [
    "don't",
    "🍕",
    "👍🏽",
    "<|emoji|>",
    "<|endoftext|>",
    "é",
    "漢字",
    "#1",
    "it's-a",
    "'s",
    "x" * 40,
]
TEXTS = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.lists(st.sampled_from([*PARTS, "a", "pizza", " "]), max_size=8).map("".join),
        st.lists(st.sampled_from([*PARTS, "a", "pizza"]), max_size=8).map(" ".join),
    ).map(normalize_text),
    max_size=6,
)


def encoder(tokenizer: GPT2Tokenizer = TOKENIZER) -> Callable[[list[str]], list[list[int]]]:
    """An encoder whose answers are lists of numbers."""
    encode = WordwiseEncoder(tokenizer, np.dtype("<u4"))
    return lambda texts: [np.frombuffer(ids, "<u4").tolist() for ids in encode(texts)]


def whole(texts: list[str]) -> list[list[int]]:
    """The tokenizer's own answer, a text at a time, by the interface that users call."""
    return [
        TOKENIZER(text, add_special_tokens=False, split_special_tokens=True).input_ids
        for text in texts
    ]


@given(st.lists(TEXTS, max_size=3))
def test_words_give_what_whole_texts_give(batches: list[list[str]]) -> None:
    encode = encoder()
    for texts in batches:  # later ones find words that are known
        assert encode(texts) == whole(texts)


def test_known_words_are_not_tokenized_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    plain = wordwise.encode_texts
    monkeypatch.setattr(
        wordwise, "encode_texts", lambda t, texts: plain(t, asked.extend(x := list(texts)) or x)
    )
    encode = encoder()
    encode(["hot pizza", "hot hot dog"])
    encode(["dog hot", "hot"])
    assert sorted(asked) == [" dog", " hot", " pizza", "dog", "hot"]


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordwise, "MAX_WORDS", 10)
    encode = WordwiseEncoder(TOKENIZER, np.dtype("<u2"))
    for start in range(0, 60, 3):
        texts = [f"{start} {start + 1} {start + 2}"]
        assert [np.frombuffer(ids, "<u2").tolist() for ids in encode(texts)] == whole(texts)
        assert len(encode._later) <= 10


def test_other_tokenizers_are_asked_for_whole_texts() -> None:
    def changed() -> GPT2Tokenizer:
        return add_emoji_tokens(builtin_gpt2_tokenizer())[0]

    assert words_stand_alone(changed())
    over_spaces, swallowing, unsplit, lowered = (changed() for _ in range(4))
    over_spaces.backend_tokenizer.add_tokens(["hot dog"])
    swallowing.backend_tokenizer.add_tokens([AddedToken("hot", rstrip=True)])
    unsplit.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    lowered.backend_tokenizer.normalizer = normalizers.Prepend("_")
    for tokenizer in (over_spaces, swallowing, unsplit, lowered):
        assert not words_stand_alone(tokenizer)
        ids = tokenizer(["a hot dog"], add_special_tokens=False).input_ids
        assert encoder(tokenizer)(["a hot dog"]) == ids
