"""How should rows of several emoji be trained on, and how be answered with several?

    PYTHONPATH=. python tests/benchmarks/several_emoji.py --data google_emoji_translation.csv \
        [--seeds 3] [--steps 300 800]

The base is fine-tuned on 80 % of a table, split by text: with a row per text and emoji, a row per
text with its emoji in the order given, and the same as a set (``AnyOrder``); then in a random order
instead of the one given. Optimizer steps are equal, of 64 rows; ``--steps`` without a number trains
nothing and measures the model given by ``--base``. All is measured on the other texts,
skin tones dropped: mean and standard deviation over the seeds, each of which is another split.

hit@1, hit@5 and set-F1 are of the ranking, the last of its first 3 emoji. "generated" are answers
of up to 3 emoji, which end where the model ends them: their set-F1, the share that is just the
right set, how many emoji they hold. The last columns are the set-F1 of answers of 3 emoji: with
``min_emoji=3``, and with the end of text forbidden, as Transformers' ``min_new_tokens=3`` does.
A text's set is all of its emoji.
"""

import argparse
import statistics
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from emoji_gpt2 import EmojiGenerator, EmojiGPT2, EmojiTable
from emoji_gpt2.batch import Batch
from emoji_gpt2.tokenizer import EMOJI_TOKEN, candidate_tokens, encode_prompts
from tests.benchmarks.finetune_base import (
    ANSWER,
    Row,
    model_ranking,
    one_row_per_emoji,
    read_rows,
    scores,
    split,
    trained,
)
from tests.benchmarks.timing import conditions

METRICS = (
    "hit@1", "hit@5", "set-F1", "generated set-F1", "whole set", "emoji generated",
    "min_emoji=3", "no end before 3",
)  # fmt: skip
BATCH = 64


class AnyOrder(EmojiGPT2):
    """Trains on the emoji of a row as a set.

    After each emoji given, all of the row's that are still to come are equally right; the end of
    text comes after the last.
    """

    def loss(self, logits_NV: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy against what is still to come, summed, and its positions."""
        row_N = batch.positions_N // batch.ids_BT.shape[1]
        labels_N = self.candidate_index[batch.labels_N]
        is_end_N = labels_N == 0
        right_NN = (row_N[:, None] == row_N).triu() & ~is_end_N | torch.diag(is_end_N)
        shares_NN = right_NN / right_NN.sum(1, keepdim=True)
        nats = -(shares_NN * logits_NV.log_softmax(1)[:, labels_N]).sum()
        return nats, torch.tensor(len(labels_N), device=labels_N.device)


def in_order(rows: list[Row]) -> list[tuple[str, str]]:
    """Return each text with all of its emoji in the order given."""
    return [(text, "".join(emoji)) for text, emoji in rows]


def shuffled(rows: list[Row]) -> list[tuple[str, str]]:
    """Return each text with all of its emoji in a random order, always the same."""
    rng = np.random.default_rng(0)
    return [(text, "".join(rng.permutation(emoji))) for text, emoji in rows]


WAYS: dict[str, tuple[Callable[[list[Row]], list[tuple[str, str]]], type[EmojiGPT2]]] = {
    "a row per text and emoji": (one_row_per_emoji, EmojiGPT2),
    "a row per text, in order": (in_order, EmojiGPT2),
    "a row per text, any order": (in_order, AnyOrder),
    "shuffled, in order": (shuffled, EmojiGPT2),
    "shuffled, any order": (shuffled, AnyOrder),
}


def answers_without_end(generator: EmojiGenerator, texts: list[str]) -> list[str]:
    """Return answers of ``ANSWER`` different emoji by Transformers' own generation."""
    model, tokenizer = generator.model, generator.tokenizer
    candidates = set(candidate_tokens(tokenizer))
    others = [token for token in range(model.config.vocab_size) if token not in candidates]
    prompts = encode_prompts(tokenizer, texts, 100)
    tokenizer.pad_token, answers = tokenizer.eos_token, []
    for start in range(0, len(prompts), BATCH):
        padded = tokenizer.pad({"input_ids": prompts[start : start + BATCH]}, return_tensors="pt")
        width = padded["input_ids"].shape[1]
        found = model.generate(
            **padded, do_sample=False, min_new_tokens=ANSWER, max_new_tokens=ANSWER,
            suppress_tokens=others, no_repeat_ngram_size=1, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        answers += tokenizer.batch_decode(found[:, width:])
    assert not any(EMOJI_TOKEN in answer for answer in answers)
    return answers


def set_scores(answers: list[str], rows: list[Row], table: EmojiTable) -> dict[str, float]:
    """Return what answers are worth as sets of untoned emoji, and how many emoji they hold."""
    f1 = whole = n_emoji = 0.0
    for answer, (_, emoji) in zip(answers, rows, strict=True):
        given, wanted = {table.base(e) for e in table.split(answer)}, set(emoji)
        f1 += 2 * len(wanted & given) / (len(wanted) + len(given))
        whole += given == wanted
        n_emoji += len(given)
    found = {"generated set-F1": f1, "whole set": whole, "emoji generated": n_emoji}
    return {name: value / len(rows) for name, value in found.items()}


def measured(generator: EmojiGenerator, rows: list[Row]) -> dict[str, float]:
    """Return all metrics of a model."""
    texts, table = [text for text, _ in rows], generator.table
    found = scores(model_ranking(generator, rows), rows)
    found |= set_scores(generator.generate(texts, max_emoji=ANSWER), rows, table)
    for name, answers in (
        ("min_emoji=3", generator.generate(texts, max_emoji=ANSWER, min_emoji=ANSWER)),
        ("no end before 3", answers_without_end(generator, texts)),
    ):
        found[name] = set_scores(answers, rows, table)["generated set-F1"]
    return found


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--base", default="checkpoints/base")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, nargs="*", default=[300, 800])
    options = parser.parse_args()
    rows = read_rows(options.data)
    print(
        f"{conditions()}\n{len(rows):,} texts, {options.seeds} seeds; mean ± standard deviation\n"
    )
    print(f"| | steps | {' | '.join(METRICS)} |\n|{' --- |' * (2 + len(METRICS))}", flush=True)
    base = EmojiGenerator.from_pretrained(options.base)
    splits = [split(rows, seed) for seed in range(options.seeds)]
    show("before training", 0, [measured(base, test) for _, test in splits])
    for steps in options.steps:
        for way, (table, kind) in WAYS.items():
            runs = []
            for seed, (train, test) in enumerate(splits):
                model = trained(options.base, table(train), seed, kind=kind, max_steps=steps)
                runs.append(measured(model, test))
            show(way, steps, runs)


def show(name: str, steps: int, runs: list[dict[str, float]]) -> None:
    """Print a row of the table."""
    cells = []
    for metric in METRICS:
        values = [run[metric] for run in runs]
        cells.append(f"{statistics.mean(values):.3f} ± {statistics.pstdev(values):.3f}")
    print(f"| {name} | {steps} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
