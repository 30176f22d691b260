"""What is measured on held-out texts, as torchmetrics states that add up over ranks.

Shapes: B texts, V emoji, K right answers of a text (padded with -1).
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


class Mean(Metric):
    """A mean in double precision; NaN of nothing.

    torchmetrics' MeanMetric adds in place, which PyTorch forbids outside of inference mode to what
    was made in it: a step by hand would fail after ``Trainer.validate``.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0, dtype=_EXACT), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, total: Tensor, count: int) -> None:
        """Add a sum and what it is a sum over."""
        self.total = self.total + total.detach().to(_EXACT)
        self.count = self.count + count

    def compute(self) -> Tensor:
        """Return the mean."""
        return self.total / self.count


class EvaluationMetrics(nn.Module):
    """Of one held-out split: nats per supervised token; over texts, hit@1, hit@5 and MRR."""

    def __init__(self) -> None:
        super().__init__()
        self.loss, self.hit_at_1, self.hit_at_5, self.mrr = (Mean() for _ in range(4))

    def update(self, nats: Tensor, tokens: int, ranks_B: Tensor) -> None:
        """Count a batch: its loss in nats, its supervised tokens, its texts' ranks."""
        self.loss.update(nats, tokens)
        self.hit_at_1.update((ranks_B <= 1).sum(), ranks_B.numel())
        self.hit_at_5.update((ranks_B <= 5).sum(), ranks_B.numel())
        self.mrr.update((1 / ranks_B.to(_EXACT)).sum(), ranks_B.numel())

    def named(self) -> dict[str, Metric]:
        """Return the metrics by the name that they are logged under."""
        return {name: getattr(self, name) for name in ("loss", "hit_at_1", "hit_at_5", "mrr")}
