"""Ranks against sorting in plain Python; states of shards against the state of the whole."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from emoji_gpt2.model.metrics import EvaluationMetrics, best_answer_rank

NAN = math.nan
scores = st.sampled_from([-math.inf, -2.0, -0.5, 0.0, 0.5, 1.0, 3.0, NAN])  # few: many ties


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[float]], list[list[int]]]:
    n_emoji = draw(st.integers(1, 8))
    n_texts = draw(st.integers(1, 6))
    row = st.lists(scores, min_size=n_emoji, max_size=n_emoji)
    logits = [draw(row) for _ in range(n_texts)]
    answers = [
        draw(st.lists(st.integers(0, n_emoji - 1), min_size=1, max_size=n_emoji, unique=True))
        for _ in range(n_texts)
    ]
    return logits, answers


def sorted_rank(logits: list[float], answers: list[int]) -> int:
    """Sort wrong emoji and the best answer, best first, the answer last among its equals.

    A NaN among the answers makes the answer worst of all; a NaN among the others stands above it.
    """
    if any(math.isnan(logits[a]) for a in answers):
        best = -math.inf
    else:
        best = max(logits[a] for a in answers)
    wrong = [score for i, score in enumerate(logits) if i not in answers]
    line = [(-math.inf if math.isnan(score) else -score, 0) for score in wrong]
    return sorted([*line, (-best, 1)]).index((-best, 1)) + 1


def padded(answers: list[list[int]]) -> Tensor:
    width = max(map(len, answers)) + 1
    return torch.tensor([a + [-1] * (width - len(a)) for a in answers])


@given(tables())
def test_rank_equals_sorting(table: tuple[list[list[float]], list[list[int]]]) -> None:
    logits, answers = table
    got = best_answer_rank(torch.tensor(logits), padded(answers))
    assert got.tolist() == [sorted_rank(x, a) for x, a in zip(logits, answers, strict=True)]


@given(st.lists(st.tuples(st.lists(st.integers(1, 50)), st.integers(0, 9)), max_size=5))
def test_metrics_are_means_over_all_texts_and_tokens(
    batches: list[tuple[list[int], int]],
) -> None:
    metrics = EvaluationMetrics()
    for ranks, tokens in batches:
        nats = torch.tensor(tokens / 7)
        metrics.update(nats, tokens, torch.tensor(ranks, dtype=torch.long))
    found = {name: float(metric.compute()) for name, metric in metrics.named().items() if batches}
    ranks = [rank for part, _ in batches for rank in part]
    for name, parts in (
        ("hit_at_1", [Fraction(r <= 1) for r in ranks]),
        ("hit_at_5", [Fraction(r <= 5) for r in ranks]),
        ("mrr", [Fraction(1, r) for r in ranks]),
    ):
        if ranks:
            assert found[name] == pytest.approx(float(sum(parts) / len(ranks)), rel=1e-12)
    if any(tokens for _, tokens in batches):
        assert found["loss"] == pytest.approx(1 / 7, rel=1e-6)


def test_nats_are_summed_in_double_precision() -> None:
    """In float32, 2**24 nats would swallow each further nat."""
    metrics, nobody = EvaluationMetrics(), torch.ones(0, dtype=torch.long)
    for nats in (2.0**24, 1.0, 1.0, 1.0):
        metrics.update(torch.tensor(nats), 1, nobody)
    assert metrics.loss.compute().item() == (2**24 + 3) / 4


def test_a_diverged_loss_is_not_hidden() -> None:
    metrics = EvaluationMetrics()
    metrics.update(torch.tensor(1.0), 1, torch.tensor([1]))
    metrics.update(torch.tensor(NAN), 1, torch.tensor([1]))
    assert metrics.loss.compute().isnan()


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")
def test_without_anything_they_are_nan_also_after_reset_and_not_saved() -> None:
    metrics = EvaluationMetrics()
    assert not metrics.state_dict()
    for _ in range(2):
        assert all(metric.compute().isnan() for metric in metrics.named().values())
        metrics.update(torch.tensor(1.0), 2, torch.tensor([1, 2]))
        assert not any(metric.compute().isnan() for metric in metrics.named().values())
        for metric in metrics.named().values():
            metric.reset()
