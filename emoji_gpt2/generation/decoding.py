"""Choose among candidates by their scores, greedily or by sampling, while answers grow.

Shapes: B texts, V candidates: end of text, then all emoji.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from emoji_gpt2.emoji.table import SKIN_TONES
from emoji_gpt2.errors import check
from emoji_gpt2.model.export import MAX_NEW_TOKENS

MAX_EMOJI = MAX_NEW_TOKENS
"""Emoji of an answer at most: as many as plain Transformers gives."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """The options of ``EmojiGenerator.generate``, which explains them.

    Raises:
        UserError: one is out of range.
    """

    max_emoji: int = MAX_EMOJI
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    skin_tone: str | None = None
    repeat: bool = False
    min_emoji: int = 1

    def __post_init__(self) -> None:
        """Check the options."""
        most, least, tone = self.max_emoji, self.min_emoji, self.skin_tone
        of_most = f"1 to --max_emoji, which is {most}"
        check("max_emoji", most, fine=most >= 1, wanted="at least 1")
        check("min_emoji", least, fine=1 <= least <= most, wanted=of_most)
        check("temperature", self.temperature, fine=self.temperature >= 0, wanted="0 or more")
        top_k, top_p = self.top_k, self.top_p
        check("top_p", top_p, fine=top_p is None or 0 < top_p <= 1, wanted="above 0, up to 1")
        check("top_k", top_k, fine=top_k is None or top_k >= 1, wanted="at least 1")
        known = tone is None or tone in SKIN_TONES
        check("skin_tone", tone, fine=known, wanted=", ".join(SKIN_TONES))

    def without_effect(self) -> list[str]:
        """Return a line for each reason why options that are given change nothing."""
        lines = []
        sampling = {"--top_k": self.top_k, "--top_p": self.top_p, "--seed": self.seed}
        given = [f"{name} {value}" for name, value in sampling.items() if value is not None]
        if given and not self.temperature:
            lines.append(
                f"{', '.join(given)}: no effect at --temperature 0, which takes the likeliest "
                "emoji; give a temperature above 0 to sample"
            )
        if self.repeat and self.max_emoji == 1:
            lines.append("--repeat: no effect on answers of one emoji; give --max_emoji")
        return lines


class Sampler:
    """Choose a candidate of each row: the likeliest, or by sampling, seeded if a seed is given."""

    def __init__(self, decoding: Decoding, device: torch.device) -> None:
        self.greedy = decoding.temperature == 0
        self._warp = LogitsProcessorList()
        if not self.greedy:
            self._warp.append(TemperatureLogitsWarper(float(decoding.temperature)))
        if decoding.top_k is not None:
            self._warp.append(TopKLogitsWarper(decoding.top_k))
        if decoding.top_p is not None:
            self._warp.append(TopPLogitsWarper(decoding.top_p))
        self._generator = torch.Generator(device)
        if decoding.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(decoding.seed)

    def __call__(self, logits_BV: Tensor) -> Tensor:
        """Return the index of the chosen candidate of each row, ``[B]``."""
        if self.greedy:
            return logits_BV.argmax(1)
        no_ids: Tensor = torch.empty(len(logits_BV), 0, dtype=torch.long, device=logits_BV.device)
        probabilities_BV = self._warp(no_ids, logits_BV).softmax(1)  # type: ignore[arg-type]
        return probabilities_BV.multinomial(1, generator=self._generator)[:, 0]


def sum_groups(logits_BV: Tensor, group_V: Tensor) -> Tensor:
    """Return scores in which a candidate has the probability of its whole group, ``[B, V]``.

    Args:
        logits_BV: Finite scores.
        group_V: Of each candidate, the one that stands for its group; the others get -inf.
    """
    sums_BV = torch.zeros_like(logits_BV)
    return sums_BV.scatter_add(1, group_V.expand_as(logits_BV), logits_BV.softmax(1)).log()


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
