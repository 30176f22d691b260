"""What a model is evaluated on: texts, each with all right answers that a table has for it.

    references = merged([Example("birthday", ("🎂", "🎉")), Example("birthday", ("🥳",))])
    references.texts, references.answers        # ["birthday"], [[("🎂", "🎉"), ("🥳",)]]

Rows of the same normalised text are one text with several answers.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emoji_gpt2.data.examples import Example, Report, name_examples, read_examples
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import UserError, blaming
from emoji_gpt2.tables.columns import Reading
from emoji_gpt2.tables.source import Source, open_source

NAMES = "names"
"""Instead of a file: the built-in table's untoned emoji with their names."""

Answer = tuple[str, ...]
Rows = str | Path | Sequence[tuple[str, str]]
"""A table's path or address, ``NAMES``, or pairs of a text and its emoji."""


@dataclass
class References:
    """Distinct normalised texts, in the table's order, with the emoji of each of their rows.

    ``report`` counts what was read and dropped; ``took`` are lines that say what was read.
    """

    texts: list[str] = field(default_factory=list)
    answers: list[list[Answer]] = field(default_factory=list)
    report: Report = field(default_factory=lambda: Report("pairs"))
    took: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[Answer]:
        """The answers of all rows, one after another."""
        return [answer for answers in self.answers for answer in answers]

    def with_several(self) -> int:
        """Return how many rows have several different emoji; without any, it is classification."""
        return sum(len(set(answer)) > 1 for answer in self.rows)

    def answer_length(self) -> int:
        """Return the mean length of an answer, rounded, at least 1."""
        return max(1, round(self.mean_length()))

    def mean_length(self) -> float:
        """Return how many distinct emoji an answer has on average."""
        return sum(len(set(answer)) for answer in self.rows) / len(self.rows)

    def texts_of(self) -> Counter[str]:
        """Return in how many texts each emoji is right."""
        return Counter(e for answers in self.answers for e in {e for a in answers for e in a})

    def summary(self) -> str:
        """Return one line: rows read, texts, and the rows dropped by reason."""
        report = self.report
        line = (
            f"{report.source}: {report.rows_read:,} rows read, {len(self.texts):,} distinct texts "
            f"with {len(self.rows):,} answers of {self.mean_length():.2f} distinct emoji on average"
        )
        reasons = report.reasons()
        noted = [f"{count:,} with {what}" for what, count in report.noted.most_common()]
        line += f"; rows dropped: {reasons}" if reasons else "; no row dropped"
        return line + (f"; {', '.join(noted)}" if noted else "")


def merged(
    examples: Iterable[Example],
    report: Report | None = None,
    candidates: Collection[str] | None = None,
) -> References:
    """Return the examples by their text.

    Args:
        examples: Texts, normalised, and their emoji.
        report: Counts the rows read and dropped.
        candidates: The emoji that may be answered; others are removed, and rows without any left
            are dropped.
    """
    report = report or Report("pairs")
    answers_of: dict[str, list[Answer]] = {}
    for text, emoji, _ in examples:
        answer = tuple(e for e in emoji if candidates is None or e in candidates)
        if answer:
            answers_of.setdefault(text, []).append(answer)
        else:
            report.dropped["no emoji among the candidates"] += 1
    return References(list(answers_of), list(answers_of.values()), report)


def read_references(
    rows: Rows,
    cache_dir: Path,
    *,
    candidates: Collection[str] | None = None,
    reading: Reading | None = None,
    argument: str = "data",
) -> References:
    """Return the texts and right answers of a table.

    Args:
        rows: Its path or address, ``"names"``, or pairs.
        cache_dir: The folder below which downloads are kept.
        candidates: As for ``merged``.
        reading: How to read the table.
        argument: What to call ``rows`` in an error.

    Raises:
        UserError: it cannot be read, or no row can be used.
    """
    table = EmojiTable.builtin()
    name = "built-in names" if rows == NAMES else rows if isinstance(rows, str | Path) else "pairs"
    report, took = Report(str(name)), []
    if rows == NAMES:
        examples: Iterable[Example] = name_examples(table, "drop", report)
        took = ["The lexical matchers know these names, and so the answers"]
    else:
        with blaming(argument, "data.path"):
            source = _source(rows, reading, cache_dir)
            examples = [
                example
                for chunk in source.chunks()
                for example in read_examples(chunk, table, "keep", report, source.unit)
            ]
            report.check()
            took = source.took if isinstance(rows, str | Path) else []
    references = merged(examples, report, candidates)
    references.took = took
    if not references.texts:
        why = ", ".join([report.reasons() or "no rows", *report.samples()])
        got = f"no usable row in {name} ({why})"
        raise UserError(argument, got, "texts with emoji", "check its columns")
    return references


def _source(rows: Rows, reading: Reading | None, cache_dir: Path) -> Source:
    if isinstance(rows, str | Path):
        return open_source(rows, reading, cache_dir=cache_dir)
    import pandas as pd  # noqa: PLC0415 (slow, and needed for pairs only)

    frame = pd.DataFrame(rows, columns=["text", "emoji"])
    return open_source(frame, Reading("text", "emoji"), cache_dir=cache_dir)
