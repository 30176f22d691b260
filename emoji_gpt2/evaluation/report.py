"""The result of an evaluation, and how it is shown: a table on screen, Markdown, JSON.

evaluation.to_text()            # for a terminal
evaluation.save(Path("results"))    # evaluation.json, evaluation.md, with matplotlib also .png
"""

import json
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from emoji_gpt2.errors import UserError
from emoji_gpt2.evaluation.picture import can_plot, evaluation_png
from emoji_gpt2.evaluation.scores import Bin, Estimate

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
    "invalid": "invalid outputs",
}
STEM = "evaluation"
GROUPS = """A text is of each group that one of its right emoji is of, and a hit of the group when
one of these is among the best."""


@dataclass
class System:
    """The scores of the model or of a baseline.

    Attributes:
        note: What it is.
        exact: By name (``LABELS``), of exact emoji.
        untoned: The same with skin tones left aside.
    """

    note: str
    exact: dict[str, Estimate]
    untoned: dict[str, Estimate]


@dataclass
class Evaluation:
    """Everything that was measured.

    Attributes:
        model: Where it came from.
        texts: How many distinct texts.
        single_label: Whether each has one right emoji.
        candidates: What could be answered; None is all emoji.
        max_emoji: Emoji that a generated answer could have; None if none was generated.
        systems: The model and the baselines by name.
        groups: Of the model, by group of emoji: texts and hits.
        calibration: Of the model, how often first guesses of a probability are right.
        notes: What was read and dropped.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """

    model: str
    texts: int
    single_label: bool
    candidates: list[str] | None
    max_emoji: int | None
    systems: dict[str, System]
    groups: dict[str, dict[str, float]]
    calibration: list[Bin]
    notes: list[str]
    resamples: int
    seed: int

    @property
    def metrics(self) -> dict[str, float]:
        """The model's exact scores by name."""
        return {name: one.value for name, one in self.systems["model"].exact.items()}

    def to_json(self) -> str:
        """Return all of it as JSON; a number with its interval is [value, low, high]."""
        record = asdict(self) | {
            "systems": {
                name: {
                    "note": system.note,
                    "exact": {key: list(one) for key, one in system.exact.items()},
                    "untoned": {key: list(one) for key, one in system.untoned.items()},
                }
                for name, system in self.systems.items()
            },
            "calibration": [_without_nan(one) for one in self.calibration],
        }
        return json.dumps(record, ensure_ascii=False, indent=1, allow_nan=False) + "\n"

    def to_text(self) -> str:
        """Return a table for a terminal, ± half of the 95 % interval."""
        header, rows = self._table(_short)
        width = [max(len(row[c]) for row in [header, *rows]) for c in range(len(header))]
        lines = [
            "  ".join([row[0].ljust(width[0]), *map(str.rjust, row[1:], width[1:])]).rstrip()
            for row in [header, *rows]
        ]
        return "\n".join([*self._about(), "", *lines, "", *self._footnotes()])

    def to_markdown(self, picture: str | None = None) -> str:
        """Return the tables with whole intervals; ``picture`` is a file to show."""
        header, rows = self._table(_interval)
        parts = [
            f"# Evaluation of {self.model}",
            "\n".join(f"- {line}" for line in [*self._about(), *self._footnotes()]),
            _markdown(header, rows),
            "## By group of emoji",
            GROUPS,
            _markdown(
                ["group", "texts", "hit@1", "hit@5", "hit@10"],
                [
                    [name, f"{g['texts']:,}", *(f"{g[f'hit_at_{k}']:.3f}" for k in (1, 5, 10))]
                    for name, g in self.groups.items()
                ],
            ),
            "## Calibration",
            _markdown(
                ["probability of the first guess", "texts", "mean", "right"],
                [
                    [
                        f"{b.low:.2f} to {b.high:.2f}",
                        f"{b.texts:,}",
                        f"{b.confidence:.3f}",
                        f"{b.hit_rate:.3f}",
                    ]
                    for b in self.calibration
                    if b.texts
                ],
            ),
        ]
        parts += [f"![Hit rates by group, and calibration]({picture})"] if picture else []
        return "\n\n".join(parts) + "\n"

    def save(self, folder: Path) -> list[Path]:
        """Write JSON, Markdown and, with matplotlib, a picture; return the files.

        Raises:
            UserError: one of them exists.
        """
        files = output_files(folder)
        folder.mkdir(parents=True, exist_ok=True)
        picture = files[2].name if len(files) > 2 else None
        files[0].write_text(self.to_json(), encoding="utf-8")
        files[1].write_text(self.to_markdown(picture), encoding="utf-8")
        if picture:
            files[2].write_bytes(evaluation_png(self.groups, self.calibration))
        return files

    def _table(self, show: Callable[[Estimate], str]) -> tuple[list[str], list[list[str]]]:
        header = ["", *self.systems]
        rows = []
        for side, suffix in (("exact", ""), ("untoned", ", tones aside")):
            found = [getattr(system, side) for system in self.systems.values()]
            for name, label in LABELS.items():
                if name in found[0]:
                    cells = [show(one[name]) if name in one else "-" for one in found]
                    rows.append([label + suffix, *cells])
        return header, rows

    def _about(self) -> list[str]:
        among = f"{len(self.candidates)} candidates" if self.candidates else "all emoji"
        generated = f"; generated answers of up to {self.max_emoji} emoji" if self.max_emoji else ""
        return [f"{self.texts:,} texts, ranked among {among}{generated}", *self.notes]

    def _footnotes(self) -> list[str]:
        lines = [f"{name}: {system.note}" for name, system in self.systems.items()]
        if self.resamples:
            lines.append(
                f"Intervals: 95 %, bootstrap over texts, {self.resamples:,} resamples, "
                f"seed {self.seed}"
            )
        return lines


def output_files(folder: Path) -> list[Path]:
    """Make the folder and return the files that an evaluation is saved to.

    Raises:
        UserError: one of them exists, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"--output_dir: got {str(folder)!r}, wanted a folder that can be written "
            f"({error.strerror}); name another"
        ) from error
    ends = (".json", ".md", ".png") if can_plot() else (".json", ".md")
    files = [folder / f"{STEM}{end}" for end in ends]
    for file in files:
        if file.exists():
            raise UserError(
                f"--output_dir: got {str(folder)!r}, which has an {file.name}, wanted a folder "
                "without one; name another or remove it"
            )
    return files


def _short(one: Estimate) -> str:
    if one.low is None or one.high is None:
        return f"{one.value:.3f}       "
    return f"{one.value:.3f} ±{(one.high - one.low) / 2:.3f}"


def _interval(one: Estimate) -> str:
    if one.low is None or one.high is None:
        return f"{one.value:.3f}"
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _without_nan(one: Bin) -> dict[str, float | None]:
    return {k: None if math.isnan(v) else v for k, v in one._asdict().items()}
