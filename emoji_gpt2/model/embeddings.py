"""Where a new emoji token starts: at the mean of what describes it, in the model's own embedding.

An emoji's row is the mean of the embeddings of the tokens of its name and keywords, each
weighted by its rarity, log(emoji / emoji whose description has the token), that is inverse document
frequency (Spärck Jones 1972), and scaled to the mean norm of the other rows. Held-out keywords
(``emoji/descriptions.py``) take no part.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag
from transformers import GPT2LMHeadModel, GPT2Tokenizer

from emoji_gpt2.emoji.descriptions import describe
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.tokenizer import EMOJI_TOKEN, encode_texts, token_id, token_ids


@torch.no_grad()
def add_embeddings(
    model: GPT2LMHeadModel, tokenizer: GPT2Tokenizer, new_tokens: Sequence[str]
) -> None:
    """Give ``model`` a row for each token of ``tokenizer`` and start those of ``new_tokens``.

    Others keep their rows; input and output embeddings stay tied.
    """
    n_tokens = max(len(tokenizer), model.config.vocab_size)
    model.resize_token_embeddings(n_tokens, mean_resizing=False)
    assert model.lm_head.weight is model.transformer.wte.weight
    rows_VD = model.transformer.wte.weight.data
    known = torch.ones(len(rows_VD), dtype=torch.bool)
    known[token_ids(tokenizer, new_tokens)] = False
    norm = rows_VD[known].norm(dim=1).mean()
    mean_D = rows_VD[known].mean(0)
    table = EmojiTable.builtin()
    texts = [describe(table, one) for one in table]  # rarity is that in the whole table
    starts_ED = _weighted_means(rows_VD, _description_ids(tokenizer, texts), mean_D)
    starts_ED *= norm / starts_ED.norm(dim=1, keepdim=True).clamp(min=1e-12)
    rows = torch.tensor(token_ids(tokenizer, table))
    rows_VD[rows[~known[rows]]] = starts_ED[~known[rows]]
    if EMOJI_TOKEN in new_tokens:
        rows_VD[token_id(tokenizer, EMOJI_TOKEN)] = mean_D  # near zero in a model from scratch


@torch.no_grad()
def start_as_bag_of_words(model: GPT2LMHeadModel) -> None:
    """Let a model from scratch begin with the mean of a text's embeddings as its answer.

    The first layer attends almost evenly at the start; with values and output passed on unchanged
    (identity matrices), small position embeddings and an ``<|emoji|>`` near zero, the last hidden
    state is that mean, and the tied projection finds the emoji that start from the same words.
    """
    attention: Any = model.transformer.h[0].get_submodule("attn")
    width = model.config.n_embd
    attention.c_attn.weight[:, 2 * width :] = torch.eye(width)  # the values of query, key, value
    attention.c_proj.weight.copy_(torch.eye(width))
    model.transformer.wpe.weight.mul_(0.1)


def _description_ids(tokenizer: GPT2Tokenizer, texts: list[list[str]]) -> list[list[int]]:
    """Return the tokens of each emoji's description."""
    ids = iter(encode_texts(tokenizer, [text for group in texts for text in group]))
    return [[token for _ in group for token in next(ids)] for group in texts]


def _weighted_means(rows_VD: Tensor, ids: list[list[int]], otherwise_D: Tensor) -> Tensor:
    """Return the rarity-weighted mean row of each list of tokens; without weight, the other row."""
    emoji_with = Counter(token for tokens in ids for token in set(tokens))
    rarity = torch.zeros(len(rows_VD))
    rarity[list(emoji_with)] = torch.log(len(ids) / torch.tensor([*emoji_with.values()]))
    flat = torch.tensor([token for tokens in ids for token in tokens])
    starts = torch.tensor([0, *accumulate(map(len, ids))][:-1])
    weights = rarity[flat]
    sums_ED = embedding_bag(flat, rows_VD, starts, mode="sum", per_sample_weights=weights)
    totals_E = embedding_bag(flat, rarity[:, None], starts, mode="sum")
    return torch.where(totals_E > 0, sums_ED / totals_E, otherwise_D)
