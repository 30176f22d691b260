"""Turn texts into emoji with a trained model: rank all emoji, or generate a sequence.

    generator = EmojiGenerator.from_pretrained("checkpoints/quickstart/model")  # or .ckpt, Hub id
    generator.rank(["pizza"], top_k=3)              # [[("🍕", 0.93), ("🫓", 0.01), ("🧀", 0.01)]]
    generator.generate(["pizza"])                   # ["🍕"], for that is where the model ends

Shapes: B texts, T tokens, V candidates: end of text, then all emoji.
"""

import logging
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from transformers import DynamicCache, GPT2LMHeadModel, GPT2Tokenizer

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import UserError, blaming, check
from emoji_gpt2.files import MODEL
from emoji_gpt2.generation.decoding import (
    MAX_EMOJI,
    Answer,
    Decoding,
    DecodingState,
    Sampler,
    sum_groups,
)
from emoji_gpt2.generation.inference import best_device, eval_mode, on_device
from emoji_gpt2.gpt2_files import ARGUMENT as PRETRAINED
from emoji_gpt2.gpt2_files import load_gpt2_tokenizer
from emoji_gpt2.model.loss import candidate_logits
from emoji_gpt2.model.network import load_checkpoint_network
from emoji_gpt2.model.pretrained import CHECKPOINT, load_gpt2_weights, local_checkpoint
from emoji_gpt2.shipped import BASE
from emoji_gpt2.tokenizer import EMOJI_TOKEN, candidate_tokens, encode_prompts

log = logging.getLogger(__name__)

RESULTS = "results"


