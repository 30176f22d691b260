"""What does each ingredient of the quickstart's recipe give? Train without it, and measure.

    python tests/benchmarks/ablation.py --data sentences.csv --output runs.jsonl shipped:0 shipped:1
    python tests/benchmarks/ablation.py --data sentences.csv --output runs.jsonl no_fillers:0

Each run is ``configs/quickstart.yaml`` with one ingredient switched off (``WITHOUT``), by replacing
what the package uses: these are no options of it. A run's number seeds its weights and dropout, the
order of its rows and its made-up texts; 0 is as shipped. Each adds a line to ``--output``: hit@1
and hit@5 on the sentences, on the untoned names and on the held-out keywords (validation and test),
of the trained model and of the posterior that the made-up texts are answered by, without training.
"""

import argparse
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import yaml
from lightning.pytorch import Trainer, seed_everything

from emoji_gpt2 import EmojiDataModule, EmojiGenerator, EmojiGPT2, EmojiTable
from emoji_gpt2.data import synthetic as augment
from emoji_gpt2.data.english import word_ranks
from emoji_gpt2.data.examples import Example, Report, name_examples
from emoji_gpt2.data.store import Split
from emoji_gpt2.data.synthetic import PhraseMaker
from emoji_gpt2.evaluation.evaluate import ModelRanker
from emoji_gpt2.evaluation.measure import Task, measure
from emoji_gpt2.evaluation.rankers import BATCH, Ranker
from emoji_gpt2.evaluation.references import References, merged, read_references
from emoji_gpt2.files import default_cache_dir
from emoji_gpt2.model import network
from emoji_gpt2.model.export import save_transformers_folder
from emoji_gpt2.tokenizer import decode_text, token_ids

CONFIG = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
STEPS_OF_A_PASS = 379
"""Optimizer steps of the quickstart over its training rows."""
Array = np.ndarray
made_up_examples = PhraseMaker.examples
evidence = PhraseMaker._evidence
add_embeddings = network.add_embeddings


def constants(**values: float) -> list[Any]:
    """Replace constants of the process that makes texts up."""
    return [patch.object(augment, name, value) for name, value in values.items()]


def seeded_texts(seed: int) -> Any:
    """Make up the texts of another seed."""
    return patch.object(
        PhraseMaker,
        "examples",
        lambda maker, count, seed=seed: made_up_examples(maker, count, seed),
    )


def uniform_evidence(maker: PhraseMaker, ranks: Mapping[str, int], total: float) -> Any:
    """Take every word for equally frequent: P(w) is one over their number."""
    rank = len(ranks) / total - augment.ZIPF_OFFSET
    with patch.object(augment, "UNKNOWN_RANK", rank):
        return evidence(maker, dict.fromkeys(ranks, rank), total)


def drawn_answers() -> Any:
    """Make up the texts with the one answer that was drawn."""
    examples = PhraseMaker.examples  # of the run's seed

    def drawn(maker: PhraseMaker, count: int, seed: int) -> Iterator[Example]:
        return (one._replace(shares=()) for one in examples(maker, count, seed))

    return patch.object(PhraseMaker, "examples", drawn)


def random_rows(model: Any, tokenizer: Any, new_tokens: Sequence[str]) -> None:
    """Start the emoji like all other tokens, at random."""
    add_embeddings(model, tokenizer, new_tokens)
    rows = token_ids(tokenizer, EmojiTable.builtin())
    deviation = model.config.initializer_range
    model.transformer.wte.weight.data[rows] = deviation * torch.randn(
        len(rows), model.config.n_embd
    )


def no_families(table_words: set[str], ranks: Mapping[str, int]) -> dict[str, list[str]]:
    """Let each word be its only form."""
    return {word: [word] for word in table_words}


WITHOUT: dict[str, Callable[[], list[Any]]] = {
    "shipped": list,
    "no_made_up": list,
    "no_names": lambda: constants(P_NAME=0.0),
    "no_keywords": list,
    "no_subsets": lambda: constants(MAX_WORDS=1),
    "no_inflections": lambda: [
        *constants(P_INFLECT=0.0),
        patch.object(augment, "families", no_families),
    ],
    "no_fillers": lambda: constants(MAX_FILLERS=0),
    "no_rarity": lambda: [patch.object(PhraseMaker, "_evidence", uniform_evidence)],
    "no_prior": lambda: constants(MANY_KEYWORDS=0.0, EARLY=0.0),
    "no_soft_targets": lambda: [drawn_answers()],
    "no_embedding_start": lambda: [patch.object(network, "add_embeddings", random_rows)],
    "no_bag_of_words": lambda: [
        patch.object(network, "start_as_bag_of_words", lambda _model: None)
    ],
    "no_dropout": list,
}
"""no_made_up has as many steps as shipped; no_names and no_keywords leave out the rows that are
one, no_names the made-up texts of one, too, but not the words; no_subsets makes a text up of one
word of a description instead of up to 4; no_rarity is of the made-up texts' answers."""


class PosteriorRanker:
    """The answers of made-up texts for any text."""

    name = note = "posterior"
    log_probabilities = False

    def __init__(self, maker: PhraseMaker, table: EmojiTable) -> None:
        self.maker = maker
        place = {emoji: n for n, emoji in enumerate(table)}
        self.place = np.array([place[emoji] for emoji in maker.emoji])
        self.size = len(place)

    def batches(self, texts: Sequence[str]) -> Iterator[Array]:
        """Yield shares, ``[B, V]``; -inf beyond the likeliest."""
        for start in range(0, len(texts), BATCH):
            part = texts[start : start + BATCH]
            scores_BV = np.full((len(part), self.size), -np.inf)
            for row, text in enumerate(part):
                best, shares = self.maker.posterior(text)
                scores_BV[row, self.place[best]] = shares
            yield scores_BV


