"""Is it worth starting from the base? Fine-tune it, and random weights, on 80 % of a table.

    python -m tests.benchmarks.finetune_base --data google_emoji_translation.csv [--seeds 5]

For each seed the rows are split anew, 80 % for training and 20 % for testing, by text. Prints
hit@1, hit@5 and set-F1 on the test rows, skin tones dropped: mean and standard deviation over the
seeds. A text's set is all of its emoji; an answer's set are its first 3, for every method alike.
Baselines are the most frequent emoji of the training rows, the lexical matcher in both weightings,
and the base without fine-tuning.
"""

import argparse
import csv
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from lightning.pytorch import Trainer, seed_everything

from emoji_gpt2 import EmojiDataModule, EmojiGenerator, EmojiGPT2, EmojiTable
from emoji_gpt2.evaluation.baselines import LexicalMatcher
from emoji_gpt2.tables.source import open_source
from tests.benchmarks.timing import arguments

ANSWER = 3
"""Emoji of an answer that set-F1 looks at."""
SCRATCH = {"n_layer": 3, "n_embd": 160, "n_head": 4, "n_positions": 128}
Row = tuple[str, list[str]]


def read_rows(path: str) -> list[Row]:
    """Return the distinct texts of a table, each with its distinct emoji, tones dropped."""
    table = EmojiTable.builtin()
    source = open_source(path, cache_dir=Path(".cache"))
    rows = {
        text: list(dict.fromkeys(table.base(e) for e in table.split(cell)))
        for chunk in source.chunks()
        for text, cell in zip(chunk.texts, chunk.emoji or [], strict=True)
    }
    return [(text, emoji) for text, emoji in rows.items() if emoji]


def split(rows: list[Row], seed: int) -> tuple[list[Row], list[Row]]:
    """Return 80 % of the rows to train on and the rest to test on."""
    order = np.random.default_rng(seed).permutation(len(rows))
    cut = int(0.8 * len(rows))
    return [rows[i] for i in order[:cut]], [rows[i] for i in order[cut:]]


def one_row_per_emoji(rows: list[Row]) -> list[tuple[str, str]]:
    """Return each text with each of its emoji."""
    return [(text, one) for text, emoji in rows for one in emoji]


def scores(ranked: list[list[str]], rows: list[Row]) -> dict[str, float]:
    """Return hit@1, hit@5 and the mean F1 of the first ``ANSWER`` emoji against all right ones."""
    hit_1 = hit_5 = f1 = 0.0
    for best, (_, emoji) in zip(ranked, rows, strict=True):
        wanted, answer = set(emoji), set(best[:ANSWER])
        hit_1 += best[0] in wanted
        hit_5 += bool(wanted & set(best[:5]))
        f1 += 2 * len(wanted & answer) / (len(wanted) + len(answer))
    return {"hit@1": hit_1 / len(rows), "hit@5": hit_5 / len(rows), "set-F1": f1 / len(rows)}


def model_ranking(generator: EmojiGenerator, rows: list[Row]) -> list[list[str]]:
    """Rank untoned emoji by a model: toned ones count as their base."""
    table = generator.table
    found = generator.rank([text for text, _ in rows], top_k=12)
    return [list(dict.fromkeys(table.base(e) for e, _ in best))[:5] for best in found]


def lexical_ranking(matcher: LexicalMatcher, emoji: list[str], rows: list[Row]) -> list[list[str]]:
    """Rank untoned emoji by words shared with names and keywords."""
    return [
        [emoji[i] for i in np.argsort(-matcher.rank(text), kind="stable")[:5]] for text, _ in rows
    ]


def trained(
    pretrained: str | None,
    rows: Iterable[tuple[str, str]],
    seed: int,
    epochs: int,
) -> EmojiGenerator:
    """Train on texts and cells of emoji, and return the model."""
    seed_everything(seed, verbose=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([("text", "emoji"), *rows])
        data = EmojiDataModule(
            str(path), batch_size=64, seed=seed, val_fraction=0.0, test_fraction=0.0,
            tokenizer=pretrained, cache_dir=folder,
        )  # fmt: skip
        model = EmojiGPT2(
            pretrained, None if pretrained else SCRATCH, dropout=0.1, learning_rate=5e-4
        )
        trainer = Trainer(
            max_epochs=epochs, accelerator="cpu", devices=1, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            gradient_clip_val=1.0, use_distributed_sampler=False, limit_val_batches=0,
        )  # fmt: skip
        trainer.fit(model, datamodule=data)
    return EmojiGenerator(model.model, model.tokenizer)


def one_seed(
    rows: list[Row], options: argparse.Namespace, seed: int
) -> dict[str, dict[str, float]]:
    """Split, train and measure everything once."""
    train, test = split(rows, seed)
    table = EmojiTable.builtin()
    frequent = Counter(e for _, emoji in train for e in emoji).most_common(5)
    found = {"most frequent": scores([[e for e, _ in frequent]] * len(test), test)}
    for weighting in ("sum", "cosine"):
        matcher = LexicalMatcher(table, weighting, toned=False)
        found[f"lexical, {weighting}"] = scores(lexical_ranking(matcher, list(table), test), test)
    base = EmojiGenerator.from_pretrained(options.base)
    found["base as it ships"] = scores(model_ranking(base, test), test)
    for name, start, epochs in (
        ("from random weights", None, options.scratch_epochs),
        ("from the base", options.base, options.epochs),
    ):
        model = trained(start, one_row_per_emoji(train), seed, epochs)
        found[name] = scores(model_ranking(model, test), test)
    return found


def main() -> None:
    """Measure and print a table."""
    options = arguments(
        __doc__, data=str, base="checkpoints/base", seeds=5, epochs=8, scratch_epochs=15
    )
    rows = read_rows(options.data)
    runs = []
    for seed in range(options.seeds):
        runs.append(one_seed(rows, options, seed))
        print(f"seed {seed}: {runs[-1]}", file=sys.stderr, flush=True)
    print(f"{len(rows):,} texts, {options.seeds} seeds; mean ± standard deviation\n")
    print("| | hit@1 | hit@5 | set-F1 |\n| --- | --- | --- | --- |")
    for name in runs[0]:
        cells = []
        for metric in ("hit@1", "hit@5", "set-F1"):
            values = [run[name][metric] for run in runs]
            cells.append(f"{statistics.mean(values):.3f} ± {statistics.pstdev(values):.3f}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
