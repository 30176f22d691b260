"""Turn texts into emoji with a trained model: rank all emoji, or generate a sequence.

    generator = EmojiGenerator.from_pretrained("checkpoints/quickstart/model")  # or .ckpt, Hub id
    generator.rank(["pizza"], top_k=3)              # [[("🍕", 0.93), ("🫓", 0.01), ("🧀", 0.01)]]
    generator.generate(["pizza"], max_emoji=3)      # ["🍕"], for that is where the model ends

On the command line: ``python -m emoji_gpt2.generate "I love pizza" --model DIR``.

Shapes: B texts, T tokens, V candidates: end of text, then all emoji.
"""

import logging
from collections.abc import Iterator, Sequence
from functools import lru_cache
from inspect import signature
from pathlib import Path

import torch
from torch import Tensor
from transformers import DynamicCache, GPT2LMHeadModel, GPT2Model, GPT2Tokenizer

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import UserError, blaming, check
from emoji_gpt2.files import MODEL
from emoji_gpt2.generation.answers import Answer, DecodingState
from emoji_gpt2.generation.decoding import Decoding, Sampler, sum_groups
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

_CACHE = "cache" if "cache" in signature(GPT2Model.forward).parameters else "past_key_values"
"""What GPT-2 calls its key-value cache: ``cache`` since Transformers 5.24."""


