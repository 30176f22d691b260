"""Show answers: as a table, as JSON, or in a CSV file.

A terminal gives an emoji two cells. There, answers stand in columns, and a text is cut to the room
that is left. Elsewhere a tab separates an answer from its whole text.
"""

import csv
import json
import re
import shutil
import sys
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.generation.decoding import Answer

MIN_TEXT_CELLS = 16
"""With less room beside an answer, a text stands above it."""


def json_line(text: str, answer: Answer) -> str:
    """Return a text and its answer as JSON."""
    record = {
        "text": text,
        "emoji": answer.emoji,
        "probability": answer.probability and _six_digits(answer.probability),
        "ranked": [[emoji, _six_digits(p)] for emoji, p in answer.ranked],
    }
    is_unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    return json.dumps(record, ensure_ascii=not is_unicode)


def _six_digits(probability: float) -> float:
    return float(f"{probability:.6g}")


def shown(text: str, answer: Answer, *, alone: bool, max_emoji: int) -> str:
    """Return what is printed of an answer, or of its ranking if it has one.

    Args:
        text: The text.
        answer: Its answer.
        alone: Whether the text is the only one, and need not be shown.
        max_emoji: Of all answers of the table.
    """
    if alone:
        return "\n".join(f"{emoji}  {p:.3f}" for emoji, p in answer.ranked) or answer.emoji
    if sys.stdout.isatty():
        return table_row(text, answer, max_emoji, shutil.get_terminal_size().columns)
    ranking = "  ".join(f"{emoji} {p:.3f}" for emoji, p in answer.ranked)
    return f"{ranking or answer.emoji}\t{text}"


def table_row(text: str, answer: Answer, max_emoji: int, columns: int) -> str:
    """Return a row for a terminal that is so many cells wide."""
    if answer.ranked:
        pieces, width = [f"{emoji} {p:.3f}  " for emoji, p in answer.ranked], 10
        wanted = width * len(pieces)
    else:
        pieces, width = EmojiTable.builtin().split(answer.emoji), 2
        wanted = width * max_emoji + 2
    room = columns - 1 - wanted  # terminals differ in what they do after the last cell
    if room >= MIN_TEXT_CELLS:
        padding = " " * (wanted - width * len(pieces))
        return f"{''.join(pieces)}{padding}{cut(text, room)}"
    n = max(1, (columns - 3) // width)
    lines = ["  " + "".join(pieces[start : start + n]) for start in range(0, len(pieces), n)]
    return "\n".join([cut(text, columns - 1), *lines])


def cut(text: str, cells: int) -> str:
    """Return a text on one line, with an ellipsis if it needs more than so many cells."""
    text = re.sub(r"[\x00-\x20\x7f-\x9f]+", " ", text).strip()
    ends = list(accumulate(map(_cells, text)))
    return text if not ends or ends[-1] <= cells else text[: bisect_right(ends, cells - 1)] + "…"


def _cells(character: str) -> int:
    if character == "\ufe0f":  # it makes a narrow character a wide emoji
        return 1
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


@contextmanager
def csv_rows(path: Path) -> Iterator[Callable[[str, Answer], None]]:
    """Yield what writes a row; the file is written whole or not at all."""
    aside = path.with_name(f".{path.name}.part")

    def write(text: str, answer: Answer) -> None:
        probability = "" if answer.probability is None else f"{answer.probability:.4g}"
        writer.writerow([text, answer.emoji, probability])

    try:
        with aside.open("w", encoding="utf-8", errors="replace", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "emoji", "probability"])
            yield write
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
