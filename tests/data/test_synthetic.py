"""Made-up texts: seeded, of the table's own words, answered by rarity, nothing held out in them."""

from collections import Counter
from functools import cache

import numpy as np
import pytest

from emoji_gpt2.data import synthetic as augment
from emoji_gpt2.data.english import families, inflections, word_ranks
from emoji_gpt2.data.synthetic import PhraseMaker
from emoji_gpt2.emoji.descriptions import held_out_keywords
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.emoji.text import normalize_text, words
from emoji_gpt2.tokenizer import builtin_gpt2_tokenizer

TABLE = EmojiTable.builtin()
UNTONED = [one for one in TABLE if not TABLE.tones(one)]


@cache
def ranks() -> dict[str, int]:
    return word_ranks(builtin_gpt2_tokenizer().get_vocab())


@cache
def maker() -> PhraseMaker:
    return PhraseMaker(TABLE, UNTONED, ranks())


FORMS = {"hike": "hiking", "dog": "dogs", "party": "parties", "run": "running", "kiss": "kisses"}


@pytest.mark.parametrize("word", FORMS)
def test_forms_of_a_word(word: str) -> None:
    assert FORMS[word] in inflections(word)
    assert {word, FORMS[word]} <= set(families({word}, ranks())[word])


def test_a_word_that_only_looks_like_a_form_is_none() -> None:
    assert "even" not in families({"evening"}, ranks())["evening"]


def test_the_same_seed_makes_the_same_texts() -> None:
    once, again = (list(maker().examples(50, seed=3)) for _ in range(2))
    assert once == again
    assert once != list(maker().examples(50, seed=4))
    assert len(once) == 50


def test_texts_are_words_of_the_table_and_of_english() -> None:
    examples = list(maker().examples(400, seed=0))
    of_table = {word for family in maker().family.values() for word in family}
    for text, emoji, shares in examples:
        assert text == normalize_text(text)
        assert set(words(text)) <= of_table | set(ranks())
        assert len(emoji) == 1
        assert emoji[0] in dict(shares)
        assert set(dict(shares)) <= set(UNTONED)
        assert sum(dict(shares).values()) == pytest.approx(1, abs=1e-6)
        assert len(words(text)) <= max(augment.MAX_WORDS, 14) + augment.MAX_FILLERS
    fillers = Counter(word for text, *_ in examples for word in words(text) if word not in of_table)
    assert len(fillers) > 100
    assert len({emoji for _, emoji, _ in examples}) > 200


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("i love pizza", "🍕"), ("a snowman in the garden", "⛄"), ("my rockets", "🚀")],
)
def test_a_rare_word_decides(text: str, wanted: str) -> None:
    places, shares = maker().posterior(text)
    best = [UNTONED[place] for place in places]
    assert wanted in best[:2]
    assert np.isclose(shares.sum(), 1)
    assert (np.diff(shares) <= 0).all()


def test_the_posterior_equals_plain_loops() -> None:
    text = "halloween party for the kids"
    scores = maker().prior.astype(float).tolist()
    for place in range(len(UNTONED)):
        for word in dict.fromkeys(words(text)):
            if word in maker().evidence:
                scores[place] += float(maker().evidence[word][place])
    order = sorted(range(len(scores)), key=lambda place: -scores[place])[: augment.MAX_ANSWERS]
    total = sum(np.exp(scores[place]) for place in order)
    places, shares = maker().posterior(text)
    assert [scores[p] for p in places] == pytest.approx([scores[p] for p in order], abs=1e-5)
    assert shares == pytest.approx([np.exp(scores[p]) / total for p in places], rel=1e-4)


def test_answers_are_drawn_by_their_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    one = PhraseMaker(TABLE, UNTONED, ranks())
    monkeypatch.setattr(one, "_text", lambda *_: "pizza")
    examples = list(one.examples(3000, seed=0))
    drawn = Counter(emoji for _, (emoji,), _ in examples)
    places, shares = one.posterior("pizza")
    assert examples[0].probs == tuple(zip([UNTONED[p] for p in places], shares, strict=True))
    for place, share in zip(places[:5], shares, strict=False):
        assert drawn[UNTONED[place]] / 3000 == pytest.approx(share, abs=0.04)


def test_held_out_keywords_do_not_flow_in() -> None:
    """Neither those of the table, such as "haha", nor those that one names."""
    emoji, held_out = ["🗿", "⛄", "🤣"], {"snowman", "moai", "taco"}
    without = PhraseMaker(TABLE, emoji, ranks(), held_out)
    assert not held_out & {text for text, *_ in without.examples(300, seed=0)}
    with_it = PhraseMaker(TABLE, emoji, ranks())
    texts = {text for text, *_ in with_it.examples(300, seed=0)}
    assert {"snowman", "moai"} & texts
    assert "haha" in held_out_keywords().keys() & set(TABLE.keywords("🤣"))
    assert "haha" not in texts | set(with_it.evidence)
    assert {"snowman", "lol"} <= set(with_it.evidence)