class EmojiGenerator:
    """A trained model with its tokenizer. The model is in eval mode only while it computes.

    Args:
        model: A GPT-2 whose tokenizer has emoji tokens.
        tokenizer: That tokenizer.
        device: Where a copy computes, if the model is elsewhere; None is where the model is.
    """

    def __init__(
        self, model: GPT2LMHeadModel, tokenizer: GPT2Tokenizer, device: str | None = None
    ) -> None:
        self.model = on_device(model, device) if device else model
        self.tokenizer = tokenizer
        self.table = EmojiTable.builtin()
        self._emoji = list(self.table)
        number = {emoji: 1 + index for index, emoji in enumerate(self._emoji)}
        untoned = [0, *(number[self.table.base(emoji)] for emoji in self._emoji)]
        self._n_untoned = len({*untoned}) - 1
        self._untoned = torch.tensor(untoned)
        ids = candidate_tokens(tokenizer)
        self._candidate_ids = torch.tensor(ids)
        # GPT-2's end of text is its last token and the emoji come next: then their rows of the
        # output embedding are a view, not a copy of 12 MB for each batch.
        in_a_row = ids == list(range(ids[0], ids[0] + len(ids)))
        self._rows = slice(ids[0], ids[0] + len(ids)) if in_a_row else self._candidate_ids

    @property
    def device(self) -> torch.device:
        """Where the model is at present."""
        return self.model.device

    @classmethod
    def from_pretrained(cls, name: str | Path, device: str | None = None) -> "EmojiGenerator":
        """Load a Transformers folder, a run's folder, a ``.ckpt``, a Hub id or ``base``.

        Args:
            name: Its name.
            device: Where to compute; None is the first GPU, else Apple's, else the CPU.

        Raises:
            UserError: it cannot be found or read, or was not trained by this package.
        """
        name = str(Path(name).expanduser()) if "://" not in str(name) else str(name)
        with blaming("model", CHECKPOINT, PRETRAINED):
            return cls(*_network_and_tokenizer(local_checkpoint(name)), device or best_device())

    def rank(
        self, texts: Sequence[str], top_k: int = 5, batch_size: int = 64
    ) -> list[list[tuple[str, float]]]:
        """Return each text's best emoji with their probabilities among all emoji, best first.

        Raises:
            UserError: a text is empty or not Unicode.
        """
        most = len(self._emoji)
        check("top_k", top_k, fine=1 <= top_k <= most, wanted=f"1 to {most}")
        return [one.ranked for one in self.answer(texts, Decoding(max_emoji=1), top_k, batch_size)]

    def log_probabilities(self, texts: Sequence[str], batch_size: int = 64) -> Iterator[Tensor]:
        """Yield the log-probabilities of all emoji in table order, ``[B, V]``, text by text.

        Raises:
            UserError: a text is empty or not Unicode.
        """
        for _, prompts in self._batches(texts, batch_size, by_length=False):
            with torch.inference_mode(), eval_mode(self.model):
                scores_BV = self._first_logits(prompts)[:, 1:].log_softmax(1)
            yield scores_BV

    def generate(
        self,
        texts: Sequence[str],
        max_emoji: int = MAX_EMOJI,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        skin_tone: str | None = None,
        batch_size: int = 64,
        repeat: bool = False,
        min_emoji: int = 1,
    ) -> list[str]:
        """Return each text's emoji, joined.

        Args:
            texts: Any number of texts.
            max_emoji: Emoji of an answer at most; the model itself may end before.
            temperature: 0 takes the likeliest emoji; above, sample from the softmax of logits
                divided by it.
            top_k: Sample from so many of the likeliest only.
            top_p: Sample from the likeliest that together have this probability only.
            seed: Makes sampling repeatable, for the same texts in the same batches.
            skin_tone: light, medium-light, medium, medium-dark or dark, for emoji that carry one.
                Such an emoji then has the probability of all its tones together.
            batch_size: Texts of one forward pass.
            repeat: Whether an answer may hold an emoji more than once.
            min_emoji: Emoji of an answer at least: where the model ends before, others follow,
                chosen as the first was. A model trained on single emoji ends after one.

        A warning names the options that are given and have no effect.

        Raises:
            UserError: an argument is out of range, or a text is empty or not Unicode.
        """
        decoding = Decoding(
            max_emoji=max_emoji,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            skin_tone=skin_tone,
            repeat=repeat,
            min_emoji=min_emoji,
        )
        for line in decoding.without_effect():
            log.warning("%s", line)
        return [one.emoji for one in self.answer(texts, decoding, batch_size=batch_size)]

    def answer(
        self, texts: Sequence[str], decoding: Decoding, n_ranked: int = 0, batch_size: int = 64
    ) -> list[Answer]:
        """Return each text's emoji and the ``n_ranked`` likeliest that could have come first.

        In a skin tone all tones of an emoji are one, and the ranking may be shorter.

        Raises:
            UserError: a text is empty or not Unicode.
        """
        choose = Sampler(decoding, self.device)
        answers: dict[int, Answer] = {}
        for numbers, prompts in self._batches(texts, batch_size, decoding.max_emoji):
            groups_V = self._untoned.to(self.device)
            grown = DecodingState(choose, len(prompts), groups_V, repeat=decoding.repeat)
            with torch.inference_mode(), eval_mode(self.model):
                self._grow(grown, prompts, decoding)
            grown.fill_up(decoding.min_emoji)
            found = self._spelled(grown, decoding.skin_tone, n_ranked)
            answers.update(zip(numbers, found, strict=True))
        return [answers[number] for number in range(len(texts))]

    def _spelled(self, grown: DecodingState, tone: str | None, n_ranked: int) -> Iterator[Answer]:
        """Yield the answers and their rankings as emoji instead of numbers of candidates."""

        def emoji(number: int) -> str:
            one = self._emoji[number - 1]
            return self.table.with_tone(one, tone) if tone else one

        n_ranked = min(n_ranked, self._n_untoned) if tone else n_ranked
        best = grown.first_probabilities().topk(n_ranked)
        columns = (grown.probabilities().tolist(), best.indices.tolist(), best.values.tolist())
        for numbers, probability, indices, ps in zip(grown.numbers, *columns, strict=True):
            ranked = [(emoji(number), p) for number, p in zip(indices, ps, strict=True)]
            yield Answer("".join(map(emoji, numbers)), probability, ranked)

    def _grow(self, answers: DecodingState, prompts: list[list[int]], decoding: Decoding) -> None:
        """Let the model add to the answers until it has ended all, or they have ``max_emoji``."""
        untoned = decoding.skin_tone is not None
        cache = DynamicCache(config=self.model.config) if decoding.max_emoji > 1 else None
        chosen_B = answers.add(self._first_logits(prompts, cache, untoned=untoned))
        positions_B1 = torch.tensor([[len(ids)] for ids in prompts], device=self.device)
        mask_BT = torch.arange(int(positions_B1.max()), device=self.device) < positions_B1
        candidate_ids = self._candidate_ids.to(self.device)
        for _ in range(1, decoding.max_emoji):
            if answers.ended:
                return
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(prompts), 1)], dim=1)
            out = self.model.transformer(
                input_ids=candidate_ids[chosen_B][:, None],
                attention_mask=mask_BT,
                position_ids=positions_B1,
                use_cache=True,
                cache=cache,
            )
            last_BD = out.last_hidden_state[:, -1]
            chosen_B = answers.add(self._candidate_logits(last_BD, untoned=untoned))
            positions_B1 = positions_B1 + 1

    def _first_logits(
        self, prompts: list[list[int]], cache: DynamicCache | None = None, *, untoned: bool = False
    ) -> Tensor:
        """Return the scores of what may come first, ``[B, V]``; right padding needs no mask."""
        width = max(map(len, prompts))
        ids = [ids + [0] * (width - len(ids)) for ids in prompts]
        hidden_BTD = self.model.transformer(
            input_ids=torch.tensor(ids, device=self.device),
            use_cache=cache is not None,
            cache=cache,
        ).last_hidden_state
        last = [len(ids) - 1 for ids in prompts]
        return self._candidate_logits(hidden_BTD[range(len(prompts)), last], untoned=untoned)

    def _candidate_logits(self, hidden_BD: Tensor, *, untoned: bool) -> Tensor:
        """Return scores, ``[B, V]``; those of all tones together at the untoned emoji if wanted.

        The model then goes on from the untoned emoji: some have seen no others in training.
        """
        logits_BV = candidate_logits(hidden_BD, self.model.lm_head.weight[self._rows])
        return sum_groups(logits_BV, self._untoned.to(self.device)) if untoned else logits_BV

    def _batches(
        self, texts: Sequence[str], batch_size: int, max_emoji: int = 1, by_length: bool = True
    ) -> Iterator[tuple[list[int], list[list[int]]]]:
        """Yield the numbers of some texts of like length with their prompts, all checked before."""
        if isinstance(texts, str):
            raise UserError("texts", "a string", "a list of strings", "put it in brackets")
        check("batch_size", batch_size, fine=batch_size >= 1, wanted="at least 1")
        positions = int(self.model.config.n_positions)
        room = positions - (max_emoji - 1)  # the last emoji is not read
        check("max_emoji", max_emoji, fine=room > 1, wanted=f"less than {positions}")
        prompts = encode_prompts(self.tokenizer, texts, room)
        order = list(range(len(prompts)))
        if by_length:
            order.sort(key=lambda number: len(prompts[number]))
        for start in range(0, len(prompts), batch_size):
            numbers = order[start : start + batch_size]
            yield numbers, [prompts[number] for number in numbers]


