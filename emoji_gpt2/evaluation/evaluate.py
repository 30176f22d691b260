"""Evaluate a trained model on texts with their right emoji, beside baselines computed on the spot.

    evaluation = evaluate("checkpoints/quickstart/model", "sentences.csv", train_data="mine.csv")
    evaluation.metrics["hit_at_1"]              # of the model; macro_f1 where texts have one label
    evaluation.systems["lexical, cosine"].exact["hit_at_1"]       # Estimate(value, low, high)

On the command line: ``python -m emoji_gpt2.evaluate --model DIR --data sentences.csv``.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import UserError, check
from emoji_gpt2.evaluation.baselines import Weighting
from emoji_gpt2.evaluation.measure import Measured, Task, answer_statistics, group_hits, measure
from emoji_gpt2.evaluation.rankers import ConstantRanker, LexicalRanker, Ranker, SemanticRanker
from emoji_gpt2.evaluation.references import NAMES, Answer, References, Rows, read_references
from emoji_gpt2.evaluation.report import Evaluation, System
from emoji_gpt2.evaluation.scores import (
    Array,
    Estimate,
    Mean,
    Statistic,
    bootstrap,
    calibration_error,
    reliability,
)
from emoji_gpt2.files import default_cache_dir
from emoji_gpt2.generation.generator import EmojiGenerator

MODEL = "model"
ANSWER_LENGTH = 5
"""Emoji that the model may generate unless asked otherwise, where answers have several."""


class ModelRanker:
    """A generator's probabilities of all emoji."""

    name = MODEL
    log_probabilities = True

    def __init__(self, generator: EmojiGenerator, note: str, batch_size: int) -> None:
        self.note = note
        self._generator, self._batch_size = generator, batch_size

    def batches(self, texts: Sequence[str]) -> Iterator[Array]:
        """Yield log-probabilities, ``[B, V]``."""
        for scores_BV in self._generator.log_probabilities(texts, self._batch_size):
            yield scores_BV.cpu().numpy()


def evaluate(
    model: str | Path | EmojiGenerator,
    data: Rows,
    *,
    train_data: Rows | None = None,
    candidates: str | Sequence[str] | None = None,
    max_emoji: int | None = None,
    semantic_model: str | None = None,
    text_column: str | None = None,
    emoji_column: str | None = None,
    encoding: str | None = None,
    batch_size: int = 64,
    resamples: int = 1_000,
    seed: int = 0,
    device: str | None = None,
) -> Evaluation:
    """Return a model's scores on a table, and those of the baselines.

    Args:
        model: A generator, or what ``EmojiGenerator.from_pretrained`` takes.
        data: What a training's ``--data.path`` takes, pairs of a text and its emoji, or "names":
            the untoned emoji of the built-in table with their names. All rows of one normalised
            text are one text with several right answers.
        train_data: What the model was trained on: says which emoji is the most frequent, and how
            many of the texts are among it. None counts the emoji of ``data`` itself.
        candidates: The emoji that may be answered, probabilities renormalised over them; None is
            all. Nothing is generated then.
        max_emoji: Emoji that a generated answer has at most; None is as many as the longest right
            answer has, but 5 at most.
        semantic_model: A sentence-transformers model for a third baseline.
        text_column: The column of texts, in ``train_data``, too; None finds it by name.
        emoji_column: The column of emoji, likewise.
        encoding: Of a text file, likewise; None finds it.
        batch_size: Texts of one forward pass.
        resamples: Of the bootstrap; 0 gives no intervals.
        seed: Of the bootstrap.
        device: As for ``EmojiGenerator``.

    Raises:
        UserError: an argument cannot be used, or the data or the model cannot be read.
    """
    check("--resamples", resamples, fine=resamples >= 0, wanted="0 or more")
    check("--batch_size", batch_size, fine=batch_size >= 1, wanted="at least 1")
    check("--seed", seed, fine=seed >= 0, wanted="0 or more")
    check("--max_emoji", max_emoji, fine=max_emoji is None or max_emoji >= 1, wanted="at least 1")
    if candidates is not None and max_emoji is not None:
        raise UserError("--max_emoji: got it with --candidates, wanted one of the two; drop one")
    table = EmojiTable.builtin()
    allowed = None if candidates is None else _candidates(candidates, table)
    read = partial(
        read_references,
        cache_dir=default_cache_dir(),
        candidates=allowed,
        text_column=text_column,
        emoji_column=emoji_column,
        encoding=encoding,
    )
    references = read(data)
    training = None if train_data is None else read(train_data, argument="train_data")
    task = Task(references, table, allowed)
    baselines = _baselines(task, training, semantic_model)
    name = str(model) if isinstance(model, str | Path) else MODEL
    generator = (
        model
        if isinstance(model, EmojiGenerator)
        else EmojiGenerator.from_pretrained(model, device=device)
    )

    length = max(1, round(references.mean_length()))
    found = {one.name: measure(one, task, length) for one in baselines}
    ranked = measure(ModelRanker(generator, name, batch_size), task)
    generated: list[str] | None = None
    if allowed is None:
        max_emoji = max_emoji or min(ANSWER_LENGTH, references.longest())
        generated = generator.generate(references.texts, max_emoji, batch_size=batch_size)
    systems = {MODEL: _model(ranked, generated, task, name, resamples, seed)}
    for one in baselines:
        best = found[one.name].best if allowed is None else None
        systems[one.name] = _system(found[one.name], best, task, one.note, resamples, seed)
    hit_T = ranked.exact.rank_T == 1
    return Evaluation(
        model=name,
        texts=len(references.texts),
        single_label=task.single_label,
        candidates=allowed,
        max_emoji=max_emoji,
        systems=systems,
        groups=group_hits(ranked.exact, task),
        calibration=reliability(ranked.exact.confidence_T, hit_T),
        notes=_notes(
            references, training, length if allowed is None else None, of_names=data == NAMES
        ),
        resamples=resamples,
        seed=seed,
    )


