"""How fast are answers: the notebook's function, Transformers' pipeline, and this package.

    python -m tests.benchmarks.bench_generate --rounds 5

GPT-2 of 124 M parameters with random weights, once plain and once with emoji tokens, float32 on the
CPU with all cores. The notebook's ``generate_emoji`` encodes, generates up to 50 tokens and
decodes; the loading of the model at each call, which it does first, is left out. Random weights end
no text early; nor does the notebook's model, which has never seen an end of text.

``bare forward`` is ``model.transformer`` alone of the same ids, as it is called by default. The
texts are of many lengths, as sentences are. Prints Markdown tables.
"""

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer, pipeline
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from emoji_gpt2 import EmojiGenerator, EmojiTable, generate_emoji
from emoji_gpt2.tokenizer import add_emoji_tokens, builtin_gpt2_tokenizer, encode_prompts
from tests.benchmarks.timing import arguments, conditions, measure, table

MAX_LENGTH = 50
"""Tokens of the notebook's answer, the prompt included."""
TEXT = "I love pizza with extra cheese"
BATCH = 64


def write_models(folder: Path) -> tuple[str, str]:
    """Write a plain GPT-2 and one with emoji tokens, and return their folders."""
    torch.manual_seed(0)
    plain, emoji = folder / "plain", folder / "emoji"
    for path, tokenizer in (
        (plain, builtin_gpt2_tokenizer()),
        (emoji, add_emoji_tokens(builtin_gpt2_tokenizer())[0]),
    ):
        GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer))).save_pretrained(path)
        tokenizer.save_pretrained(path)
    return str(plain), str(emoji)


def mixed_texts(count: int) -> list[str]:
    """Return made-up sentences of 1 to 20 words of emoji names."""
    rng = random.Random(0)
    table = EmojiTable.builtin()
    words = [word for emoji in table for word in table.name(emoji).split()]
    return [" ".join(rng.choices(words, k=rng.randint(1, 20))) for _ in range(count)]


class Notebook:
    """The notebook's function."""

    def __init__(self, path: str) -> None:
        self.tokenizer = GPT2Tokenizer.from_pretrained(path)
        self.model = GPT2LMHeadModel.from_pretrained(path)

    def warm(self, text: str) -> str:
        """Answer with what is loaded."""
        input_ids = self.tokenizer.encode(text, return_tensors="pt")
        output = self.model.generate(
            input_ids, max_length=MAX_LENGTH, pad_token_id=self.tokenizer.eos_token_id
        )
        return str(self.tokenizer.decode(output[0], skip_special_tokens=True))


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=5)
    disable_progress_bar()  # type: ignore[no-untyped-call]
    set_verbosity_error()
    print(conditions(), f"{torch.get_num_threads()} threads", sep=", ")
    with tempfile.TemporaryDirectory() as name:
        plain, emoji = write_models(Path(name))
        notebook = Notebook(plain)
        pipe = pipeline("text-generation", plain, device="cpu")
        ours = EmojiGenerator.from_pretrained(emoji, "cpu")
        transformer = ours.model.transformer
        ids = torch.tensor(encode_prompts(ours.tokenizer, [TEXT], 1024))
        texts = mixed_texts(BATCH)
        more = {"max_new_tokens": MAX_LENGTH - ids.shape[1], "do_sample": False}

        @torch.inference_mode()
        def forward() -> object:
            return transformer(ids)

        calls: dict[str, Callable[[], object]] = {
            "bare forward": forward,
            "rank, one text": lambda: ours.rank([TEXT]),
            "generate, one text": lambda: ours.generate([TEXT]),
            "generate_emoji, one text": lambda: generate_emoji(TEXT, emoji),
        }
        print("\nOne text, warm:\n")
        print(table(measure(calls, 6 * options.rounds, warm_up=3), "bare forward"), flush=True)

        calls = {
            "notebook, warm": lambda: notebook.warm(TEXT),
            "pipeline, one text": lambda: pipe(TEXT, **more),
            "rank, one text": lambda: ours.rank([TEXT]),
            "rank, batch 64": lambda: ours.rank([TEXT] * BATCH, batch_size=BATCH),
            "generate, batch 64": lambda: ours.generate([TEXT] * BATCH, batch_size=BATCH),
            "rank, 64 mixed texts": lambda: ours.rank(texts, batch_size=BATCH),
        }
        work = {name: BATCH for name in calls if "64" in name}
        print("\nWarm, per text:\n")
        print(table(measure(calls, options.rounds), "notebook, warm", work), flush=True)


if __name__ == "__main__":
    main()