def _network_and_tokenizer(name: str) -> tuple[GPT2LMHeadModel, GPT2Tokenizer]:
    if name.endswith(".ckpt"):
        return load_checkpoint_network(name)
    if (Path(name) / MODEL / "config.json").is_file():
        name = str(Path(name) / MODEL)
    tokenizer = load_gpt2_tokenizer(name)
    if EMOJI_TOKEN not in tokenizer.get_vocab():
        got, remedy = (
            f"{name!r}, a GPT-2 without emoji tokens",
            "train it: python -m emoji_gpt2.fit",
        )
        raise UserError(PRETRAINED, got, "one trained by emoji_gpt2", remedy)
    return load_gpt2_weights(name), tokenizer


@lru_cache(maxsize=2)
def _cached_generator(name: str, changed: float) -> EmojiGenerator:  # noqa: ARG001 - a key
    if name == BASE:
        log.warning("model: %s", name)
    return EmojiGenerator.from_pretrained(name)


def generate_emoji(
    text: str,
    model_path: str | None = None,
    max_emoji: int = MAX_EMOJI,
    skin_tone: str | None = None,
    min_emoji: int = 1,
) -> str:
    """Return the emoji for one text; the model stays loaded for the next.

    Args:
        text: Some words.
        model_path: What ``EmojiGenerator.from_pretrained`` takes; None is ``./results``, where
            ``fine_tune_gpt2`` writes, or the base that ships if there is no such folder.
        max_emoji: Emoji of the answer at most.
        skin_tone: For emoji that carry one.
        min_emoji: Emoji of the answer at least.
    """
    name = model_path or (RESULTS if Path(RESULTS).is_dir() else BASE)
    path = Path(name).expanduser()
    files = [path] if path.is_file() else [*path.glob("*.safetensors")]
    files += path.glob(f"{MODEL}/*.safetensors")
    changed = max((file.stat().st_mtime for file in files), default=0.0)
    generator = _cached_generator(name, changed)
    return generator.generate(
        [text], max_emoji=max_emoji, skin_tone=skin_tone, min_emoji=min_emoji
    )[0]
