"""Ranks against sorting in plain Python; states of shards against the state of the whole."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import Metric

from emoji_gpt2.model.metrics import (
    EvaluationMetrics,
    HitAtK,
    MeanReciprocalRank,
    NatsPerToken,
    best_answer_rank,
)

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


def test_rank_of_all_equal_scores_is_the_worst() -> None:
    assert best_answer_rank(torch.zeros(1, 100), torch.tensor([[4]])).tolist() == [100]
    assert best_answer_rank(torch.zeros(1, 100), torch.tensor([[4, 9, -1]])).tolist() == [99]


def test_rank_of_a_diverged_model_is_the_worst() -> None:
    assert best_answer_rank(torch.full((1, 100), NAN), torch.tensor([[4, 7]])).tolist() == [99]
    one_nan = torch.tensor([[0.0, NAN, 5.0]])
    assert best_answer_rank(one_nan, torch.tensor([[2]])).tolist() == [2]


def test_rank_counts_the_best_of_several_answers() -> None:
    logits = torch.tensor([[5.0, 4.0, 3.0, 2.0]])
    ranks = [best_answer_rank(logits, torch.tensor([a])).item() for a in ([3], [3, 1], [1, 0, 3])]
    assert ranks == [4, 2, 1]


def test_no_text_no_rank() -> None:
    ranks = best_answer_rank(torch.zeros(0, 5), torch.zeros(0, 1, dtype=torch.long))
    assert ranks.shape == (0,)


# Ranks of texts, cut into shards as ranks of a run would have them.
shards = st.lists(st.lists(st.integers(1, 50), max_size=20), min_size=1, max_size=5)


def merged(whole: Metric, parts: list[Metric]) -> Metric:
    """The states added up as torchmetrics does over processes: by the declared reduction."""
    for name, reduction in whole._reductions.items():
        stacked = torch.stack([getattr(part, name) for part in parts])
        setattr(whole, name, reduction(stacked))
    whole._update_count = 1
    return whole


def same(left: Tensor, right: Tensor) -> bool:
    return bool(left == right) or bool(left.isnan() and right.isnan())


@given(shards)
def test_ranking_metrics_of_shards_equal_those_of_the_whole(cut: list[list[int]]) -> None:
    ranks = [rank for shard in cut for rank in shard]
    for make, reference in (
        (lambda: HitAtK(1), [Fraction(r <= 1) for r in ranks]),
        (lambda: HitAtK(5), [Fraction(r <= 5) for r in ranks]),
        (lambda: MeanReciprocalRank(50), [Fraction(1, r) for r in ranks]),
    ):
        parts, whole = [make() for _ in cut], make()
        for part, shard in zip(parts, cut, strict=True):
            part.update(torch.tensor(shard, dtype=torch.long))
        whole.update(torch.tensor(ranks, dtype=torch.long))
        got = merged(make(), parts).compute()
        assert same(got, whole.compute())
        if ranks:
            assert got.item() == pytest.approx(float(sum(reference) / len(ranks)), rel=1e-12)


@given(st.lists(st.tuples(st.integers(0, 2**20), st.integers(1, 99)), min_size=1, max_size=30))
def test_nats_per_token_of_shards_equal_those_of_the_whole(cut: list[tuple[int, int]]) -> None:
    """Multiples of 1/64 nat add up exactly, so any order must give the same digits."""
    parts, whole = [NatsPerToken() for _ in cut], NatsPerToken()
    for part, (sixtyfourths, tokens) in zip(parts, cut, strict=True):
        for metric in (part, whole):
            metric.update(torch.tensor(sixtyfourths / 64), torch.tensor(tokens))
    got = merged(NatsPerToken(), parts).compute()
    wanted = Fraction(sum(n for n, _ in cut), 64 * sum(t for _, t in cut))
    assert got == whole.compute()
    assert got.item() == float(wanted)


def test_nats_are_summed_in_double_precision() -> None:
    """In float32, 2**24 nats would swallow each further nat."""
    metric = NatsPerToken()
    metric.update(torch.tensor(2.0**24), torch.tensor(1))
    for _ in range(3):
        metric.update(torch.tensor(1.0), torch.tensor(1))
    assert metric.compute().item() == (2**24 + 3) / 4


METRICS = [lambda: HitAtK(1), lambda: HitAtK(5), lambda: MeanReciprocalRank(7), NatsPerToken]


@pytest.mark.parametrize("make", METRICS, ids=["hit@1", "hit@5", "mrr", "nats"])
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")
def test_without_anything_it_is_nan_also_after_reset(make: type[Metric]) -> None:
    metric = make()
    assert metric.compute().isnan()
    if isinstance(metric, NatsPerToken):
        metric.update(torch.tensor(1.0), torch.tensor(2))
    else:
        metric.update(torch.tensor([1, 2]))
    assert not metric.compute().isnan()
    metric.reset()
    assert metric.compute().isnan()


@pytest.mark.parametrize("make", METRICS, ids=["hit@1", "hit@5", "mrr", "nats"])
def test_no_state_is_saved_with_the_weights(make: type[Metric]) -> None:
    assert not make().state_dict()


def test_evaluation_metrics_count_each_batch_once() -> None:
    metrics = EvaluationMetrics(n_emoji=10)
    metrics.update(torch.tensor(6.0), torch.tensor(2), torch.tensor([1, 10]))
    metrics.update(torch.tensor(1.0), torch.tensor(2), torch.tensor([5, 6]))
    got = {name: metric.compute().item() for name, metric in metrics.named().items()}
    mrr = (1 + 1 / 10 + 1 / 5 + 1 / 6) / 4
    wanted = {"loss": 7 / 4, "hit_at_1": 0.25, "hit_at_5": 0.5, "mrr": mrr}
    assert got == pytest.approx(wanted, rel=1e-12)