def _candidates(given: str | Sequence[str], table: EmojiTable) -> list[str]:
    joined = "".join(given)
    allowed = list(dict.fromkeys(table.split(joined)))
    rest = "".join(table.residue(joined).replace(",", " ").split())
    check("--candidates", joined, fine=not rest, wanted=f"emoji only, not {rest!r}")
    check("--candidates", joined, fine=len(allowed) > 1, wanted="at least two different emoji")
    return sorted(allowed, key=list(table).index)


def _baselines(task: Task, training: References | None, semantic_model: str | None) -> list[Ranker]:
    table = task.table
    note = "counted in the training data"
    if training is None:
        note = (
            "counted in the evaluated texts themselves, for want of --train_data: no other "
            "constant first guess hits more often"
        )
    rankers: list[Ranker] = [ConstantRanker(table, (training or task.references).texts_of(), note)]
    rankers += [LexicalRanker(table, weighting) for weighting in get_args(Weighting)]
    if semantic_model is not None:
        rankers.append(SemanticRanker(table, semantic_model))
    return rankers


def _model(
    ranked: Measured,
    generated: Sequence[str] | None,
    task: Task,
    name: str,
    resamples: int,
    seed: int,
) -> System:
    """Return the model's scores; of what it generated also the share that is no emoji."""
    if generated is None:
        return _system(ranked, None, task, name, resamples, seed)
    answers = [tuple(task.table.split(one)) for one in generated]
    wrong = [
        not one or "".join(answer) != one for one, answer in zip(generated, answers, strict=True)
    ]
    system = _system(ranked, answers, task, name, resamples, seed)
    system.exact |= bootstrap({"invalid": Mean(np.array(wrong))}, len(answers), resamples, seed)
    return system


def _system(
    found: Measured,
    answers: Sequence[Answer] | None,
    task: Task,
    note: str,
    resamples: int,
    seed: int,
) -> System:
    estimates: list[dict[str, Estimate]] = []
    for side, one in ((task.exact, found.exact), (task.untoned, found.untoned)):
        statistics: dict[str, Statistic] = dict(one.statistics)
        if answers is not None:
            statistics |= answer_statistics(answers, side)
        estimates.append(bootstrap(statistics, len(one.rank_T), resamples, seed))
        if "nats_per_emoji" in statistics:
            bins = reliability(one.confidence_T, one.rank_T == 1)
            estimates[-1]["ece"] = Estimate(calibration_error(bins))
    return System(note, *estimates)


def _notes(
    references: References, training: References | None, length: int | None, *, of_names: bool
) -> list[str]:
    notes = [references.summary()]
    if of_names:
        notes.append("The lexical matchers know these names, and so the answers")
    if several := references.with_several():
        notes.append(
            f"No accuracy and macro-F1, which need one right emoji a text: {several:,} of "
            f"{len(references.texts):,} texts have several"
        )
    if training is not None:
        seen = len(set(training.texts) & set(references.texts))
        notes.append(f"Training data: {training.summary()}")
        notes.append(f"{seen:,} of the evaluated texts are in the training data, too")
    if length is not None:
        notes.append(
            f"Sets of a baseline: its {length} best emoji, as many as an answer has on average"
        )
    return notes
