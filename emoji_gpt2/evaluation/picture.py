"""The picture of an evaluation, with the ``plot`` extra: hit rates by group, and calibration.

picture = evaluation_png(evaluation.groups, evaluation.calibration)
Path("evaluation.png").write_bytes(picture)
"""

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from emoji_gpt2.evaluation.scores import Bin


def can_plot() -> bool:
    """Return whether the ``plot`` extra is installed."""
    return find_spec("matplotlib") is not None


def evaluation_png(groups: Mapping[str, Mapping[str, float]], calibration: Sequence[Bin]) -> bytes:
    """Return a picture of hit@5 and hit@1 per group and of hit rate over probability."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and slow to import

    figure = Figure(figsize=(12, 4.6), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    names = [f"{name} ({group['texts']:,})" for name, group in groups.items()]
    for k, color in ((5, "lightsteelblue"), (1, "tab:blue")):
        shares = [group[f"hit_at_{k}"] for group in groups.values()]
        left.barh(names, shares, color=color, label=f"hit@{k}", height=0.7 if k == 5 else 0.4)
    left.invert_yaxis()
    left.set(title="Hit rate by group of emoji (texts)", xlabel="share of texts", xlim=(0, 1))
    left.grid(axis="x", alpha=0.3)
    left.legend()

    filled = [b for b in calibration if b.texts]
    total = sum(b.texts for b in filled)
    right.plot([0, 1], [0, 1], color="gray", linestyle="--", label="calibrated")
    right.plot(
        [b.confidence for b in filled],
        [b.hit_rate for b in filled],
        marker="o",
        markersize=4,
        label="first guesses that are right",
    )
    right.bar(
        [b.low for b in filled],
        [b.texts / total for b in filled],
        width=[b.high - b.low for b in filled],
        align="edge",
        color="lightgray",
        zorder=0,
        label="share of the texts",
    )
    right.set(title="Calibration", xlabel="probability of the first guess", ylabel="share")
    right.set(xlim=(0, 1), ylim=(0, 1))
    right.grid(alpha=0.3)
    right.legend(loc="upper left")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()
