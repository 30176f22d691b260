"""The loss: cross-entropy over supervised positions and candidate tokens only.

Shapes: N supervised positions (the emoji of a row and its end of text), D width, V candidates (all
emoji and end of text). A loss is a sum in nats with the count that it is a sum over; the mean over
an optimizer step is taken in one place, ``EmojiGPT2.on_before_optimizer_step``.
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