def held_out_keywords(data: EmojiDataModule) -> References:
    """Return the texts of validation and test with their right emoji."""
    decode, store, examples = data.tokenizer.decode, data.store, []
    for split in (store.splits["val"], store.splits["test"]):
        for number, row in enumerate(split.rows.tolist()):
            ids, n_prompt = store.row(row)
            text = decode_text(data.tokenizer, ids[: n_prompt - 1].tolist())
            answers = split.answers_of(number).tolist()
            examples += [Example(text, (str(decode(token)),)) for token in answers]
    return merged(examples)


def leave_out_rows(data: EmojiDataModule, without: str) -> None:
    """Take the rows that are a name, or a keyword, out of the training rows."""
    if without not in ("no_names", "no_keywords"):
        return
    rows = data.store.splits["train"].rows
    of_table, made_up = np.split(rows, [len(rows) - data.config.made_up_texts])
    table = EmojiTable.builtin()
    names = {one.text for one in name_examples(table, "keep", Report("names"))}

    def is_name(row: int) -> bool:
        ids, n_prompt = data.store.row(row)
        return decode_text(data.tokenizer, ids[: n_prompt - 1].tolist()) in names

    named = np.array([is_name(row) for row in of_table.tolist()])
    kept = of_table[named if without == "no_keywords" else ~named]
    data.store.splits["train"] = Split(np.concatenate([kept, made_up]))


def hits(ranker: Ranker, tasks: Mapping[str, Task]) -> dict[str, list[float]]:
    """Return hit@1 and hit@5 of each task."""
    found = {}
    for name, task in tasks.items():
        ranks_T = measure(ranker, task).exact.rank_T
        found[name] = [round(float((ranks_T <= k).mean()), 4) for k in (1, 5)]
    return found


def one_run(
    without: str, seed: int, sentences: References, options: argparse.Namespace
) -> dict[str, Any]:
    """Train and measure; the numbers by task."""
    config = yaml.safe_load(CONFIG.read_text("utf-8"))
    config["trainer"] |= {"precision": options.precision, "max_epochs": options.epochs}
    if without == "no_made_up":
        config["data"]["made_up_texts"] = 0
        config["trainer"] |= {"max_epochs": -1, "max_steps": STEPS_OF_A_PASS * options.epochs}
    if without == "no_dropout":
        config["model"]["dropout"] = 0.0
    table = EmojiTable.builtin()
    begin, begin_cpu = time.perf_counter(), time.process_time()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        if seed:
            stack.enter_context(seeded_texts(seed))
        for change in WITHOUT[without]():
            stack.enter_context(change)
        seed_everything(seed, verbose=False)
        data = EmojiDataModule(**config["data"], seed=seed, cache_dir=folder)
        data.prepare_data()
        data.setup("fit")
        leave_out_rows(data, without)
        model = EmojiGPT2(**config["model"])
        trainer = Trainer(
            **config["trainer"], logger=False, enable_checkpointing=False, limit_val_batches=0,
            enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        )  # fmt: skip
        trainer.fit(model, datamodule=data)
        seconds, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
        tasks = {
            "sentences": Task(sentences, table),
            "names": Task(read_references("names", default_cache_dir()), table),
            "keywords": Task(held_out_keywords(data), table),
        }
        generator = EmojiGenerator(model.model, model.tokenizer)
        if options.export:
            save_transformers_folder(model.model, model.tokenizer, options.export)
        untoned = [emoji for emoji in table if not table.tones(emoji)]
        ranks = word_ranks(data.tokenizer.get_vocab())
        maker = PhraseMaker(table, untoned, ranks)
        return {
            "without": without,
            "seed": seed,
            "precision": options.precision,
            "epochs": options.epochs,
            "model": hits(ModelRanker(generator, without, 256), tasks),
            "posterior": hits(PosteriorRanker(maker, table), tasks),
            "texts": {name: len(task.references.texts) for name, task in tasks.items()},
            "steps": trainer.global_step,
            "train_loss": round(float(trainer.callback_metrics["train/loss"]), 4),
            "seconds": round(seconds),
            "cpu_seconds": round(cpu),
        }


def main() -> None:
    """Run what is asked for, one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="sentences with their emoji")
    parser.add_argument("--output", required=True, type=Path, help="JSON lines are added to it")
    parser.add_argument(
        "--precision",
        default="32-true",
        help="Lightning's; bf16-mixed takes half the time on processors with instructions for it",
    )
    parser.add_argument("--epochs", type=int, default=3, help="passes over the training rows")
    parser.add_argument("--export", type=Path, help="folder for the model of the last run")
    parser.add_argument("runs", nargs="+", help=f"WITHOUT:SEED, of {', '.join(WITHOUT)}")
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore")
    sentences = read_references(options.data, default_cache_dir())
    for run in options.runs:
        without, seed = run.split(":")
        found = one_run(without, int(seed), sentences, options)
        with options.output.open("a", encoding="utf-8") as file:
            print(json.dumps(found), file=file)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
