"""A packed batch is the same rows: held against each row by itself, in Transformers' own model."""

from copy import deepcopy
from functools import cache

import pytest
import torch
from torch import Tensor

from emoji_gpt2 import EmojiGPT2
from emoji_gpt2.model.packing import NAME, implementation, pack
from tests.tiny import TINY

LENGTHS = [3, 9, 2, 9, 1, 4, 5, 16]


@cache
def start() -> EmojiGPT2:
    torch.manual_seed(0)
    return EmojiGPT2(config=TINY, dropout=0.0)


@pytest.fixture
def model() -> EmojiGPT2:
    """Return a model without dropout, which differs from position to position."""
    torch.manual_seed(0)
    return deepcopy(start(), {id(start().tokenizer): start().tokenizer})


def batch() -> tuple[Tensor, Tensor]:
    """Return ids, right-padded, and the last two positions of each row."""
    ids_BT = torch.randint(0, 1000, (len(LENGTHS), max(LENGTHS)))
    ends = [
        [row * ids_BT.shape[1] + n - 1 - back for back in (1, 0) if back < n]
        for row, n in enumerate(LENGTHS)
    ]
    return ids_BT, torch.tensor([place for row in ends for place in row])


def scores_row_by_row(model: EmojiGPT2, ids_BT: Tensor) -> Tensor:
    """Return what Transformers says of each row alone, without padding."""
    found = []
    for ids_T, length in zip(ids_BT, LENGTHS, strict=True):
        logits = model.model(ids_T[None, :length]).logits[0, -2:]
        found.append(logits[:, model.candidate_ids])
    return torch.cat(found)


def gradients(model: EmojiGPT2, scores: Tensor) -> Tensor:
    model.zero_grad()
    scores.logsumexp(1).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_rows_score_and_learn_as_rows_alone(model: EmojiGPT2, checkpointing: bool) -> None:
    ids_BT, positions_N = batch()
    assert pack(model.model, ids_BT, positions_N)[0].shape[0] == 1  # it is packed
    expected = scores_row_by_row(model, ids_BT)
    expected_gradients = gradients(model, expected)
    if checkpointing:
        model.model.activation_checkpointing_enable()
    scores = model.train()(ids_BT, positions_N)
    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(gradients(model, scores), expected_gradients, rtol=1e-4, atol=1e-5)


def test_what_is_packed_holds_hardly_more_than_the_tokens(model: EmojiGPT2) -> None:
    ids_BT = torch.zeros(300, 40, dtype=torch.long)
    ends = torch.arange(300) % 7 + 2
    ends[-1] = 40
    ids_1P, positions_N, options = pack(model.model, ids_BT, torch.arange(300) * 40 + ends - 1)
    assert int(ends.sum()) <= ids_1P.shape[1] < int(ends.sum()) + 128
    assert sum(number * length for number, length in options["rows"]) == ids_1P.shape[1]
    assert sorted((options["position_ids"][0][positions_N] + 1).tolist()) == sorted(ends.tolist())


def test_another_attention_is_left_alone(model: EmojiGPT2) -> None:
    ids_BT, positions_N = batch()
    expected = model(ids_BT, positions_N)
    model.model.set_attn_implementation("eager")
    assert pack(model.model, ids_BT, positions_N)[0] is ids_BT
    torch.testing.assert_close(model(ids_BT, positions_N), expected)


def test_generation_heeds_the_padding_on_the_left(model: EmojiGPT2) -> None:
    assert implementation(model.model) == NAME
    model.eval()
    ids_BT, left = batch()[0][:, :6], torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
    mask_BT = (torch.arange(6) >= left[:, None]).long()
    options = {"max_new_tokens": 3, "do_sample": False, "pad_token_id": 0}
    expected = [
        model.model.generate(row[None, n:], attention_mask=mask[None, n:], **options)[0, 6 - n :]
        for row, mask, n in zip(ids_BT, mask_BT, left.tolist(), strict=True)
    ]
    found = model.model.generate(ids_BT, attention_mask=mask_BT, **options)
    assert found[:, 6:].tolist() == torch.stack(expected).tolist()
