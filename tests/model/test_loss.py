"""The masked loss against plain loops in float64 over the rows' token lists.

The reference knows nothing of positions or candidates' indices: it walks over each row's own
tokens and normalises each score by hand.
"""

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

from emoji_gpt2.batch import Batch, collate
from emoji_gpt2.model.loss import (
    candidate_logits,
    masked_cross_entropy,
    share_of_step,
    soft_cross_entropy,
)

EMOJI = range(50, 60)
EOS, END_OF_PROMPT = 48, 49
CANDIDATES = [EOS, *EMOJI]
Row = tuple[list[int], int]  # all tokens, how many of them are the prompt


@pytest.fixture
def gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(3)
    config = GPT2Config(
        n_layer=1, n_head=2, n_embd=16, vocab_size=60, n_positions=32, initializer_range=0.5,
        bos_token_id=EOS, eos_token_id=EOS,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def batch_of(rows: list[Row]) -> Batch:
    return collate([(np.array(ids), n, np.array([], dtype=np.int64)) for ids, n in rows], EOS)


def loss_of(gpt2: GPT2LMHeadModel, batch: Batch) -> tuple[Tensor, int]:
    """The product's way: hidden states are gathered, then projected on the candidates."""
    hidden_BTD = gpt2.transformer(batch.ids_BT, use_cache=False).last_hidden_state
    hidden_ND = hidden_BTD.flatten(0, 1)[batch.positions_N]
    logits_NV = candidate_logits(hidden_ND, gpt2.lm_head.weight[CANDIDATES])
    index = torch.full((60,), -1)
    index[CANDIDATES] = torch.arange(len(CANDIDATES))
    return masked_cross_entropy(logits_NV, index[batch.labels_N])


@torch.no_grad()
def looped_loss(gpt2: GPT2LMHeadModel, rows: list[Row]) -> tuple[float, int]:
    """Each row alone, unpadded, in float64: nats and number of the tokens after the prompt."""
    gpt2 = deepcopy(gpt2).double()
    nats, count = 0.0, 0
    for ids, n_prompt in rows:
        for place in range(n_prompt, len(ids)):
            scores = gpt2(torch.tensor([ids[:place]])).logits[0, -1]
            total = math.fsum(math.exp(scores[token].item()) for token in CANDIDATES)
            nats -= scores[ids[place]].item() - math.log(total)
            count += 1
    return nats, count


ROWS: list[Row] = [
    ([1, 2, 3, END_OF_PROMPT, 50, EOS], 4),
    ([END_OF_PROMPT, 59, 51, 51, EOS], 1),  # an empty text, a repeated emoji
    ([4, EOS, 50, END_OF_PROMPT, 58, EOS], 4),  # the text itself holds candidates
    ([*range(5, 20), END_OF_PROMPT, 52, EOS], 16),
]
UNSUPERVISED: Row = ([7, 8, END_OF_PROMPT], 3)


@pytest.mark.parametrize(
    "rows",
    [ROWS, ROWS[:1], [*ROWS, UNSUPERVISED], [UNSUPERVISED, *ROWS], [UNSUPERVISED]],
    ids=["all", "one", "unsupervised last", "unsupervised first", "unsupervised alone"],
)
def test_loss_equals_plain_loops(gpt2: GPT2LMHeadModel, rows: list[Row]) -> None:
    nats, count = loss_of(gpt2, batch_of(rows))
    wanted_nats, wanted_count = looped_loss(gpt2, rows)
    assert count == wanted_count == sum(len(ids) - n for ids, n in rows)
    assert nats.item() == pytest.approx(wanted_nats, rel=1e-6)


def test_gathering_first_equals_projecting_everything(gpt2: GPT2LMHeadModel) -> None:
    """Logits of all positions, wrong ones masked by ignore_index: same loss, same gradients."""
    nats, _ = loss_of(gpt2, batch_of(ROWS))
    gathered = torch.autograd.grad(nats, list(gpt2.parameters()))

    width = max(len(ids) for ids, _ in ROWS)
    ids_BT = torch.tensor([ids + [EOS] * (width - len(ids)) for ids, _ in ROWS])
    labels_BT = torch.full_like(ids_BT, -100)
    for row, (ids, n_prompt) in enumerate(ROWS):
        for place in range(n_prompt, len(ids)):
            labels_BT[row, place] = CANDIDATES.index(ids[place])
    logits_BTV = gpt2(ids_BT).logits[..., CANDIDATES]
    everything = F.cross_entropy(
        logits_BTV[:, :-1].flatten(0, 1), labels_BT[:, 1:].flatten(), reduction="sum"
    )
    masked = torch.autograd.grad(everything, list(gpt2.parameters()))

    assert nats.item() == pytest.approx(everything.item(), rel=1e-6)
    for got, wanted in zip(gathered, masked, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [[], [UNSUPERVISED]], ids=["no row", "nothing supervised"])
def test_nothing_supervised_is_a_zero_on_the_graph(gpt2: GPT2LMHeadModel, rows: list[Row]) -> None:
    nats, count = loss_of(gpt2, batch_of(rows))
    nats.backward()
    assert nats.item() == 0
    assert count == 0
    for name, parameter in gpt2.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")],
)
def test_logits_are_float32_at_least(given: str, wanted: str) -> None:
    of = {"dtype": getattr(torch, given)}
    logits = candidate_logits(torch.randn(3, 4, **of), torch.randn(5, 4, **of))
    assert logits.dtype is getattr(torch, wanted)
    assert logits.shape == (3, 5)


