"""What a model is evaluated on: texts, each with all right answers that a table has for it.

    references = merged([Example("birthday", ("🎂", "🎉")), Example("birthday", ("🥳",))])
    references.texts, references.answers        # ["birthday"], [[("🎂", "🎉"), ("🥳",)]]

Rows of the same normalised text are one text with several answers. Evaluating needs no training
rows, so nothing here knows of stores or splits.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emoji_gpt2.data.examples import Example, Report, name_examples, read_examples
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import UserError, blaming
from emoji_gpt2.tables.cells import emoji_cell
from emoji_gpt2.tables.source import Chunk, Reading, open_source

NAMES = "names"
"""Instead of a file: the built-in table's untoned emoji with their names."""

Answer = tuple[str, ...]
Rows = str | Path | Sequence[tuple[str, str]]
"""A table's path or address, ``NAMES``, or pairs of a text and its emoji."""


@dataclass
class References:
    """Distinct normalised texts with their right answers.

    Attributes:
        texts: In the order in which they first stand in the table.
        answers: Of each text, the emoji of each of its rows in order, fully-qualified.
        report: What was read and dropped.
    """

    texts: list[str] = field(default_factory=list)
    answers: list[list[Answer]] = field(default_factory=list)
    report: Report = field(default_factory=lambda: Report("pairs"))

    @property
    def rows(self) -> int:
        """How many rows are used."""
        return sum(map(len, self.answers))

    def single_label(self) -> bool:
        """Return whether every text has one right emoji, as in classification."""
        return not self.with_several()

    def with_several(self) -> int:
        """Return how many texts have several right emoji."""
        return sum(len(set(emoji_of(answers))) > 1 for answers in self.answers)

    def longest(self) -> int:
        """Return how many emoji the longest answer has."""
        return max(len(answer) for answers in self.answers for answer in answers)

    def mean_length(self) -> float:
        """Return how many distinct emoji an answer has on average."""
        return sum(len(set(a)) for answers in self.answers for a in answers) / self.rows

    def texts_of(self) -> Counter[str]:
        """Return in how many texts each emoji is right."""
        return Counter(e for answers in self.answers for e in set(emoji_of(answers)))

    def summary(self) -> str:
        """Return one line: rows read, texts, and the rows dropped by reason."""
        report = self.report
        line = (
            f"{report.source}: {report.rows_read:,} rows read, {len(self.texts):,} distinct texts "
            f"with {self.rows:,} answers of {self.mean_length():.2f} distinct emoji on average"
        )
        reasons = [f"{count:,} {reason}" for reason, count in report.dropped.most_common()]
        noted = [f"{count:,} with {what}" for what, count in report.noted.most_common()]
        line += f"; rows dropped: {', '.join(reasons)}" if reasons else "; no row dropped"
        return line + (f"; {', '.join(noted)}" if noted else "")


def emoji_of(answers: Iterable[Answer]) -> list[str]:
    """Return the emoji of all of a text's answers, one after another."""
    return [emoji for answer in answers for emoji in answer]


def merged(
    examples: Iterable[Example],
    report: Report | None = None,
    candidates: Collection[str] | None = None,
) -> References:
    """Return the examples by their text.

    Args:
        examples: Texts, normalised, and their emoji.
        report: Counts the rows read and dropped.
        candidates: What may be answered: other emoji are taken out of the answers, and rows
            without any of them are dropped.
    """
    references = References(report=report or Report("pairs"))
    place: dict[str, int] = {}
    for text, emoji, _ in examples:
        answer = tuple(e for e in emoji if candidates is None or e in candidates)
        if not answer:
            references.report.dropped["no emoji among the candidates"] += 1
            continue
        if text not in place:
            place[text] = len(references.texts)
            references.texts.append(text)
            references.answers.append([])
        references.answers[place[text]].append(answer)
    return references


def read_references(
    rows: Rows,
    cache_dir: Path,
    *,
    candidates: Collection[str] | None = None,
    text_column: str | None = None,
    emoji_column: str | None = None,
    encoding: str | None = None,
    argument: str = "data",
) -> References:
    """Return the texts and right answers of a table.

    Args:
        rows: Its path or address, ``"names"``, or pairs.
        cache_dir: The folder below which downloads are kept.
        candidates: As for ``merged``.
        text_column: The column of texts; None finds it by name.
        emoji_column: The column of emoji; None finds it by name.
        encoding: Of a text file.
        argument: What to call ``rows`` in an error.

    Raises:
        UserError: it cannot be read, or no row can be used.
    """
    table = EmojiTable.builtin()
    columns = text_column, emoji_column
    name = "built-in names" if rows == NAMES else rows if isinstance(rows, str | Path) else "pairs"
    report = Report(str(name))
    if rows == NAMES:
        examples: Iterable[Example] = name_examples(table, "drop", report)
    else:
        with blaming(argument, "data.path"):
            examples = [
                example
                for chunk in _chunks(rows, cache_dir, *columns, encoding)
                for example in read_examples(chunk, table, "keep", report)
            ]
    references = merged(examples, report, candidates)
    if not references.texts:
        dropped = ", ".join(f"{n:,} {reason}" for reason, n in report.dropped.most_common())
        got = f"no usable row in {name} ({dropped or 'no rows'})"
        raise UserError(argument, got, "texts with emoji", "check its columns")
    return references


def _chunks(
    rows: Rows,
    cache_dir: Path,
    text_column: str | None,
    emoji_column: str | None,
    encoding: str | None,
) -> Iterator[Chunk]:
    if isinstance(rows, str | Path):
        yield from open_source(
            rows,
            Reading(text_column, emoji_column, encoding),
            cache_dir=cache_dir,
        ).chunks()
    else:
        texts, cells = [text for text, _ in rows], [cell for _, cell in rows]
        yield Chunk(texts, list(map(emoji_cell, cells)))
