"""Pictures of a run, with the ``plot`` extra: its curves from ``metrics.csv``.

picture = curves_png(read_metrics(Path("checkpoints/quickstart/metrics.csv")), exported=1280)
Path("curves.png").write_bytes(picture)
"""

import csv
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Metrics = dict[str, list[tuple[int, float]]]
"""By name, what was logged: after how many optimizer steps, and the value."""
LOSSES = {"train/loss": "training", "val/loss": "validation"}
RANKINGS = {"val/hit_at_1": "hit@1", "val/hit_at_5": "hit@5", "val/mrr": "MRR"}
MARKED = 60
"""Up to so many points of a curve are marked one by one."""


def read_metrics(path: Path) -> Metrics:
    """Return all finite numbers of a ``metrics.csv``, in the order of their steps."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    metrics: Metrics = {}
    for row in rows:
        for name in row.keys() - {"step", "epoch"}:
            if row[name] and math.isfinite(float(row[name])):
                # Lightning numbers steps from 0: what step 3 logged is known after 4 steps.
                metrics.setdefault(name, []).append((int(row["step"]) + 1, float(row[name])))
    return {name: sorted(points) for name, points in metrics.items()}


def curves_png(metrics: Metrics, exported: int | None = None) -> bytes:
    """Return a picture of losses and validation metrics over optimizer steps.

    Args:
        metrics: What was logged; without any of the curves' names, the panels stay empty.
        exported: The step of the exported weights, marked by a line.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and slow to import

    figure = Figure(figsize=(11, 4.2), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    _panel(left, metrics, LOSSES, exported)
    left.set(title="Loss", ylabel="nats per token")
    _panel(right, metrics, RANKINGS, exported)
    right.set(title="Held-out texts", ylabel="share of texts (MRR: mean of 1 / rank)")
    right.set_ylim(0, 1)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _panel(axes: "Axes", metrics: Metrics, names: dict[str, str], exported: int | None) -> None:
    for name, label in names.items():
        points = metrics.get(name, [])
        marker = "o" if len(points) <= MARKED else ""
        steps, values = [step for step, _ in points], [value for _, value in points]
        if points:
            axes.plot(steps, values, label=label, marker=marker, markersize=4)
    if exported is not None:
        axes.axvline(exported, color="gray", linestyle="--", label="exported weights")
    axes.set_xlabel("optimizer steps")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[1]:
        axes.legend()
