"""Choose among candidates by their scores: greedily, or by seeded sampling.

    choose = Chooser(temperature=1.0, top_k=None, top_p=0.9, seed=0, device=torch.device("cpu"))
    index_B = choose(logits_BV)

The cuts are Transformers' own logits processors.
"""

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)


class Chooser:
    """Choose a candidate of each row: the likeliest, or by sampling.

    Args:
        temperature: 0 chooses the likeliest; above, logits are divided by it.
        top_k: Sample from so many of the likeliest only.
        top_p: Sample from the likeliest that together have this probability only.
        seed: Makes the choices repeatable; None draws a seed.
        device: Where the logits will be.
    """

    def __init__(
        self,
        temperature: float,
        top_k: int | None,
        top_p: float | None,
        seed: int | None,
        device: torch.device,
    ) -> None:
        self.greedy = temperature == 0
        self._warp = LogitsProcessorList()
        if not self.greedy:
            self._warp.append(TemperatureLogitsWarper(float(temperature)))
        if top_k is not None:
            self._warp.append(TopKLogitsWarper(top_k))
        if top_p is not None:
            self._warp.append(TopPLogitsWarper(top_p))
        self._generator = torch.Generator(device)
        if seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(seed)

    def __call__(self, logits_BV: Tensor) -> Tensor:
        """Return the index of the chosen candidate of each row, ``[B]``."""
        if self.greedy:
            return logits_BV.argmax(1)
        no_ids: Tensor = torch.empty(len(logits_BV), 0, dtype=torch.long, device=logits_BV.device)
        probabilities_BV = self._warp(no_ids, logits_BV).softmax(1)  # type: ignore[arg-type]
        return probabilities_BV.multinomial(1, generator=self._generator)[:, 0]
