"""Ranking and generating by hand: one un-padded prompt at a time, without a cache."""

# ruff: noqa: F811 -- a fixture that is imported has the name of the parameter that asks for it

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

from emoji_gpt2 import EmojiGenerator
from emoji_gpt2.emoji.table import EmojiTable
from tests.cli_runs import (
    trained_run,  # noqa: F401 -- a fixture
)

TEXTS = ["pizza", "I am so happy today", "a", "thumbs up, with a rather long text behind it", "cat"]
TABLE = EmojiTable.builtin()
EMOJI = list(TABLE)


@pytest.fixture(scope="module")
def generator(trained_run: Path) -> EmojiGenerator:
    return EmojiGenerator.from_pretrained(trained_run / "model", device="cpu")


@pytest.fixture(scope="module")
def plain(trained_run: Path) -> "Plain":
    return Plain(GPT2LMHeadModel.from_pretrained(trained_run / "model").eval(), trained_run)


class Plain:
    """The reference: the exported weights and the tokenizer.json by hand."""

    def __init__(self, model: GPT2LMHeadModel, run: Path) -> None:
        from tokenizers import Tokenizer

        self.model = model
        self.tokenizer = Tokenizer.from_file(str(run / "model" / "tokenizer.json"))
        self.emoji_ids = [self.tokenizer.token_to_id(one) for one in EMOJI]
        self.end = self.tokenizer.token_to_id("<|endoftext|>")

    def logits(self, text: str, answer: list[str] | None = None) -> Tensor:
        """Scores of the end and of all emoji after a text in lower case and an answer so far."""
        ids = self.tokenizer.encode(text.lower()).ids
        ids += [self.tokenizer.token_to_id(one) for one in answer or []]
        with torch.inference_mode():
            last = self.model(torch.tensor([ids])).logits[0, -1]
        return last[[self.end, *self.emoji_ids]]

    def probability(self, text: str, answer: list[str], max_emoji: int) -> float:
        """That an answer of different emoji comes, and ends unless it is as long as it may be."""
        product, ends = 1.0, [""] * (len(answer) < max_emoji)
        for place, emoji in enumerate([*answer, *ends]):
            logits = self.logits(text, answer[:place])
            logits[[EMOJI.index(one) + 1 for one in answer[:place]]] = -torch.inf
            if place == 0:
                logits[0] = -torch.inf
            product *= float(logits.softmax(0)[EMOJI.index(emoji) + 1 if emoji else 0])
        return product

    def greedy(self, text: str, max_emoji: int, repeat: bool = False) -> str:
        answer: list[str] = []
        while len(answer) < max_emoji:
            logits = self.logits(text, answer)
            if not repeat:
                logits[[EMOJI.index(one) + 1 for one in answer]] = -torch.inf
            best = int(logits.argmax()) if answer else int(logits[1:].argmax()) + 1
            if best == 0:
                break
            answer.append(EMOJI[best - 1])
        return "".join(answer)

    def greedy_in_tone(self, text: str, max_emoji: int, tone: str) -> str:
        """All tones of an emoji are one, which the model reads without a tone."""
        answer: list[str] = []
        while len(answer) < max_emoji:
            end, *emoji = self.logits(text, answer).softmax(0).tolist()
            sums = summed(zip(EMOJI, emoji, strict=True), TABLE.base) | {"": end if answer else 0}
            best = max(sums.keys() - {*answer}, key=sums.__getitem__)
            if not best:
                break
            answer.append(best)
        return "".join(TABLE.with_tone(one, tone) for one in answer)


def summed(ranked: Iterable[tuple[str, float]], other: Callable[[str], str]) -> dict[str, float]:
    """The probabilities of emoji that ``other`` makes one, added."""
    sums: dict[str, float] = {}
    for emoji, probability in ranked:
        sums[other(emoji)] = sums.get(other(emoji), 0) + probability
    return sums
