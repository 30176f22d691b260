"""Decay groups and the learning rate, against what is written down here by hand."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR
from transformers import GPT2Config, GPT2LMHeadModel

from emoji_gpt2.model.optim import WarmupCosine, decay_groups, warmup_cosine


@pytest.fixture
def gpt2() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=50257))


def test_groups_hold_every_parameter_once_and_matrices_alone_decay(gpt2: GPT2LMHeadModel) -> None:
    names = {parameter: name for name, parameter in gpt2.named_parameters()}
    decay = [(names[p], g["weight_decay"]) for g in decay_groups(gpt2, 0.1) for p in g["params"]]
    assert sorted(name for name, _ in decay) == sorted(names.values())
    assert gpt2.lm_head.weight is gpt2.transformer.wte.weight
    assert ("transformer.wte.weight", 0.1) in decay
    assert "lm_head.weight" not in dict(decay)
    for name, value in decay:
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


@pytest.mark.parametrize("total", [0, 5, 10])
def test_a_run_shorter_than_its_warmup(total: int) -> None:
    """No division by zero, and no factor outside 0..1."""
    assert all(0 <= warmup_cosine(step, 10, total) <= 1 for step in range(30))


def two_groups() -> SGD:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.4)]
    return SGD(groups, lr=1.0)


def rates(schedule: WarmupCosine | LambdaLR, steps: int) -> list[list[float]]:
    """The rates of each group at so many steps from now."""
    found = []
    for _ in range(steps):
        found.append([group["lr"] for group in schedule.optimizer.param_groups])
        schedule.optimizer.step()
        schedule.step()
    return found


def rates_from(step: int) -> np.ndarray:
    return np.outer([warmup_cosine(s, 2, 8) for s in range(step, 8)], [0.1, 0.4])


def test_each_group_follows_the_schedule_in_proportion_to_its_rate() -> None:
    optimizer = two_groups()
    schedule = WarmupCosine(optimizer, 0.1, 2, lambda: 8)
    factors = [warmup_cosine(step, 2, 8) for step in range(9)]
    assert rates(schedule, 3) == pytest.approx(np.outer(factors[:3], [0.1, 0.4]))
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 0.3})
    rates(schedule, 1)
    assert rates(schedule, 1) == pytest.approx(np.outer(factors[4:5], [0.1, 0.4, 0.3]))
    schedule.lead_to(0.2)
    assert rates(schedule, 4) == pytest.approx(np.outer(factors[5:], [0.2, 0.8, 0.3]))


def test_a_schedule_goes_on_from_its_state_or_that_of_version_0_1() -> None:
    optimizer = two_groups()
    older = LambdaLR(optimizer, lambda step: warmup_cosine(step, 2, 8))
    rates(older, 4)
    ours = WarmupCosine(two_groups(), 0.1, 2, lambda: 8)
    rates(ours, 4)
    for state in (ours.state_dict(), older.state_dict()):
        fresh = two_groups()
        schedule = WarmupCosine(fresh, 0.1, 2, lambda: 8)
        fresh.load_state_dict(optimizer.state_dict())
        schedule.load_state_dict(state)
        assert rates(schedule, 4) == pytest.approx(rates_from(4))


def test_the_end_of_the_run_is_asked_for_after_its_first_step() -> None:
    """The data may not be there before."""
    ready = False

    def total_steps() -> int:
        assert ready
        return 8

    schedule = WarmupCosine(two_groups(), 0.1, 2, total_steps)
    ready = True
    assert rates(schedule, 8) == pytest.approx(rates_from(0))
