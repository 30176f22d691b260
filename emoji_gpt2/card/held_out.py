"""The validation texts of a run, and the metrics of baselines on them.

    texts = validation_texts(store, tokenizer)
    baselines(store, tokenizer, texts)       # {"most frequent emoji": {"hit_at_1": ...}, ...}

Shapes: V emoji in table order.
"""

from collections import Counter
from itertools import chain
from typing import NamedTuple

import numpy as np
from transformers import GPT2Tokenizer

from emoji_gpt2.data.store import Store
from emoji_gpt2.emoji.descriptions import held_out_keywords
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.evaluation.baselines import Array, LexicalMatcher, most_frequent, ranking_metrics
from emoji_gpt2.evaluation.scores import answer_ranks
from emoji_gpt2.tokenizer import candidate_tokens, decode_text

MAX_TEXTS = 2_000
"""The most validation texts that a baseline ranks."""
MAX_ROWS = 100_000
"""The most training rows whose emoji are counted."""


class Text(NamedTuple):
    """A validation text, normalised as in training, and the indices of its right emoji."""

    text: str
    right: list[int]


def validation_texts(store: Store, tokenizer: GPT2Tokenizer) -> tuple[list[Text], int]:
    """Return up to ``MAX_TEXTS`` of the texts that ``val/mrr`` is over, and how many there are."""
    split = store.splits["val"]
    if split.offsets is None:
        return [], 0
    index_of = {token: index for index, token in enumerate(candidate_tokens(tokenizer)[1:])}
    ranked = np.flatnonzero(np.diff(split.offsets))
    texts = []
    for row in evenly(ranked, MAX_TEXTS):
        ids, n_prompt = store.row(int(split.rows[row]))
        text = decode_text(tokenizer, ids[: n_prompt - 1].tolist())
        texts.append(Text(text, [index_of[token] for token in split.answers_of(row).tolist()]))
    return texts, len(ranked)


def evenly(values: Array, n: int) -> list[int]:
    """Return up to ``n`` of the values, spread evenly, the same each time."""
    chosen: list[int] = values[
        np.linspace(0, len(values) - 1, min(len(values), n), dtype=int)
    ].tolist()
    return chosen


def baselines(
    store: Store, tokenizer: GPT2Tokenizer, texts: list[Text], *, toned: bool
) -> dict[str, dict[str, float]]:
    """Return hit@1, hit@5 and MRR of each baseline.

    The lexical matchers must not see held-out keywords: the model's embeddings do not either.

    Args:
        store: The most frequent emoji is that of its training rows.
        tokenizer: Of the store.
        texts: At least one.
        toned: Whether emoji with skin tones are matched too.
    """
    rows = map(store.row, evenly(store.splits["train"].rows, MAX_ROWS))
    counts = Counter(chain.from_iterable(ids[n_prompt:-1].tolist() for ids, n_prompt in rows))
    counts_V = np.array([counts[token] for token in candidate_tokens(tokenizer)[1:]])
    frequent_V = most_frequent(counts_V)
    table, left_out = EmojiTable.builtin(), held_out_keywords()
    rankers = {
        "most frequent emoji": lambda _: frequent_V,
        "lexical matcher, sum of idf": LexicalMatcher(table, "sum", toned, left_out).rank,
        "lexical matcher, cosine of tf-idf": LexicalMatcher(table, "cosine", toned, left_out).rank,
    }
    found = {}
    for name, rank in rankers.items():
        ranks = [
            answer_ranks(rank(text)[None], np.zeros_like(right), np.array(right)).best_B[0]
            for text, right in texts
        ]
        found[name] = ranking_metrics(ranks)
    return found
