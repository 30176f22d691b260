"""The answers of a batch while they grow: what may come next, and when an answer ends.

Shapes: B texts, V candidates: end of text, then all emoji.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from emoji_gpt2.generation.decoding import Sampler


class Answer(NamedTuple):
    """What a text is answered.

    Attributes:
        emoji: One or several, joined.
        probability: That the model gives this answer and ends there, or comes to ``max_emoji``:
            among answers that hold at least one emoji, and none twice unless ``repeat``. What
            ``min_emoji`` adds does not count.
        ranked: The likeliest first emoji with their probabilities, best first.
    """

    emoji: str
    probability: float | None
    ranked: list[tuple[str, float]]


class DecodingState:
    """The emoji chosen so far for each text.

    Attributes:
        numbers: Of each text, the candidates chosen, without the end of text.

    Args:
        choose: Chooses among candidates by their scores.
        n_texts: B.
        untoned_V: Of each candidate, the one without its skin tones.
        repeat: Whether an emoji may come twice.
    """

    def __init__(self, choose: Sampler, n_texts: int, untoned_V: Tensor, *, repeat: bool) -> None:
        self.numbers: list[list[int]] = [[] for _ in range(n_texts)]
        self._choose = choose
        self._untoned_V = untoned_V
        self._repeat = repeat
        self._first_BV: Tensor | None = None
        self._running_B = torch.ones(n_texts, dtype=torch.bool, device=untoned_V.device)
        self._nats_B = torch.zeros(n_texts, device=untoned_V.device)
        self._used_BV = self._running_B[:, None].repeat(1, len(untoned_V)).logical_not_()

    @property
    def ended(self) -> bool:
        """Whether the model has ended all answers."""
        return not self._running_B.any()

    def add(self, logits_BV: Tensor) -> Tensor:
        """Choose what comes next, an emoji if it is the first, and return it, ``[B]``.

        The scores are changed. An answer that has ended gets no more, whatever is chosen.
        """
        if self._first_BV is None:
            logits_BV[:, 0] = -torch.inf  # an answer has at least one emoji
            self._first_BV = logits_BV
        if not self._repeat:
            logits_BV[self._used_BV] = -torch.inf
        chosen_B = self._choose(logits_BV)
        nats_B = logits_BV.log_softmax(1).gather(1, chosen_B[:, None])[:, 0]
        self._nats_B += nats_B.where(self._running_B, 0)
        self._running_B &= chosen_B != 0
        self._keep(torch.where(self._running_B, chosen_B, 0))
        return chosen_B

    def fill_up(self, min_emoji: int) -> None:
        """Give answers that ended before ``min_emoji`` other first emoji, chosen as the first.

        The scores after the first emoji of a model trained on single emoji are worth less than what
        else it would have begun with. Another skin tone is not another emoji here.
        """
        assert self._first_BV is not None
        for _ in range(1, min_emoji):
            short = [len(answer) < min_emoji for answer in self.numbers]
            if not any(short):
                return
            n_taken_BV = torch.zeros_like(self._used_BV, dtype=torch.int64)
            n_taken_BV.index_add_(1, self._untoned_V, self._used_BV.long())
            taken_BV = n_taken_BV[:, self._untoned_V] > 0
            chosen_B = self._choose(self._first_BV.masked_fill(taken_BV, -torch.inf))
            self._keep(chosen_B * torch.tensor(short, device=chosen_B.device))

    def probabilities(self) -> Tensor:
        """Return the probability of each answer as the model gave it, ``[B]``."""
        return self._nats_B.exp()

    def first_probabilities(self) -> Tensor:
        """Return the probability of each candidate to come first, ``[B, V]``; the end has none."""
        assert self._first_BV is not None
        return self._first_BV.softmax(1)

    def _keep(self, chosen_B: Tensor) -> None:
        self._used_BV.scatter_(1, chosen_B[:, None], value=True)
        for answer, number in zip(self.numbers, chosen_B.tolist(), strict=True):
            if number:
                answer.append(number)
