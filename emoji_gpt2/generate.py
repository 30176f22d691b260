"""Turn texts into emoji with a trained model: rank all emoji, or generate a sequence.

    generator = EmojiGenerator.from_pretrained("checkpoints/quickstart/model")  # or .ckpt, Hub id
    generator.rank(["pizza"], top_k=3)              # [[("🍕", 0.93), ("🫓", 0.01), ("🧀", 0.01)]]
    generator.generate(["pizza"], max_emoji=3)      # ["🍕"], for that is where the model ends

On the command line: ``python -m emoji_gpt2.generate "I love pizza" --model DIR``.

Shapes: B texts, T tokens, V candidates: end of text, then all emoji.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from inspect import signature
from pathlib import Path

import torch
from torch import Tensor
from transformers import DynamicCache, GPT2LMHeadModel, GPT2Model, GPT2Tokenizer

from emoji_gpt2.answers import Answers
from emoji_gpt2.errors import UserError, check
from emoji_gpt2.export import MODEL
from emoji_gpt2.hub_client import checkpoint_from_hub
from emoji_gpt2.loss import candidate_logits
from emoji_gpt2.pretrained import load_gpt2_tokenizer, load_gpt2_weights, read_checkpoint
from emoji_gpt2.sampling import Chooser
from emoji_gpt2.table import SKIN_TONES, EmojiTable
from emoji_gpt2.tokenizer import EMOJI_TOKEN, candidate_tokens, encode_prompts

_CACHE = "cache" if "cache" in signature(GPT2Model.forward).parameters else "past_key_values"
"""What GPT-2 calls its key-value cache: ``cache`` since Transformers 5.24."""


class EmojiGenerator:
    """A trained model with its tokenizer, ready for texts.

    Args:
        model: A GPT-2 whose tokenizer has emoji tokens.
        tokenizer: That tokenizer.
        device: Where to compute; None is the first GPU, or the CPU.
    """

    def __init__(
        self, model: GPT2LMHeadModel, tokenizer: GPT2Tokenizer, device: str | None = None
    ) -> None:
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self.device = torch.device(device)
            self.model = model.to(self.device).eval()  # type: ignore[arg-type]
        except (RuntimeError, AssertionError) as error:  # AssertionError: a torch without CUDA
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"--device: got {device!r}, wanted one of this machine ({reason})"
            ) from error
        self.tokenizer = tokenizer
        self.table = EmojiTable.builtin()
        self._emoji = list(self.table)
        number = {emoji: 1 + place for place, emoji in enumerate(self._emoji)}
        untoned = [0, *(number[self.table.base(emoji)] for emoji in self._emoji)]
        self._untoned = torch.tensor(untoned, device=self.device)
        ids = candidate_tokens(tokenizer)
        self._candidate_ids = torch.tensor(ids, device=self.device)
        # GPT-2's end of text is its last token and the emoji come next: then their rows of the
        # output embedding are a view, not a copy of 12 MB for each batch.
        in_a_row = ids == list(range(ids[0], ids[0] + len(ids)))
        self._rows = slice(ids[0], ids[0] + len(ids)) if in_a_row else self._candidate_ids

    @classmethod
    def from_pretrained(cls, name: str | Path, device: str | None = None) -> "EmojiGenerator":
        """Load a Transformers folder, a run's folder, a ``.ckpt`` or a Hub id.

        Raises:
            UserError: it cannot be found or read, or was not trained by this package.
        """
        name = str(Path(name).expanduser()) if "://" not in str(name) else str(name)
        if name.startswith("hf://"):
            name = checkpoint_from_hub(name, "--model")
        if name.endswith(".ckpt"):
            read_checkpoint(name, "--model")
            from emoji_gpt2.module import EmojiGPT2  # noqa: PLC0415 - and Lightning with it

            module = EmojiGPT2.load_from_checkpoint(name, map_location="cpu")
            return cls(module.model, module.tokenizer, device)
        if (Path(name) / MODEL / "config.json").is_file():
            name = str(Path(name) / MODEL)
        tokenizer = load_gpt2_tokenizer(name, "--model")
        if EMOJI_TOKEN not in tokenizer.get_vocab():
            raise UserError(
                f"--model: got {name!r}, a GPT-2 without emoji tokens, wanted one trained by "
                "emoji_gpt2; train it with python -m emoji_gpt2.fit"
            )
        return cls(load_gpt2_weights(name, argument="--model"), tokenizer, device)

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
        check(
            "--top_k", top_k, fine=1 <= top_k <= len(self._emoji), wanted=f"1 to {len(self._emoji)}"
        )
        ranked: dict[int, list[tuple[str, float]]] = {}
        for numbers, prompts in self._batches(texts, batch_size):
            ranked.update(zip(numbers, self._rank(prompts, top_k), strict=True))
        return [ranked[number] for number in range(len(texts))]

    def log_probabilities(self, texts: Sequence[str], batch_size: int = 64) -> Iterator[Tensor]:
        """Yield the log-probabilities of all emoji in table order, ``[B, V]``, text by text.

        Args:
            texts: Any number of texts.
            batch_size: Texts of one forward pass.

        Raises:
            UserError: a text is empty or not Unicode.
        """
        for _, prompts in self._batches(texts, batch_size, by_length=False):
            yield self._first_logits(prompts)[:, 1:].log_softmax(1)

    def _rank(self, prompts: list[list[int]], top_k: int) -> list[list[tuple[str, float]]]:
        best = self._first_logits(prompts)[:, 1:].softmax(1).topk(top_k)
        return [
            [(self._emoji[i], p) for i, p in zip(indices, probabilities, strict=True)]
            for indices, probabilities in zip(
                best.indices.tolist(), best.values.tolist(), strict=True
            )
        ]

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
            batch_size: Texts of one forward pass.
            repeat: Whether an answer may hold an emoji more than once, as 1.8 % of 2,527 answers
                of several emoji by people did.
            min_emoji: Emoji of an answer at least: where the model ends before, others follow,
                chosen as the first was. A model trained on single emoji ends after one.

        Raises:
            UserError: an argument is out of range, or a text is empty or not Unicode.
        """
        check("--max_emoji", max_emoji, fine=max_emoji >= 1, wanted="at least 1")
        check(
            "--min_emoji",
            min_emoji,
            fine=1 <= min_emoji <= max_emoji,
            wanted=f"1 to --max_emoji, which is {max_emoji}",
        )
        check("--temperature", temperature, fine=temperature >= 0, wanted="0 or more")
        check("--top_p", top_p, fine=top_p is None or 0 < top_p <= 1, wanted="above 0, up to 1")
        check("--top_k", top_k, fine=top_k is None or top_k >= 1, wanted="at least 1")
        tones = ", ".join(SKIN_TONES)
        check(
            "--skin_tone",
            skin_tone,
            fine=skin_tone is None or skin_tone in SKIN_TONES,
            wanted=tones,
        )
        choose = Chooser(temperature, top_k, top_p, seed, self.device)
        answers: dict[int, list[str]] = {}
        for numbers, prompts in self._batches(texts, batch_size, reserve=max_emoji):
            grown = Answers(choose, len(prompts), self._untoned, repeat=repeat)
            self._grow(grown, prompts, max_emoji)
            grown.fill_up(min_emoji)
            found = [[self._emoji[number - 1] for number in answer] for answer in grown.numbers]
            answers.update(zip(numbers, found, strict=True))
        ordered = [answers[number] for number in range(len(texts))]
        if skin_tone:
            ordered = [[self.table.with_tone(e, skin_tone) for e in answer] for answer in ordered]
            if not repeat:  # 👍👍🏽 are two emoji, and one in the tone that was asked for
                ordered = [list(dict.fromkeys(answer)) for answer in ordered]
        return ["".join(answer) for answer in ordered]

    @torch.inference_mode()
    def _grow(self, answers: Answers, prompts: list[list[int]], max_emoji: int) -> None:
        """Let the model add to the answers until it has ended all, or they have ``max_emoji``."""
        if max_emoji == 1:  # as in ranking: nothing to keep for a second pass
            answers.add(self._first_logits(prompts))
            return
        ids_BT, mask_BT = self._left_padded(prompts)
        positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
        cache = DynamicCache(config=self.model.config)
        for _ in range(max_emoji):
            out = self.model.transformer(
                input_ids=ids_BT,
                attention_mask=mask_BT,
                position_ids=positions_BT,
                use_cache=True,
                **{_CACHE: cache},
            )
            chosen_B = answers.add(self._candidate_logits(out.last_hidden_state[:, -1]))
            if answers.ended:
                return
            ids_BT = self._candidate_ids[chosen_B][:, None]
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(prompts), 1)], dim=1)
            positions_BT = positions_BT[:, -1:] + 1

    @torch.inference_mode()
    def _first_logits(self, prompts: list[list[int]]) -> Tensor:
        """Return the scores of what may come first, ``[B, V]``, in one pass without a cache."""
        ids_BT, last_B = self._right_padded(prompts)
        hidden_BTD = self.model.transformer(input_ids=ids_BT, use_cache=False).last_hidden_state
        rows = torch.arange(len(prompts), device=self.device)
        return self._candidate_logits(hidden_BTD[rows, last_B])

    def _candidate_logits(self, hidden_BD: Tensor) -> Tensor:
        return candidate_logits(hidden_BD, self.model.lm_head.weight[self._rows])

    def _batches(
        self, texts: Sequence[str], batch_size: int, reserve: int = 0, by_length: bool = True
    ) -> Iterator[tuple[list[int], list[list[int]]]]:
        """Yield the numbers of some texts with their prompts; all are checked before the first.

        By length, hardly anything is padding, however long and short texts are mixed.
        """
        if isinstance(texts, str):
            raise UserError("texts: got a string, wanted a list of strings; put it in brackets")
        check("--batch_size", batch_size, fine=batch_size >= 1, wanted="at least 1")
        room = int(self.model.config.n_positions) - reserve
        check(
            "--max_emoji",
            reserve,
            fine=room > 1,
            wanted=f"less than {self.model.config.n_positions - 1}",
        )
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


@lru_cache(maxsize=2)
def _cached_generator(name: str, changed: float) -> EmojiGenerator:  # noqa: ARG001 - a key
    return EmojiGenerator.from_pretrained(name)


def generate_emoji(
    text: str,
    model_path: str = "./results",
    max_emoji: int = 1,
    skin_tone: str | None = None,
    min_emoji: int = 1,
) -> str:
    """Return the emoji for one text; the model stays loaded for the next.

    Args:
        text: Some words.
        model_path: What ``EmojiGenerator.from_pretrained`` takes.
        max_emoji: Emoji of the answer at most.
        skin_tone: For emoji that carry one.
        min_emoji: Emoji of the answer at least.
    """
    path = Path(model_path).expanduser()
    files = [path] if path.is_file() else [*path.glob("*.safetensors")]
    files += path.glob(f"{MODEL}/*.safetensors")
    changed = max((file.stat().st_mtime for file in files), default=0.0)
    generator = _cached_generator(model_path, changed)
    return generator.generate(
        [text], max_emoji=max_emoji, skin_tone=skin_tone, min_emoji=min_emoji
    )[0]


if __name__ == "__main__":
    from emoji_gpt2.generate_cli import main

    main()
