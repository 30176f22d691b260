"""What a loss is made of; ``test_module.py`` holds the whole against loops over single rows."""

import pytest
import torch

from emoji_gpt2.batch import collate
from emoji_gpt2.model.loss import candidate_logits, share_of_step


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")],
)
def test_logits_are_float32_at_least(given: str, wanted: str) -> None:
    of = {"dtype": getattr(torch, given)}
    logits = candidate_logits(torch.randn(3, 4, **of), torch.randn(5, 4, **of))
    assert logits.dtype is getattr(torch, wanted)
    assert logits.shape == (3, 5)


@pytest.mark.parametrize("counted", ["tokens", "rows"])
def test_the_parts_of_a_step_sum_to_its_mean(counted: str) -> None:
    """Lightning divides by the micro-batches, DDP by the ranks; here 2 of each, one without rows.

    A loss of one's own may be a sum over something else: the mean of a micro-batch then counts by
    its tokens.
    """
    tokens = [6, 3, 0, 2]
    parts = [collate([], 0)._replace(labels_N=torch.zeros(n, dtype=torch.long)) for n in tokens]
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
