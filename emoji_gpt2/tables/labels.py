"""Texts in one file and their labels in another, line by line, as SemEval and TweetEval ship them.

train_text.txt, train_labels.txt (a number a line) and mapping.txt (number, tab, emoji, ...).
"""

from collections.abc import Iterator
from pathlib import Path

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import UserError
from emoji_gpt2.tables.cells import emoji_cell
from emoji_gpt2.tables.decode import open_text
from emoji_gpt2.tables.delimited import DelimitedTable, Row

MAPPING = "mapping.txt"


class LabelledTexts:
    """Two files with as many lines: texts, and their labels."""

    has_header = True
    unit = "line"

    def __init__(self, texts: Path, labels: Path, encoding: str | None) -> None:
        self.texts, self.labels, self._encoding = texts, labels, encoding
        self.names = ["text", "label"]
        counts = [sum(1 for _ in self._lines(path)) for path in (texts, labels)]
        if counts[0] != counts[1]:
            got = f"{str(labels)!r} with {counts[1]:,} lines for {counts[0]:,} texts"
            raise UserError(
                "data.labels_path", got, "one label a text", "give the file of these texts"
            )

    @property
    def what(self) -> str:
        """In words: what the files are."""
        return f"a text a line, labels in {self.labels.name}"

    def rows(self) -> Iterator[Row]:
        """Yield each text with its label."""
        pairs = zip(self._lines(self.texts), self._lines(self.labels), strict=True)
        yield from enumerate(map(list, pairs), 1)

    def _lines(self, path: Path) -> Iterator[str]:
        with open_text(path, self._encoding) as file:
            for line in file.lines:
                yield line.rstrip("\r\n")


def labels_beside(path: Path) -> tuple[Path | None, Path | None]:
    """Return the files of labels and of their names that lie beside a file of texts, or None."""
    labels = path.with_name(path.name.replace("text", "labels"))
    mapping = path.with_name(MAPPING)
    if path.suffix != ".txt" or labels == path or not labels.is_file():
        return None, None
    return labels, mapping if mapping.is_file() else None


def read_labels(path: Path) -> dict[str, str]:
    """Return the emoji of each label in a file of labels, emoji and anything else.

    Raises:
        UserError: a line has none of both.
    """
    table, labels = EmojiTable.builtin(), {}
    rows = DelimitedTable(path).rows()
    for number, cells in rows:
        parts = cells if isinstance(cells, list) else [cells]
        emoji = [one for one in map(emoji_cell, parts) if table.split(one)]
        names = [one.strip() for one in parts if one.strip() and not table.split(emoji_cell(one))]
        if not emoji or not names:
            got = f"{str(path)!r}, whose line {number} has no emoji for {parts[0]!r}"
            raise UserError("data.label_names", got, "a label, a tab and its emoji in each line")
        labels[names[0]] = emoji[0]
    return labels
