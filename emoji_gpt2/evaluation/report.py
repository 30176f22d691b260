"""The result of an evaluation, and how it is shown: Markdown and JSON.

print(evaluation.to_markdown())
evaluation.save(Path("results"))    # evaluation.json and evaluation.md
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from emoji_gpt2.errors import UserError
from emoji_gpt2.evaluation.scores import Estimate

LABELS = {
    "hit_at_1": "hit@1",
    "hit_at_5": "hit@5",
    "hit_at_10": "hit@10",
    "mrr": "MRR",
    "nats_per_emoji": "nats per emoji",
    "ece": "calibration error",
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "set_precision": "set precision",
    "set_recall": "set recall",
    "set_f1": "set F1",
    "exact_match": "exact match",
}
FILES = ("evaluation.json", "evaluation.md")


@dataclass
class System:
    """The scores of the model or of a baseline by name, with skin tones and without."""

    note: str
    exact: dict[str, Estimate]
    untoned: dict[str, Estimate]


@dataclass
class Evaluation:
    """Everything that was measured.

    Attributes:
        model: Where it came from.
        single_label: Whether each row has one emoji; accuracy and macro-F1 are over rows then.
        candidates: The emoji that could be answered; None is all.
        max_emoji: Emoji that a generated answer could have; None if none was generated.
        systems: The model and the baselines by name.
        notes: What was read and dropped.
        resamples: Of the bootstrap.
    """

    model: str
    texts: int
    rows: int
    single_label: bool
    candidates: list[str] | None
    max_emoji: int | None
    systems: dict[str, System]
    notes: list[str]
    resamples: int
    seed: int

    @property
    def metrics(self) -> dict[str, float]:
        """The model's exact scores by name."""
        return {name: one.value for name, one in self.systems["model"].exact.items()}

    def to_json(self) -> str:
        """Return all of it as JSON; a number with its interval is [value, low, high]."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """Return the scores, ± half of the 95 % interval, with what a reader has to know."""
        among = f"{len(self.candidates)} candidates" if self.candidates else "all emoji"
        generated = f"; generated answers of up to {self.max_emoji} emoji" if self.max_emoji else ""
        notes = [f"{self.texts:,} texts, ranked among {among}{generated}", *self.notes]
        notes += [f"{name}: {system.note}" for name, system in self.systems.items()]
        if self.resamples:
            notes.append(
                "±: half of the 95 % interval, percentile bootstrap over texts, "
                f"{self.resamples:,} resamples, seed {self.seed}"
            )
        rows, untoned = self._rows("exact", ""), self._rows("untoned", ", tones aside")
        others = [one for one, row in zip(untoned, rows, strict=True) if one[1:] != row[1:]]
        if len(others) < len(rows):
            notes.append('Skin tones: scores without a row "tones aside" are the same without them')
        rows += others
        lines = [f"- {note}" for note in notes]
        table = markdown_table(["score", *self.systems], rows)
        return "\n".join([f"# Evaluation of {self.model}", "", table, "", *lines, ""])

    def save(self, folder: Path) -> list[Path]:
        """Write JSON and Markdown; return the files.

        Raises:
            UserError: one of them exists.
        """
        files = output_files(folder)
        for file, content in zip(files, (self.to_json(), self.to_markdown()), strict=True):
            file.write_text(content, encoding="utf-8")
        return files

    def _rows(self, side: str, suffix: str) -> list[list[str]]:
        found: list[dict[str, Estimate]] = [getattr(one, side) for one in self.systems.values()]
        return [
            [label + suffix, *(str(one.get(name, "-")) for one in found)]
            for name, label in LABELS.items()
            if name in found[0]
        ]


def output_files(folder: Path) -> list[Path]:
    """Make the folder and return the files that an evaluation is saved to.

    Raises:
        UserError: one of them exists, or the folder cannot be made.
    """
    got = repr(str(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        wanted = f"a folder that can be written ({error.strerror})"
        raise UserError("output_dir", got, wanted, "name another") from error
    files = [folder / name for name in FILES]
    for file in files:
        if file.exists():
            got += f", which has an {file.name}"
            raise UserError("output_dir", got, "a folder without one", "name another or remove it")
    return files


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, its columns aligned for reading in a terminal."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    padded = [
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)
