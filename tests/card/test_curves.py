"""The picture of the curves: the numbers read of metrics.csv, and what matplotlib draws."""

from pathlib import Path
from typing import Any

import pytest

from emoji_gpt2.card.curves import curves_png, read_metrics

pytest.importorskip("matplotlib")

LOGGED = """epoch,step,train/loss,val/hit_at_1,val/hit_at_5,val/loss,val/mrr
0,0,8.5,,,,
0,9,6.25,,,,
0,11,,0.125,0.25,6.5,0.2
1,19,nan,,,,
1,23,,0.5,0.75,5.5,0.6
"""


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.csv"
    path.write_text(LOGGED, encoding="utf-8")
    return path


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that were saved."""
    from matplotlib.figure import Figure

    figures: list[Any] = []
    save = Figure.savefig

    def savefig(self: Figure, *args: Any, **kwargs: Any) -> None:
        figures.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


def test_metrics_are_read_by_the_steps_done(logged: Path) -> None:
    metrics = read_metrics(logged)
    assert metrics["train/loss"].dropna().to_dict() == {1: 8.5, 10: 6.25}
    assert metrics["val/mrr"].dropna().to_dict() == {12: 0.2, 24: 0.6}


def test_each_curve_is_drawn_and_labelled(logged: Path, drawn: list[Any]) -> None:
    metrics = read_metrics(logged)
    picture = curves_png(metrics, exported=12)
    assert picture.startswith(b"\x89PNG")
    assert picture == curves_png(metrics, exported=12)
    wanted = [
        {"training": [[1, 8.5], [10, 6.25]], "validation": [[12, 6.5], [24, 5.5]]},
        {
            "hit@1": [[12, 0.125], [24, 0.5]],
            "hit@5": [[12, 0.25], [24, 0.75]],
            "MRR": [[12, 0.2], [24, 0.6]],
        },
    ]
    for axes, curves in zip(drawn[0].axes, wanted, strict=True):
        lines = {str(line.get_label()): line.get_xydata().tolist() for line in axes.get_lines()}
        mark = lines.pop("exported weights")
        assert {step for step, _ in mark} == {12}
        assert lines == curves
        legend = [text.get_text() for text in axes.get_legend().get_texts()]
        assert legend == [*curves, "exported weights"]
        assert axes.get_xlabel() == "optimizer steps"
    assert drawn[0].axes[0].get_ylabel() == "nats per token"
