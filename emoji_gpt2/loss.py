"""The loss: cross-entropy over supervised positions and candidate tokens only.

Shapes: N supervised positions (the emoji of a row and its end of text), D width, V candidates (all
emoji and end of text), M answers of all soft targets. A loss is a sum in nats with the count that
it is a sum over; the mean over an optimizer step is taken by ``EmojiGPT2.training_step`` if the
micro-batch is the whole step, else by ``EmojiGPT2.on_before_optimizer_step``.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def candidate_logits(hidden_ND: Tensor, candidates_VD: Tensor) -> Tensor:
    """Return the scores of each candidate at each position, ``[N, V]``, in float32.

    ``candidates_VD`` are the rows of the tied output embedding that belong to the candidates.
    """
    return F.linear(hidden_ND, candidates_VD).float()


def masked_cross_entropy(logits_NV: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy in nats and the number of positions it is summed over.

    Args:
        logits_NV: Scores, ``[N, V]``; N may be 0, then the sum is a zero that touches the graph.
        labels_N: The right candidate's index in 0..V-1, ``[N]``.
    """
    count = torch.tensor(labels_N.numel(), device=labels_N.device)
    return F.cross_entropy(logits_NV, labels_N, reduction="sum"), count


def soft_cross_entropy(
    logits_NV: Tensor, labels_N: Tensor, answers_M: Tensor, shares_M: Tensor, places_M: Tensor
) -> tuple[Tensor, Tensor]:
    """Return ``masked_cross_entropy`` with several right answers at some positions.

    Such a position costs -sum(share * log p) over its answers instead of -log p of its label
    (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7); with one answer of share 1,
    that is the same.

    Args:
        logits_NV: Scores, ``[N, V]``.
        labels_N: The right candidate's index in 0..V-1, ``[N]``; unused where there are answers.
        answers_M: Indices of right candidates, ``[M]``; M may be 0.
        shares_M: What each counts for; those of one position sum to 1.
        places_M: Which position each is for, in 0..N-1.
    """
    if not len(answers_M):
        return masked_cross_entropy(logits_NV, labels_N)
    log_p_NV = logits_NV.log_softmax(1)
    hard_N = torch.ones_like(labels_N, dtype=torch.bool).index_fill(0, places_M, value=False)
    nats_N = F.nll_loss(log_p_NV, labels_N, reduction="none") * hard_N
    nats_M = -shares_M * log_p_NV[places_M, answers_M]
    return nats_N.sum() + nats_M.sum(), torch.tensor(labels_N.numel(), device=labels_N.device)