N_POSITIONS, N_CANDIDATES = 5, 7
LOGITS = torch.randn(N_POSITIONS, N_CANDIDATES, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([3, 0, 6, 0, 2])


def test_soft_targets_equal_a_sum_over_hard_ones() -> None:
    """A row of several answers costs what rows of one each do, weighted by the shares."""
    shares = {0: {1: 0.5, 3: 0.25, 6: 0.25}, 4: {2: 0.9, 0: 0.1}}
    wanted = 0.0
    for place in range(N_POSITIONS):
        for label, share in shares.get(place, {int(LABELS[place]): 1.0}).items():
            alone, _ = masked_cross_entropy(LOGITS[[place]], torch.tensor([label]))
            wanted += share * alone.item()
    flat = [(p, label, share) for p, of in shares.items() for label, share in of.items()]
    places, answers, parts = (torch.tensor(column) for column in zip(*flat, strict=True))
    nats, count = soft_cross_entropy(LOGITS, LABELS, answers, parts, places)
    assert nats.item() == pytest.approx(wanted, rel=1e-6)
    assert count == N_POSITIONS


@pytest.mark.parametrize("counted", ["tokens", "rows"])
def test_the_parts_of_a_step_sum_to_its_mean(counted: str) -> None:
    """Lightning divides by the micro-batches, DDP by the ranks; here 2 of each, one without rows.

    A loss of one's own may be a sum over something else: the mean of a micro-batch then counts by
    its tokens.
    """
    parts = [batch_of(rows) for rows in (ROWS[:2], ROWS[2:3], [], ROWS[3:])]
    tokens = [batch.labels_N.numel() for batch in parts]
    counts = tokens if counted == "tokens" else [2, 1, 0, 1]
    nats = [7.0, 3.0, 0.0, 5.0]
    means = [n / max(count, 1) for n, count in zip(nats, counts, strict=True)]
    wanted = sum(m * n for m, n in zip(means, tokens, strict=True)) / sum(tokens)
    shares = [
        share_of_step(
            torch.tensor(n), count, batch._replace(step_tokens=sum(tokens), step_batches=2), 2
        ).item()
        for n, count, batch in zip(nats, counts, parts, strict=True)
    ]
    assert sum(shares) / 2 / 2 == pytest.approx(wanted, rel=1e-6)
    alone = [share_of_step(torch.tensor(n), torch.tensor(c), b, 2).item()
             for n, c, b in zip(nats, counts, parts, strict=True)]  # fmt: skip
    assert alone == pytest.approx(means, rel=1e-6)  # the step is not known
