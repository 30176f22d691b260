"""What is measured on held-out texts, as torchmetrics states that add up exactly over ranks.

Shapes: B texts, V emoji, K right answers of a text (padded with -1), N supervised positions.

    ranks_B = best_answer_rank(logits_BV, answers_BK)
    hit_at_5 = HitAtK(5); hit_at_5.update(ranks_B); hit_at_5.compute()

Ranks are counted as integers, so any number of processes gives the same digits.
"""

import torch
from torch import Tensor, nn
from torchmetrics import Metric

_EXACT = torch.float32 if torch.backends.mps.is_available() else torch.float64
"""Apple's GPUs have no float64."""


def best_answer_rank(logits_BV: Tensor, answers_BK: Tensor) -> Tensor:
    """Return the rank, from 1, of each text's best-scored right answer among all emoji, ``[B]``.

    Ties and NaN count against the model, so that neither a constant nor a diverged one looks good.

    Args:
        logits_BV: Scores of all emoji.
        answers_BK: Indices of right answers in 0..V-1, -1 where a text has fewer than K.
    """
    given_BK = answers_BK >= 0
    scores_BK = logits_BV.gather(1, answers_BK.clamp(min=0))
    best_B1 = scores_BK.masked_fill(~given_BK, -torch.inf).amax(1, keepdim=True)
    wrong_BV = torch.ones_like(logits_BV, dtype=torch.bool)
    rows_BK = torch.arange(len(answers_BK), device=answers_BK.device)[:, None].expand_as(answers_BK)
    wrong_BV[rows_BK[given_BK], answers_BK[given_BK]] = False
    return 1 + (wrong_BV & ~(logits_BV < best_B1)).sum(1)


class HitAtK(Metric):
    """Share of texts with a right answer among the k best emoji."""

    full_state_update = False
    higher_is_better = True
    hits: Tensor
    texts: Tensor

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k
        self.add_state("hits", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("texts", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, ranks_B: Tensor) -> None:
        """Count texts by the rank of their best right answer, ``[B]``, from 1."""
        self.hits = self.hits + (ranks_B <= self.k).sum()
        self.texts = self.texts + ranks_B.numel()

    def compute(self) -> Tensor:
        """Return hits per text in 0..1; NaN without any text."""
        return self.hits.to(_EXACT) / self.texts


class MeanReciprocalRank(Metric):
    """Mean over texts of 1 / rank of the best right answer."""

    full_state_update = False
    higher_is_better = True
    texts_at_rank: Tensor

    def __init__(self, n_emoji: int) -> None:
        super().__init__()
        self.add_state("texts_at_rank", torch.zeros(n_emoji + 1).long(), dist_reduce_fx="sum")

    def update(self, ranks_B: Tensor) -> None:
        """Count texts by the rank of their best right answer, ``[B]``, in 1..n_emoji."""
        counts = torch.bincount(ranks_B, minlength=len(self.texts_at_rank))
        self.texts_at_rank = self.texts_at_rank + counts

    def compute(self) -> Tensor:
        """Return the mean in 0..1, from integer counts; NaN without any text."""
        counts = self.texts_at_rank[1:].to(_EXACT)
        ranks = torch.arange(1, len(counts) + 1, device=counts.device)
        return (counts / ranks).sum() / counts.sum()


class EvaluationMetrics(nn.Module):
    """All that is measured of one held-out split.

    Args:
        n_emoji: How many emoji are ranked.
    """

    def __init__(self, n_emoji: int) -> None:
        super().__init__()
        self.loss = NatsPerToken()
        self.hit_at_1 = HitAtK(1)
        self.hit_at_5 = HitAtK(5)
        self.mrr = MeanReciprocalRank(n_emoji)

    def update(self, nats: Tensor, tokens: int, ranks_B: Tensor) -> None:
        """Count a batch: its loss in nats, its supervised tokens, its texts' ranks."""
        self.loss.update(nats, tokens)
        for metric in (self.hit_at_1, self.hit_at_5, self.mrr):
            metric.update(ranks_B)

    def named(self) -> dict[str, Metric]:
        """Return the metrics by the name that they are logged under."""
        return {
            "loss": self.loss,
            "hit_at_1": self.hit_at_1,
            "hit_at_5": self.hit_at_5,
            "mrr": self.mrr,
        }


class NatsPerToken(Metric):
    """Cross-entropy in nats per supervised token, over all that was seen since the last reset."""

    full_state_update = False
    higher_is_better = False
    nats: Tensor
    tokens: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("nats", torch.tensor(0.0, dtype=_EXACT), dist_reduce_fx="sum")
        self.add_state("tokens", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, nats: Tensor, tokens: int) -> None:
        """Add a sum in nats and the number of supervised tokens it is over."""
        self.nats = self.nats + nats.detach().to(_EXACT)
        self.tokens = self.tokens + tokens

    def compute(self) -> Tensor:
        """Return nats per token; NaN without any token."""
        return self.nats / self.tokens
