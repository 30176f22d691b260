"""The baselines, against plain loops over the table's own words."""

import math
import re

import numpy as np
import pytest
import torch

from emoji_gpt2.emoji.table import Emoji, EmojiTable
from emoji_gpt2.evaluation.baselines import (
    LexicalMatcher,
    Weighting,
    most_frequent,
    ranking_metrics,
)
from emoji_gpt2.evaluation.scores import answer_ranks
from emoji_gpt2.model import metrics

TEXTS = ("a slice of pizza", "Red Heart, red RED!", "waving hand: dark skin tone", "qqqq", "flag")


def bag(emoji: Emoji) -> set[str]:
    return set(re.findall("[a-z0-9]+", " ".join([emoji.name, *emoji.keywords]).lower()))


def plain(bags: list[set[str]], text: str, weighting: Weighting) -> list[float]:
    """Both weightings as their definitions have them, emoji by emoji."""
    idf = {w: math.log(len(bags) / sum(w in b for b in bags)) for w in set().union(*bags)}
    asked = set(re.findall("[a-z0-9]+", text.lower())) & idf.keys()
    length = math.sqrt(sum(idf[w] ** 2 for w in asked))
    scores = []
    for own in bags:
        shared = asked & own
        if weighting == "sum":
            scores.append(sum(idf[w] for w in shared))
        else:
            own_length = math.sqrt(sum(idf[w] ** 2 for w in own))
            dot = sum(idf[w] ** 2 for w in shared)
            scores.append(dot / own_length / length if shared else 0.0)
    return scores


@pytest.fixture(scope="module")
def some() -> EmojiTable:
    table = EmojiTable.builtin()
    chosen = dict.fromkeys([*[*table][::9], "👋🏿", "🍕", "❤️"])
    return EmojiTable(table[e] for e in chosen)


@pytest.mark.parametrize("toned", [True, False])
@pytest.mark.parametrize("weighting", ["sum", "cosine"])
def test_scores_are_those_of_a_plain_loop(
    some: EmojiTable, weighting: Weighting, toned: bool
) -> None:
    matcher = LexicalMatcher(some, weighting, toned=toned)
    kept = [i for i, e in enumerate(some) if toned or not some.tones(e)]
    bags = [bag(some[e]) for e in some]
    for text in TEXTS:
        scores = matcher.rank(text)
        assert scores.shape == (len(some),)
        wanted = np.full(len(some), -np.inf)
        wanted[kept] = plain([bags[i] for i in kept], text, weighting)
        if "skin tone" not in text:
            wanted[[i for i, e in enumerate(some) if some.tones(e)]] = -np.inf
        np.testing.assert_allclose(scores, wanted, atol=1e-12)
    assert (len(kept) == len(some)) is toned, "the table has toned emoji"


def test_the_weightings_differ_in_what_many_words_are_worth() -> None:
    def emoji(char: str, name: str, *keywords: str) -> Emoji:
        return Emoji(char, name, "", "", "", keywords)

    table = EmojiTable(
        [emoji("🍕", "pizza", "cheese", "slice", "oven"), emoji("🫓", "pizza"), emoji("🐟", "fish")]
    )
    assert LexicalMatcher(table).rank("pizza").argmax() == 0, "a tie"
    assert np.ptp(LexicalMatcher(table).rank("pizza")[:2]) == 0
    cosine = LexicalMatcher(table, "cosine").rank("pizza")
    assert cosine.argmax() == 1
    assert cosine[1] == pytest.approx(1.0)


def test_what_is_left_out_is_not_known(some: EmojiTable) -> None:
    emoji = list(some)
    assert emoji[LexicalMatcher(some).rank("pizza").argmax()] == "🍕"
    described = {text.lower() for text in ("pizza", *some.keywords("🍕"))}
    nothing = LexicalMatcher(some, left_out=described).rank("pizza")
    assert nothing[emoji.index("🍕")] == 0


def test_ranks_are_those_of_the_model_s_metrics() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = rng.integers(0, 6, size=20).astype(float)
        scores[rng.integers(20)] = -np.inf
        answers = rng.choice(20, size=3, replace=False)
        theirs = metrics.best_answer_rank(torch.tensor(scores)[None], torch.tensor(answers)[None])
        ours = answer_ranks(scores[None], np.zeros(3, int), answers).best_B
        assert ours.tolist() == theirs.tolist()


def test_the_most_frequent_come_first_and_equal_counts_in_table_order() -> None:
    probabilities = np.exp(most_frequent(np.array([0, 2, 0, 1])))
    assert probabilities == pytest.approx([1 / 7, 3 / 7, 1 / 7, 2 / 7], abs=1e-5)
    assert np.argsort(-probabilities).tolist() == [1, 3, 0, 2]


def test_ranking_metrics() -> None:
    found = ranking_metrics([1, 5, 6, 2])
    assert found == {"hit_at_1": 0.25, "hit_at_5": 0.75, "mrr": (1 + 0.2 + 1 / 6 + 0.5) / 4}
