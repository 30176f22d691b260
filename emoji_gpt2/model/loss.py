"""The loss: cross-entropy over supervised positions and candidate tokens only.

Shapes: N supervised positions (the emoji of a row and its end of text), D width, V candidates (all
emoji and end of text), M answers of all soft targets. A loss is a sum in nats with the count that
it is a sum over; ``share_of_step`` makes the mean over an optimizer step of it.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from emoji_gpt2.batch import Batch


def candidate_logits(hidden_ND: Tensor, candidates_VD: Tensor) -> Tensor:
    """Return the scores of each candidate at each position, ``[N, V]``, in float32 or float64.

    ``candidates_VD`` are the rows of the tied output embedding that belong to the candidates.
    """
    logits_NV = F.linear(hidden_ND, candidates_VD)
    return logits_NV if logits_NV.dtype == torch.float64 else logits_NV.float()


def masked_cross_entropy(logits_NV: Tensor, labels_N: Tensor) -> tuple[Tensor, int]:
    """Return the summed cross-entropy in nats and the number of positions it is summed over.

    Of no position, it is a zero that touches the graph.
    """
    return F.cross_entropy(logits_NV, labels_N, reduction="sum"), labels_N.numel()


def soft_cross_entropy(
    logits_NV: Tensor, labels_N: Tensor, answers_M: Tensor, probs_M: Tensor, indices_M: Tensor
) -> tuple[Tensor, int]:
    """Return ``masked_cross_entropy`` with several right answers at some positions.

    Such a position costs -sum(q * log p) over its answers instead of -log p of its label
    (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7).

    Args:
        logits_NV: Scores, ``[N, V]``.
        labels_N: The right candidate's index in 0..V-1, ``[N]``; unused where there are answers.
        answers_M: Indices of right candidates, ``[M]``; M may be 0.
        probs_M: The probability of each; those of one position sum to 1.
        indices_M: Which position each is for, in 0..N-1.
    """
    if not len(answers_M):
        return masked_cross_entropy(logits_NV, labels_N)
    log_p_NV = logits_NV.log_softmax(1)
    hard_N = torch.ones_like(labels_N, dtype=torch.bool).index_fill(0, indices_M, value=False)
    nats_N = F.nll_loss(log_p_NV, labels_N, reduction="none") * hard_N
    nats_M = -probs_M * log_p_NV[indices_M, answers_M]
    return nats_N.sum() + nats_M.sum(), labels_N.numel()


def share_of_step(nats: Tensor, count: Tensor | int, batch: Batch, world_size: int) -> Tensor:
    """Return a micro-batch's part of the mean loss over its optimizer step.

    Lightning divides it by the micro-batches of a step, and DDP averages over ranks: what is left
    is the sum over all supervised tokens of the step, divided once by their number, which the
    loader knows (``Batch.step_tokens``). Where it does not, this is the mean over the batch.

    Args:
        nats: The summed loss of the micro-batch.
        count: What it is a sum over; where that is not the supervised tokens, the micro-batch
            counts by these all the same.
        batch: The micro-batch.
        world_size: The number of ranks.
    """
    n_tokens = batch.labels_N.numel()
    count = max(count, 1) if isinstance(count, int) else count.clamp(min=1)
    if batch.step_tokens is None:
        return nats * (n_tokens / count / max(n_tokens, 1))
    parts = world_size * batch.step_batches
    return nats * (n_tokens / count * parts / max(batch.step_tokens, 1))
