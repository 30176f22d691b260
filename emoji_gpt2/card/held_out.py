"""A run's validation texts as they can be read, and what needs no training on them.

    texts, wanted, _ = validation_texts(store, tokenizer)
    baselines(store, tokenizer, texts, wanted)     # {"most frequent emoji": {"hit_at_1": ...}, ...}

Emoji are numbered in table order.
"""

from collections.abc import Sequence

import numpy as np
from transformers import GPT2Tokenizer

from emoji_gpt2.data.store import Store
from emoji_gpt2.emoji.descriptions import held_out_keywords
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.evaluation.baselines import (
    Array,
    LexicalMatcher,
    ranking_metrics,
)
from emoji_gpt2.evaluation.scores import answer_ranks
from emoji_gpt2.tokenizer import candidate_tokens, decode_text

MAX_TEXTS = 2_000
"""Validation texts that a baseline ranks at most: in a second, with a standard error of 1 %."""
MAX_ROWS = 100_000
"""Training rows whose emoji are counted at most."""


def validation_texts(
    store: Store, tokenizer: GPT2Tokenizer
) -> tuple[list[str], list[list[int]], int]:
    """Return up to ``MAX_TEXTS`` texts, spread evenly, each one's right emoji, and how many exist.

    They are those that ``val/mrr`` is over, normalised as in training.
    """
    split = store.splits["val"]
    if split.offsets is None:
        return [], [], 0
    ranked = np.flatnonzero(np.diff(split.offsets))
    chosen = evenly(len(ranked), MAX_TEXTS)
    index_of = _emoji_index(tokenizer)
    texts, wanted = [], []
    for row in ranked[chosen].tolist():
        ids, n_prompt = store.row(int(split.rows[row]))
        texts.append(decode_text(tokenizer, ids[: n_prompt - 1].tolist()))
        wanted.append([int(i) for i in index_of[split.answers_of(row)]])
    return texts, wanted, len(ranked)


def evenly(available: int, wanted: int) -> Array:
    """Return up to ``wanted`` places of ``available``, spread evenly, the same each time."""
    return np.linspace(0, available - 1, min(available, wanted)).astype(int)


def baselines(
    store: Store,
    tokenizer: GPT2Tokenizer,
    texts: Sequence[str],
    wanted: Sequence[Sequence[int]],
    toned: bool = True,
) -> dict[str, dict[str, float]]:
    """Return hit@1, hit@5 and MRR of each baseline on texts with their right emoji.

    The lexical matcher knows what the model's embeddings begin with: no held-out keyword.

    Args:
        store: Its training rows say which emoji is the most frequent.
        tokenizer: Of the store.
        texts: At least one.
        wanted: The right emoji of each.
        toned: Whether emoji with skin tones are matched too.
    """
    counts_V = emoji_counts(store, tokenizer)
    frequent_V = counts_V - np.arange(len(counts_V)) / len(counts_V)  # equal counts: table order
    found = {"most frequent emoji": [_rank(frequent_V, right) for right in wanted]}
    table, left_out = EmojiTable.builtin(), held_out_keywords()
    for name, matcher in {
        "lexical matcher, sum of idf": LexicalMatcher(table, "sum", toned, left_out),
        "lexical matcher, cosine of tf-idf": LexicalMatcher(table, "cosine", toned, left_out),
    }.items():
        pairs = zip(texts, wanted, strict=True)
        found[name] = [_rank(matcher.rank(text), right) for text, right in pairs]
    return {name: ranking_metrics(ranks) for name, ranks in found.items()}


def _rank(scores_V: Array, right: Sequence[int]) -> int:
    """Return the rank, from 1, of the best right emoji."""
    columns_P = np.asarray(right)
    return int(answer_ranks(scores_V[None], np.zeros_like(columns_P), columns_P).best_B[0])


def emoji_counts(store: Store, tokenizer: GPT2Tokenizer) -> Array:
    """Return how often each emoji is an answer in the training rows, ``[V]``.

    Of more than ``MAX_ROWS`` rows, so many are looked at.
    """
    index_of = _emoji_index(tokenizer)
    rows = store.splits["train"].rows
    counts_V = np.zeros(len(EmojiTable.builtin()), dtype=np.int64)
    for row in rows[evenly(len(rows), MAX_ROWS)].tolist():
        ids, n_prompt = store.row(row)
        for token in ids[n_prompt:-1].tolist():
            counts_V[index_of[token]] += 1
    return counts_V


def _emoji_index(tokenizer: GPT2Tokenizer) -> Array:
    """Return the number of each token's emoji, -1 for tokens that are none."""
    emoji = candidate_tokens(tokenizer)[1:]
    index = np.full(len(tokenizer), -1)
    index[emoji] = np.arange(len(emoji))
    return index