class EmojiGenerator:
    """A trained model with its tokenizer, ready for texts.

    The model is left as it was: it computes where it is, also when it was moved meanwhile, with the
    weights that it has by then, and is in eval mode only while it computes.

    Args:
        model: A GPT-2 whose tokenizer has emoji tokens.
        tokenizer: That tokenizer.
        device: Where to compute; None is where the model is. On another device a copy computes,
            with the weights that the model has now.
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
        """Load a Transformers folder, a run's folder, a ``.ckpt`` or a Hub id.

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
        """Return each text's best emoji with their probabilities, best first.

        Args:
            texts: Any number of texts.
            top_k: How many emoji to return of each.
            batch_size: Texts of one forward pass.

        The probabilities are over all emoji and sum to 1 before the cut.

        Raises:
            UserError: a text is empty or not Unicode.
        """
        most = len(self._emoji)
        check("top_k", top_k, fine=1 <= top_k <= most, wanted=f"1 to {most}")
        return [one.ranked for one in self.answer(texts, Decoding(), top_k, batch_size)]

    def log_probabilities(self, texts: Sequence[str], batch_size: int = 64) -> Iterator[Tensor]:
        """Yield the log-probabilities of all emoji in table order, ``[B, V]``, text by text.

        Args:
            texts: Any number of texts.
            batch_size: Texts of one forward pass.

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
        max_emoji: int = 1,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        skin_tone: str | None = None,
        batch_size: int = 64,
        repeat: bool = False,
        min_emoji: int = 1,
    ) -> list[str]:
        """Return each text's emoji, joined: until the model ends or ``max_emoji``.

        Args:
            texts: Any number of texts.
            max_emoji: Emoji of an answer at most.
            temperature: 0 takes the likeliest emoji; above, sample from the softmax of logits
                divided by it.
            top_k: Sample from so many of the likeliest only.
            top_p: Sample from the likeliest that together have this probability only.
            seed: Makes sampling repeatable, for the same texts in the same batches.
            skin_tone: light, medium-light, medium, medium-dark or dark, for emoji that carry one.
                Such an emoji then has the probability of all its tones together.
            batch_size: Texts of one forward pass.
            repeat: Whether an answer may hold an emoji more than once, as 1.8 % of 2,527 answers
                of several emoji by people did.
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
        """Return each text's emoji and the ranking of what could have come first.

        Args:
            texts: Any number of texts.
            decoding: How to choose the emoji.
            n_ranked: How many emoji of the ranking to return; it is shorter in a skin tone, when
                all tones of an emoji are one.
            batch_size: Texts of one forward pass.

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

        p_BV = grown.first_probabilities()
        first_B = torch.tensor([numbers[0] for numbers in grown.numbers], device=p_BV.device)
        first_p_B = p_BV.gather(1, first_B[:, None])[:, 0]
        best = p_BV.topk(min(n_ranked, self._n_untoned) if tone else n_ranked)
        columns = (first_p_B.tolist(), best.indices.tolist(), best.values.tolist())
        for numbers, probability, indices, ps in zip(grown.numbers, *columns, strict=True):
            ranked = [(emoji(number), p) for number, p in zip(indices, ps, strict=True)]
            yield Answer("".join(map(emoji, numbers)), probability, ranked)

    def _grow(self, answers: DecodingState, prompts: list[list[int]], decoding: Decoding) -> None:
        """Let the model add to the answers until it has ended all, or they have ``max_emoji``."""
        untoned = decoding.skin_tone is not None
        if decoding.max_emoji == 1:  # nothing to keep for a second pass
            answers.add(self._first_logits(prompts, untoned=untoned))
            return
        ids_BT, mask_BT = self._left_padded(prompts)
        positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
        candidate_ids = self._candidate_ids.to(self.device)
        cache = DynamicCache(config=self.model.config)
        for _ in range(decoding.max_emoji):
            out = self.model.transformer(
                input_ids=ids_BT,
                attention_mask=mask_BT,
                position_ids=positions_BT,
                use_cache=True,
                **{_CACHE: cache},
            )
            last_BD = out.last_hidden_state[:, -1]
            chosen_B = answers.add(self._candidate_logits(last_BD, untoned=untoned))
            if answers.ended:
                return
            ids_BT = candidate_ids[chosen_B][:, None]
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(prompts), 1)], dim=1)
            positions_BT = positions_BT[:, -1:] + 1

    def _first_logits(self, prompts: list[list[int]], *, untoned: bool = False) -> Tensor:
        """Return the scores of what may come first, ``[B, V]``, in one pass without a cache."""
        ids_BT, last_B = self._right_padded(prompts)
        hidden_BTD = self.model.transformer(input_ids=ids_BT, use_cache=False).last_hidden_state
        rows = torch.arange(len(prompts), device=self.device)
        return self._candidate_logits(hidden_BTD[rows, last_B], untoned=untoned)

    def _candidate_logits(self, hidden_BD: Tensor, *, untoned: bool) -> Tensor:
        """Return scores, ``[B, V]``; those of all tones together at the untoned emoji if wanted.

        The model then goes on from the untoned emoji: some have seen no others in training.
        """
        logits_BV = candidate_logits(hidden_BD, self.model.lm_head.weight[self._rows])
        return sum_groups(logits_BV, self._untoned.to(self.device)) if untoned else logits_BV

    def _batches(
        self, texts: Sequence[str], batch_size: int, max_emoji: int = 1, by_length: bool = True
    ) -> Iterator[tuple[list[int], list[list[int]]]]:
        """Yield the numbers of some texts with their prompts; all are checked before the first.

        By length, hardly anything is padding, however long and short texts are mixed.
        """
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

    def _right_padded(self, prompts: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Return ids, ``[B, T]``, that need no mask, and where each prompt ends, ``[B]``."""
        width = max(map(len, prompts))
        rows = [ids + [0] * (width - len(ids)) for ids in prompts]
        last = torch.tensor([len(ids) - 1 for ids in prompts], device=self.device)
        return torch.tensor(rows, device=self.device), last

    def _left_padded(self, prompts: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Return ids and mask, both ``[B, T]``, with all prompts ending in the last column."""
        width = max(map(len, prompts))
        rows = [[0] * (width - len(ids)) + ids for ids in prompts]
        mask = [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]
        return torch.tensor(rows, device=self.device), torch.tensor(mask, device=self.device)


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
    max_emoji: int = 1,
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
