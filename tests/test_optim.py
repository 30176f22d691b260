"""Decay groups and the learning rate, against what is written down here by hand."""

import math

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from emoji_gpt2.optim import decay_groups, warmup_cosine


@pytest.fixture
def gpt2() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=50257))


def test_groups_hold_every_parameter_once(gpt2: GPT2LMHeadModel) -> None:
    names = {parameter: name for name, parameter in gpt2.named_parameters()}
    grouped = [names[p] for group in decay_groups(gpt2, 0.1) for p in group["params"]]
    assert sorted(grouped) == sorted(names.values())
    assert gpt2.lm_head.weight is gpt2.transformer.wte.weight
    assert grouped.count("transformer.wte.weight") == 1
    assert "lm_head.weight" not in grouped


def test_matrices_decay_and_vectors_do_not(gpt2: GPT2LMHeadModel) -> None:
    names = {parameter: name for name, parameter in gpt2.named_parameters()}
    decay = {names[p]: g["weight_decay"] for g in decay_groups(gpt2, 0.1) for p in g["params"]}
    for name, value in decay.items():
        is_vector = name.endswith(".bias") or ".ln_" in name
        assert value == (0.0 if is_vector else 0.1), name


def test_frozen_parameters_and_scalars() -> None:
    model = nn.Module()
    model.frozen = nn.Parameter(torch.zeros(2, 2), requires_grad=False)
    model.scalar = nn.Parameter(torch.tensor(1.0))
    matrices, others = decay_groups(model, 0.5)
    assert matrices["params"] == []
    assert [p is model.scalar for p in others["params"]] == [True]


@pytest.mark.parametrize(
    ("step", "wanted"),
    [
        (0, 1 / 11),  # not 0: the first step trains
        (4, 5 / 11),
        (9, 10 / 11),
        (10, 1.0),  # the warm-up's end is the peak
        (35, 0.5 + math.sqrt(0.5) / 2),
        (60, 0.5),  # the middle between warm-up and end
        (110, 0.0),
        (111, 0.0),  # beyond
        (10_000, 0.0),
    ],
)
def test_warmup_then_half_a_cosine(step: int, wanted: float) -> None:
    assert warmup_cosine(step, 10, 110) == pytest.approx(wanted, abs=1e-12)


def test_without_end_it_stays_at_the_peak() -> None:
    factors = [warmup_cosine(step, 3, None) for step in (0, 1, 2, 3, 4, 1_000_000)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_without_warmup_it_starts_at_the_peak() -> None:
    assert warmup_cosine(0, 0, 10) == 1.0
    assert warmup_cosine(0, 0, None) == 1.0


def test_it_rises_to_the_peak_and_then_only_falls() -> None:
    factors = [warmup_cosine(step, 7, 50) for step in range(60)]
    assert factors[:8] == sorted(factors[:8])
    assert factors[7:] == sorted(factors[7:], reverse=True)
    assert max(factors) == factors[7] == 1.0


@pytest.mark.parametrize("total", [0, 5, 10])
def test_a_run_shorter_than_its_warmup(total: int) -> None:
    """No division by zero, and no factor outside 0..1."""
    assert all(0 <= warmup_cosine(step, 10, total) <= 1 for step in range(30))
