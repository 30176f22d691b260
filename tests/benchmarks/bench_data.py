"""How fast do rows become batches: reading, checking, tokenizing, collating, each by itself.

    pip install datasets                        # the peer; without it its rows are left out
    python -m tests.benchmarks.bench_data --rows 100000 --rounds 3

A made-up table (``make_table.py``) of texts and emoji. Each stage starts from the result of the one
before; ``prepare`` is all of them but collating, from an empty cache, in as many processes as it
takes. Beside them: ``tokenizers`` alone on the texts, read and normalised before, with all cores;
``datasets``, which reads the table and tokenizes it with ``map`` in batches, and a DataLoader of
its rows with Transformers' collator, as its training scripts have it. How preparing grows with the
table, and its memory, is measured by ``bench_prepare.py``. Prints Markdown tables.
"""

import argparse
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from torch.utils.data import DataLoader
from transformers import DataCollatorForLanguageModeling

from emoji_gpt2 import EmojiDataModule, EmojiTable
from emoji_gpt2.data.encode import RowEncoder
from emoji_gpt2.data.examples import Report, read_examples
from emoji_gpt2.data.prepare import DataConfig
from emoji_gpt2.tables.source import CHUNK, open_source
from emoji_gpt2.tokenizer import add_emoji_tokens, builtin_gpt2_tokenizer
from tests.benchmarks.make_table import write_table
from tests.benchmarks.timing import conditions, measure, table

BATCH = 64
HAS_DATASETS = find_spec("datasets") is not None


def emoji_tokenizer() -> object:
    """Return a new tokenizer with emoji tokens."""
    return add_emoji_tokens(builtin_gpt2_tokenizer())[0]


class Stages:
    """The stages of preparing a table, and what each needs."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self.folder = folder
        self.table = EmojiTable.builtin()
        self.tokenizer = emoji_tokenizer()
        self.chunks = self.read()
        self.examples = self.check()
        self.texts = [example.text for part in self.examples for example in part]
        plain = builtin_gpt2_tokenizer()
        self.bare = Tokenizer.from_str(plain.backend_tokenizer.to_str())
        self._numbers = count()

    def read(self) -> list:
        """Read the records."""
        return list(open_source(self.path, cache_dir=self.folder).chunks(CHUNK))

    def check(self) -> list:
        """Normalise the texts, split the emoji, drop what is of no use."""
        report = Report("table")
        return [read_examples(chunk, self.table, "keep", report) for chunk in self.chunks]

    def tokenize(self) -> object:
        """Make token ids and hashes, as if no word had been seen before."""
        encoder = RowEncoder(self.tokenizer, 128)
        return [encoder.encode(part, Report("table")) for part in self.examples]

    def tokenize_alone(self) -> object:
        """Let ``tokenizers`` make ids of the same texts."""
        parts = (self.texts[i : i + CHUNK] for i in range(0, len(self.texts), CHUNK))
        return [[encoding.ids for encoding in self.bare.encode_batch_fast(part)] for part in parts]

    def prepare(self) -> object:
        """Prepare the whole store in an empty cache."""
        return DataConfig(path=str(self.path)).prepare(
            emoji_tokenizer(), self.folder / f"cache{next(self._numbers)}"
        )

    def map_datasets(self) -> object:
        """Read and tokenize with ``datasets``, without its cache of an earlier round."""
        from datasets import Dataset

        tokenizer = builtin_gpt2_tokenizer()
        cache = str(self.folder / f"datasets{next(self._numbers)}")
        rows = Dataset.from_csv(str(self.path), cache_dir=cache)
        return rows.map(
            lambda batch: tokenizer(
                [
                    f"{text} {emoji}"
                    for text, emoji in zip(batch["text"], batch["emoji"], strict=True)
                ]
            ),
            batched=True,
            remove_columns=rows.column_names,
        )


def collating(stages: Stages) -> tuple[dict[str, Callable[[], object]], dict[str, int]]:
    """Return calls that make an epoch's batches, and the real tokens of each."""
    data = EmojiDataModule(
        str(stages.path), batch_size=BATCH, cache_dir=str(stages.folder / "cache0")
    )
    data.prepare_data()
    data.setup("fit")
    loader = data.train_dataloader()

    def ours() -> None:
        for _ in loader:
            pass

    calls: dict[str, Callable[[], object]] = {"our batches": ours}
    rows = data.store.splits["train"].rows
    tokens = {"our batches": int(data.store.lengths[rows].sum(dtype=np.int64))}
    if HAS_DATASETS:
        mapped = stages.map_datasets()
        tokenizer = builtin_gpt2_tokenizer()
        tokenizer.pad_token = tokenizer.eos_token
        collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)
        theirs: DataLoader = DataLoader(mapped, BATCH, shuffle=True, collate_fn=collator)
        calls["datasets' batches"] = lambda: [None for _ in theirs]
        tokens["datasets' batches"] = sum(map(len, mapped["input_ids"]))
    return calls, tokens


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(conditions("numpy", *(["datasets"] if HAS_DATASETS else [])), end=", ")
    print(f"{options.rows:,} rows")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "table.csv"
        write_table(path, options.rows)
        stages = Stages(path, Path(name))
        calls = {
            "reading": stages.read,
            "checking": stages.check,
            "tokenizing": stages.tokenize,
            "bare tokenizers": stages.tokenize_alone,
            "prepare, all of it": stages.prepare,
        }
        if HAS_DATASETS:
            import datasets

            datasets.disable_progress_bars()
            calls["datasets: from_csv and map"] = stages.map_datasets
        thousands = dict.fromkeys(calls, options.rows / 1e3)
        taken = measure(calls, options.rounds)
        tokens = sum(len(ids) for part in stages.tokenize_alone() for ids in part)
        print(f"\nStages, {tokens:,} tokens of text (without emoji):\n")
        print(table(taken, "bare tokenizers", thousands, "1,000 rows"), flush=True)
        calls, real = collating(stages)
        thousands = {name: number / 1e6 for name, number in real.items()}
        print(f"\nOne epoch in batches of {BATCH}:\n")
        reference = list(calls)[-1]
        print(table(measure(calls, options.rounds), reference, thousands, "million real tokens"))


if __name__ == "__main__":
    main()
