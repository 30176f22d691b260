"""Evaluate a trained model on texts with their right emoji, beside baselines computed on the spot.

    evaluation = evaluate("checkpoints/quickstart/model", "sentences.csv", train_data="mine.csv")
    evaluation.metrics["hit_at_1"]              # of the model; macro_f1 where rows have one emoji
    evaluation.systems["lexical, cosine"].exact["hit_at_1"]       # Estimate(value, low, high)

On the command line: ``python -m emoji_gpt2.evaluate --model DIR --data sentences.csv``.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import UserError, check
from emoji_gpt2.evaluation.baselines import LexicalMatcher, Weighting
from emoji_gpt2.evaluation.measure import (
    Measured,
    Task,
    answer_statistics,
    measure,
    statistics,
)
from emoji_gpt2.evaluation.rankers import ConstantRanker, ModelRanker, Ranker, SemanticRanker
from emoji_gpt2.evaluation.references import NAMES, References, Rows, read_references
from emoji_gpt2.evaluation.report import Evaluation, System
from emoji_gpt2.evaluation.scores import Estimate, bootstrap, calibration_error
from emoji_gpt2.files import default_cache_dir
from emoji_gpt2.generation.generator import EmojiGenerator
from emoji_gpt2.tables.source import Reading

ANSWER_LENGTH = 5
"""Emoji that the model may generate unless asked otherwise, where answers have several."""


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
    delimiter: str | None = None,
    labels_path: str | None = None,
    label_names: str | None = None,
    emoji_from_text: bool | None = None,
    batch_size: int = 64,
    resamples: int = 1_000,
    seed: int = 0,
    device: str | None = None,
) -> Evaluation:
    """Return a model's scores on a table, and those of the baselines.

    Ranking scores are means over distinct texts, accuracy and macro-F1 over rows of one emoji.

    Args:
        model: A generator, or what ``EmojiGenerator.from_pretrained`` takes.
        data: A table's path or address, pairs of a text and its emoji, or "names": the built-in
            names of all emoji without skin tone.
        train_data: The training table, for its most frequent emoji; None counts ``data``.
        candidates: The emoji that may be answered, probabilities renormalised over them; None is
            all. With candidates nothing is generated.
        max_emoji: Emoji of a generated answer at most; None is as the longest right one, up to 5.
        semantic_model: A sentence-transformers model for a third baseline.
        text_column: As for ``EmojiDataModule``, also of ``train_data``.
        emoji_column: Likewise.
        encoding: Likewise.
        delimiter: Likewise.
        labels_path: Likewise, of ``data`` alone.
        label_names: Likewise, of both.
        emoji_from_text: Likewise.
        batch_size: Texts of one forward pass.
        resamples: Of the bootstrap; 0 gives no intervals.
        seed: Of the bootstrap.
        device: As for ``EmojiGenerator``.

    Raises:
        UserError: an argument cannot be used, or the data or the model cannot be read.
    """
    allowed = _checked(candidates, max_emoji, batch_size, resamples, seed)
    reading = Reading(
        text_column, emoji_column, encoding, delimiter, labels_path, label_names, emoji_from_text
    )
    read = partial(read_references, cache_dir=default_cache_dir(), candidates=allowed)
    task = Task(read(data, reading=reading), EmojiTable.builtin(), allowed)
    training = None
    if train_data is not None:
        reading = replace(reading, labels_path=None)
        training = read(train_data, reading=reading, argument="train_data")
    baselines = _baselines(task, training, semantic_model)
    ranker = _model_ranker(model, batch_size, device)
    notes = _notes(task, training, of_names=data == NAMES)
    return _evaluation(ranker, baselines, task, max_emoji, notes, resamples, seed)


def _checked(
    given: str | Sequence[str] | None, max_emoji: int | None, batch: int, resamples: int, seed: int
) -> list[str] | None:
    """Return the candidates in table order, if the arguments can be used."""
    check("resamples", resamples, fine=resamples >= 0, wanted="0 or more")
    check("batch_size", batch, fine=batch >= 1, wanted="at least 1")
    check("seed", seed, fine=seed >= 0, wanted="0 or more")
    check("max_emoji", max_emoji, fine=max_emoji is None or max_emoji >= 1, wanted="at least 1")
    if given is None:
        return None
    if max_emoji is not None:
        raise UserError("max_emoji", str(max_emoji), "no {candidates} beside it", "drop one")
    table, joined = EmojiTable.builtin(), "".join(given)
    allowed = list(dict.fromkeys(table.split(joined)))
    rest = "".join(table.residue(joined).replace(",", " ").split())
    check("candidates", joined, fine=not rest, wanted=f"emoji only, not {rest!r}")
    check("candidates", joined, fine=len(allowed) > 1, wanted="at least two different emoji")
    return sorted(allowed, key=list(table).index)


def _baselines(task: Task, training: References | None, semantic_model: str | None) -> list[Ranker]:
    table = task.table
    note = "counted in the training data"
    if training is None:
        note = "counted in the evaluated texts themselves, as no --train_data is given"
    rankers: list[Ranker] = [ConstantRanker(table, (training or task.references).texts_of(), note)]
    rankers += [LexicalMatcher(table, weighting) for weighting in get_args(Weighting)]
    if semantic_model is not None:
        rankers.append(SemanticRanker(table, semantic_model))
    return rankers


def _model_ranker(
    model: str | Path | EmojiGenerator, batch_size: int, device: str | None
) -> ModelRanker:
    if isinstance(model, EmojiGenerator):
        return ModelRanker(model, ModelRanker.name, batch_size)
    generator = EmojiGenerator.from_pretrained(model, device=device)
    return ModelRanker(generator, str(model), batch_size)


def _evaluation(
    model: ModelRanker,
    baselines: Sequence[Ranker],
    task: Task,
    max_emoji: int | None,
    notes: list[str],
    resamples: int,
    seed: int,
) -> Evaluation:
    """Measure everything."""
    references = task.references
    estimate = partial(bootstrap, n_texts=len(references.texts), resamples=resamples, seed=seed)
    ranked = measure(model, task)
    if task.candidates is None:  # then the model generates answers, and baselines answer by sets
        max_emoji = max_emoji or min(ANSWER_LENGTH, max(map(len, references.rows)))
        generated = model.generate(references.texts, max_emoji)
        ranked.best = [tuple(task.table.split(answer)) for answer in generated]
    systems = {model.name: _system(ranked, task, model.note, estimate)}
    for one in baselines:
        found = measure(one, task, _answer_length(references))
        systems[one.name] = _system(found, task, one.note, estimate)
    return Evaluation(
        model=model.note,
        texts=len(references.texts),
        rows=len(references.rows),
        single_label=task.exact.single_label,
        candidates=task.candidates,
        max_emoji=max_emoji,
        systems=systems,
        notes=notes,
        resamples=resamples,
        seed=seed,
    )


def _answer_length(references: References) -> int:
    return max(1, round(references.mean_length()))


def _system(
    found: Measured, task: Task, note: str, estimate: Callable[..., dict[str, Estimate]]
) -> System:
    sides: list[dict[str, Estimate]] = []
    for side, one in ((task.exact, found.exact), (task.untoned, found.untoned)):
        scores = statistics(one, side, likely=found.log_probabilities)
        if task.candidates is None:
            scores |= answer_statistics(found.best, side)
        sides.append(estimate(scores))
        if found.log_probabilities:
            error = calibration_error(one.confidence_T, one.rank_T == 1)
            sides[-1]["ece"] = Estimate(error)
    return System(note, *sides)


def _notes(task: Task, training: References | None, *, of_names: bool) -> list[str]:
    references = task.references
    notes = [*references.took, references.summary()]
    if of_names:
        notes.append("The lexical matchers know these names, and so the answers")
    if several := references.with_several():
        notes.append(
            f"No accuracy and macro-F1, which need one emoji per row: {several:,} of "
            f"{len(references.rows):,} rows have several"
        )
    else:
        notes.append(
            f"Accuracy and macro-F1 are over {len(references.rows):,} rows, one emoji each"
        )
    if training is not None:
        seen = len(set(training.texts) & set(references.texts))
        notes.append(f"Training data: {training.summary()}")
        notes.append(f"{seen:,} of the evaluated texts are in the training data, too")
    if task.candidates is None:
        length = _answer_length(references)
        notes.append(
            f"Sets of a baseline: its {length} best emoji, as many as an answer has on average"
        )
    return notes
