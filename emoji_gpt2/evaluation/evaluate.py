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
from emoji_gpt2.errors import MissingFileError, UserError, blaming, check
from emoji_gpt2.evaluation.baselines import LexicalMatcher, Weighting
from emoji_gpt2.evaluation.measure import Task, answer_statistics, measure, statistics
from emoji_gpt2.evaluation.rankers import ConstantRanker, ModelRanker, Ranker, SemanticRanker
from emoji_gpt2.evaluation.references import References, Rows, read_references
from emoji_gpt2.evaluation.report import Evaluation, System
from emoji_gpt2.evaluation.scores import Estimate, Statistic, bootstrap, calibration_error
from emoji_gpt2.files import PATH, default_cache_dir
from emoji_gpt2.generation.generator import EmojiGenerator
from emoji_gpt2.tables.columns import Reading
from emoji_gpt2.tables.labels import read_labels

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
        candidates: The emoji that may be answered, or the path of a file with the emoji of each
            label, as for ``label_names``; probabilities are renormalised over them. None is all.
            With candidates nothing is generated.
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
    task, training = _read(data, train_data, reading, allowed)
    baselines = _baselines(task, training, semantic_model)
    ranker = _model_ranker(model, device, batch_size)
    if allowed is None and max_emoji is None:
        max_emoji = min(ANSWER_LENGTH, max(map(len, task.references.rows)))
    return _compared(task, training, ranker, baselines, max_emoji, resamples, seed)


def _read(
    data: Rows, train_data: Rows | None, reading: Reading, allowed: list[str] | None
) -> tuple[Task, References | None]:
    """Return what to evaluate on, and the training data if they are given."""
    read = partial(read_references, cache_dir=default_cache_dir(), candidates=allowed)
    task = Task(read(data, reading=reading), EmojiTable.builtin(), allowed)
    if train_data is None:
        return task, None
    reading = replace(reading, labels_path=None)
    return task, read(train_data, reading=reading, argument="train_data")


def _model_ranker(
    model: str | Path | EmojiGenerator, device: str | None, batch_size: int
) -> ModelRanker:
    if isinstance(model, EmojiGenerator):
        return ModelRanker(model, ModelRanker.name, batch_size)
    generator = EmojiGenerator.from_pretrained(model, device=device)
    return ModelRanker(generator, str(model), batch_size)


def _compared(
    task: Task,
    training: References | None,
    ranker: ModelRanker,
    baselines: list[Ranker],
    max_emoji: int | None,
    resamples: int,
    seed: int,
) -> Evaluation:
    """Return the scores of the model and the baselines."""
    texts = task.references.texts
    answers = ranker.generate(texts, max_emoji) if max_emoji else None
    estimate = partial(bootstrap, n_texts=len(texts), resamples=resamples, seed=seed)
    return Evaluation(
        model=ranker.note,
        texts=len(texts),
        rows=len(task.references.rows),
        single_label=task.exact.single_label,
        candidates=task.candidates,
        max_emoji=max_emoji,
        systems={
            ranker.name: _system(ranker, task, estimate, answers),
            **{one.name: _system(one, task, estimate) for one in baselines},
        },
        notes=_notes(task, training),
        resamples=resamples,
        seed=seed,
    )


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
    table = EmojiTable.builtin()
    if isinstance(given, str) and not table.split(given):
        given = _of_labels(given)
    joined = "".join(given)
    allowed = set(table.split(joined))
    rest = "".join(table.residue(joined).replace(",", " ").split())
    check("candidates", joined, fine=not rest, wanted=f"emoji only, not {rest!r}")
    check("candidates", joined, fine=len(allowed) > 1, wanted="at least two different emoji")
    return [emoji for emoji in table if emoji in allowed]


def _of_labels(path: str) -> list[str]:
    """Return the emoji of a file of labels and their emoji."""
    if not Path(path).is_file():
        wanted = "emoji, or a file with the emoji of each label"
        raise MissingFileError("candidates", repr(path), wanted, "correct it")
    with blaming("candidates", "data.label_names", PATH):
        return list(read_labels(Path(path)).values())


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


def _system(
    ranker: Ranker,
    task: Task,
    estimate: Callable[[dict[str, Statistic]], dict[str, Estimate]],
    answers: Sequence[str] | None = None,
) -> System:
    """Return a ranker's scores; without ``answers``, its best emoji are its answers."""
    found = measure(ranker, task, task.references.answer_length())
    if answers is not None:
        found.best = [tuple(task.table.split(answer)) for answer in answers]
    sides = []
    for side, one in ((task.exact, found.exact), (task.untoned, found.untoned)):
        scores = statistics(one, side, likely=ranker.log_probabilities)
        if task.candidates is None:
            scores |= answer_statistics(found.best, side)
        sides.append(estimate(scores))
        if ranker.log_probabilities:
            error = calibration_error(one.confidence_T, one.rank_T == 1)
            sides[-1]["ece"] = Estimate(error)
    return System(ranker.note, *sides)


def _notes(task: Task, training: References | None) -> list[str]:
    references = task.references
    notes = [*references.took, references.summary()]
    rows = f"{len(references.rows):,} rows"
    if several := references.with_several():
        few = f"{several:,} of {rows} have several"
        notes.append(f"No accuracy and macro-F1, which need one emoji per row: {few}")
    else:
        notes.append(f"Accuracy and macro-F1 are over {rows}, one emoji each")
    if training is not None:
        seen = len(set(training.texts) & set(references.texts))
        notes.append(f"Training data: {training.summary()}")
        notes.append(f"{seen:,} of the evaluated texts are in the training data, too")
    if task.candidates is None:
        length = references.answer_length()
        notes.append(
            f"Sets of a baseline: its {length} best emoji, as many as an answer has on average"
        )
    return notes
