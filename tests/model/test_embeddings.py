"""Where emoji tokens start: against what the words of a name and of keywords are worth by hand."""

import math
from collections import Counter
from collections.abc import Container
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

from emoji_gpt2.emoji.descriptions import (
    describe,
    held_out_keywords,
    keyword_split,
    trained_descriptions,
)
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.emoji.text import normalize_text
from emoji_gpt2.model.embeddings import add_embeddings
from emoji_gpt2.tokenizer import EMOJI_TOKEN, add_emoji_tokens, builtin_gpt2_tokenizer

TABLE = EmojiTable.builtin()
N_GPT2 = 50257


@pytest.fixture(scope="module")
def extended() -> tuple[GPT2Tokenizer, list[str]]:
    return add_emoji_tokens(builtin_gpt2_tokenizer())


def new_gpt2(width: int = 16, vocab_size: int = N_GPT2) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(n_layer=1, n_head=2, n_embd=width, vocab_size=vocab_size, initializer_range=0.3)
    )


@pytest.fixture(scope="module")
def model(extended: tuple[GPT2Tokenizer, list[str]]) -> GPT2LMHeadModel:
    """To look at only."""
    model = new_gpt2(32)
    add_embeddings(model, *extended)
    return model


def row_of(model: GPT2LMHeadModel, tokenizer: GPT2Tokenizer, token: str) -> Tensor:
    return model.transformer.wte.weight.detach()[tokenizer.convert_tokens_to_ids(token)]


def test_every_token_has_a_row_and_stays_tied(
    model: GPT2LMHeadModel, extended: tuple[GPT2Tokenizer, list[str]]
) -> None:
    assert model.lm_head.weight is model.transformer.wte.weight
    assert model.config.vocab_size == len(extended[0]) == N_GPT2 + len(TABLE) + 1
    old = model.transformer.wte.weight.detach()[:N_GPT2]
    assert old.equal(new_gpt2(32).transformer.wte.weight), "old rows are unchanged"
    end_of_prompt = row_of(model, extended[0], EMOJI_TOKEN).double()
    torch.testing.assert_close(end_of_prompt, old.double().mean(0), rtol=1e-4, atol=1e-6)


@cache
def texts_of(emoji: str) -> dict[str, None]:
    """Its name and its keywords, each once."""
    return dict.fromkeys(map(normalize_text, (TABLE.name(emoji), *TABLE.keywords(emoji))))


@cache
def held_out() -> set[str]:
    keywords = {text for one in TABLE for text in texts_of(one)}
    names = {normalize_text(TABLE.name(one)) for one in TABLE}
    return {keyword for keyword in keywords - names if keyword_split(keyword) != "train"}


def by_hand(
    model: GPT2LMHeadModel, tokenizer: GPT2Tokenizer, left_out: Container[str], *emoji: str
) -> list[Tensor]:
    """The rarity-weighted means of the tokens of name and keywords, in loops.

    A text has two kinds of tokens: those at the start of a text, and those within one.
    """
    texts = [*dict.fromkeys(text for one in TABLE for text in texts_of(one))]
    ids = tokenizer([*texts, *(f" {text}" for text in texts)], add_special_tokens=False).input_ids
    tokens = {text: a + b for text, a, b in zip(texts, ids, ids[len(texts) :], strict=False)}
    documents = {
        one: [token for text in texts_of(one) if text not in left_out for token in tokens[text]]
        for one in TABLE
    }
    in_documents = Counter(token for document in documents.values() for token in {*document})
    rows = model.transformer.wte.weight.detach().double()
    found = []
    for one in emoji:
        total, weights = torch.zeros(rows.shape[1], dtype=torch.double), 0.0
        for token in documents[one]:
            rarity = math.log(len(TABLE) / in_documents[token])
            total += rarity * rows[token]
            weights += rarity
        mean = total / weights
        found.append(mean * rows[:N_GPT2].norm(dim=1).mean() / mean.norm())
    return found


def test_the_row_is_the_rarity_weighted_mean_without_held_out_keywords(
    model: GPT2LMHeadModel, extended: tuple[GPT2Tokenizer, list[str]]
) -> None:
    emoji = ("🍕", "🏴\u200d☠️", "🤣")
    got = [row_of(model, extended[0], one).double() for one in emoji]
    for row, wanted in zip(got, by_hand(model, extended[0], held_out(), *emoji), strict=True):
        torch.testing.assert_close(row, wanted, rtol=1e-4, atol=1e-5)
    [leaky] = by_hand(model, extended[0], (), "🤣")  # haha, lmao and rolling are held out
    assert (got[2] - leaky).norm() > 0.1 * leaky.norm()


def test_a_description_is_name_and_keywords_once_without_those_held_out() -> None:
    for emoji in TABLE:
        whole = describe(TABLE, emoji)
        assert whole[0] == normalize_text(TABLE.name(emoji))
        assert sorted(whole) == sorted(texts_of(emoji).keys() - held_out())
        assert trained_descriptions() >= set(whole)
    assert not trained_descriptions() & held_out()
    assert held_out_keywords().keys() == held_out()


def test_only_the_emoji_that_are_new_start_afresh() -> None:
    """A model of an older table: its emoji keep their rows, pizza gets one like any other."""
    older = EmojiTable(row for e, row in TABLE.items() if e != "🍕")
    tokenizer, _ = add_emoji_tokens(builtin_gpt2_tokenizer(), older)
    model = new_gpt2(vocab_size=len(tokenizer))
    before = model.transformer.wte.weight.detach().clone()
    newer, new = add_emoji_tokens(tokenizer)
    assert new == ["🍕"]
    add_embeddings(model, newer, new)
    rows = model.transformer.wte.weight.detach()
    assert rows[: len(before)].equal(before)
    assert rows.shape[0] == len(before) + 1
    assert rows[-1].norm().item() == pytest.approx(before.norm(dim=1).mean().item(), rel=1e-4)
    words = newer(" pizza slice cheese", add_special_tokens=False).input_ids
    assert cosine_similarity(rows[-1], rows[words].mean(0), dim=0) > 0.3


def test_rows_beyond_the_tokenizer_are_kept(extended: tuple[GPT2Tokenizer, list[str]]) -> None:
    """Some models round their vocabulary up: no row is cut off."""
    model = new_gpt2(vocab_size=54_272)
    last = model.transformer.wte.weight.detach()[-1].clone()
    add_embeddings(model, *extended)
    assert model.config.vocab_size == 54_272
    assert model.transformer.wte.weight[-1].equal(last)
