"""The logged metrics of a run, and with the ``plot`` extra a picture of its curves.

picture = curves_png(read_metrics(Path("checkpoints/quickstart/metrics.csv")), exported=1280)
Path("curves.png").write_bytes(picture)
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

PANELS = (
    ("Loss", "nats per token", {"train/loss": "training", "val/loss": "validation"}),
    (
        "Validation texts",
        "share of texts (MRR: mean of 1 / rank)",
        {"val/hit_at_1": "hit@1", "val/hit_at_5": "hit@5", "val/mrr": "MRR"},
    ),
)
MARKED = 60
"""A curve of up to so many points has a marker at each."""


def read_metrics(path: Path) -> "pd.DataFrame":
    """Return a ``metrics.csv``, a row for each number of finished optimizer steps."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    metrics = pd.read_csv(path).replace([float("inf"), float("-inf")], float("nan"))
    metrics["step"] += 1  # Lightning numbers steps from 0: step 3 is the fourth
    return metrics.groupby("step").last()


def curves_png(metrics: "pd.DataFrame", exported: int) -> bytes:
    """Return a picture of losses and validation metrics over optimizer steps.

    Args:
        metrics: Those of ``PANELS`` that were logged are drawn.
        exported: The step of the exported weights, marked by a line.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and slow to import

    figure = Figure(figsize=(11, 4.2), dpi=110, layout="constrained")
    for axes, (title, unit, names) in zip(figure.subplots(1, 2), PANELS, strict=True):
        for name, label in names.items():
            if name in metrics:
                curve = metrics[name].dropna()
                marker = "o" if len(curve) <= MARKED else ""
                axes.plot(curve.index, curve, label=label, marker=marker, markersize=4)
        axes.axvline(exported, color="gray", linestyle="--", label="exported weights")
        axes.set(title=title, xlabel="optimizer steps", ylabel=unit)
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.axes[1].set_ylim(0, 1)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()
