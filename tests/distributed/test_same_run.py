"""A run means the same on any number of processes, through the real command line."""

from pathlib import Path

import pytest

from tests.distributed.runs import WAYS, run, write_table


@pytest.mark.slow
def test_batches_accumulation_and_ranks_give_the_same_loss_curve(tmp_path: Path) -> None:
    data = write_table(tmp_path / "data.csv", rows=153)  # train: 137, 8 x 17 + 1
    curves = {}
    for name, options in WAYS.items():
        rows = run(tmp_path, name, data, {"trainer.max_steps": 50, **options})
        curves[name] = [float(row["train/loss"]) for row in rows if row["train/loss"]]
        assert len(curves[name]) == 50
    reference = curves.pop("one batch of 8")
    assert reference[-1] < reference[0]
    for curve in curves.values():
        assert curve == pytest.approx(reference, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 7])
def test_evaluation_sees_each_row_once_on_any_number_of_ranks(tmp_path: Path, rows: int) -> None:
    data = write_table(tmp_path / "data.csv", rows=20)
    held_out = write_table(tmp_path / "held_out.csv", rows=rows)
    shared = {"trainer.max_epochs": 1, "data.val_path": held_out}
    found = []
    for name in ("one batch of 8", "2 ranks x 4"):
        metrics = run(tmp_path, name, data, {**shared, **WAYS[name]})
        (last,) = [row for row in metrics if row["val/loss"]]
        found.append({key: float(last[key]) for key in last if key.startswith("val/")})
    assert found[1] == pytest.approx(found[0], rel=1e-6)
