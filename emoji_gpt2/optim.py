"""AdamW with decay groups, and a learning rate that warms up and then follows half a cosine.

Weight decay acts on matrices only, as in GPT-2 training code since nanoGPT; the schedule is that of
SGDR without restarts (Loshchilov & Hutter, https://arxiv.org/abs/1608.03983) after linear warm-up.
"""

import math
from typing import Any

from torch import nn


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return parameter groups: matrices with ``weight_decay``, vectors and scalars without."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]


def warmup_cosine(step: int, warmup_steps: int, total_steps: int | None) -> float:
    """Return the factor on the learning rate at optimizer step ``step``, from 0.

    It rises linearly over ``warmup_steps`` and falls to 0 at ``total_steps``; without an end
    (``total_steps`` None) it stays at 1 after the warm-up.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    if total_steps is None:
        return 1.0
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
