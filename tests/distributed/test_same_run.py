"""A run means the same on any number of processes, through the real command line."""

import json
from pathlib import Path

import pytest

from tests.cli_runs import UPSTREAM, Cli, cli, read_csv  # noqa: F401 -- a fixture
from tests.distributed.evaluation import evaluate
from tests.distributed.runs import WAYS, finish, flags, free_port, run, start, write_table

pytestmark = UPSTREAM


@pytest.mark.slow
def test_batches_accumulation_and_ranks_give_the_same_loss_curve(
    tmp_path: Path,
    cli: Cli,  # noqa: F811
) -> None:
    data = write_table(tmp_path / "data.csv", rows=153)  # train: 137, 8 x 17 + 1
    curves, validations = {}, {}
    for name, options in WAYS.items():
        fifty = {"trainer.max_steps": 50, **options}
        if "trainer.devices" in options:
            rows = run(tmp_path, name, data, fifty)
        else:  # one process: this one
            done = cli.raw("fit", *flags(tmp_path / name, data, fifty))
            assert done.status == 0, done.stderr
            rows = read_csv(tmp_path / name / "metrics.csv")
        curves[name] = [float(row["train/loss"]) for row in rows if row["train/loss"]]
        validations[name] = [
            float(row[metric])
            for row in rows
            for metric in ("val/loss", "val/mrr", "val/hit_at_1", "val/hit_at_5")
            if row["val/loss"]
        ]
        assert len(curves[name]) == 50
        assert len(validations[name]) == 2 * 4  # the third epoch is cut short
    reference, validation = curves.pop("one batch of 8"), validations.pop("one batch of 8")
    assert reference[-1] < reference[0]
    for name, curve in curves.items():
        assert curve == pytest.approx(reference, abs=1e-4)
        assert validations[name] == pytest.approx(validation, rel=1e-3)


@pytest.mark.slow
def test_evaluation_gives_the_same_digits_on_one_and_two_ranks(tmp_path: Path) -> None:
    """Rows of one to nine emoji; 1 row is fewer than the ranks, 1,001 more than 15 batches."""
    data = write_table(tmp_path / "data.csv", rows=20)
    sizes = (1, 7, 64, 1001)
    tables = [write_table(tmp_path / f"held_out_{n:04}.csv", rows=n) for n in sizes]
    alone = evaluate(data, tables, devices=1)
    options = json.dumps({"devices": 2, "strategy": "ddp"})
    words = ["tests.distributed.evaluation", str(data), str(tmp_path), options]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = finish([start(words, tmp_path, LOCAL_RANK=rank, **place) for rank in ("0", "1")])
    for rank, done in enumerate(ranks):
        assert done.status == 0, done.stderr[-3000:]
        together = json.loads((tmp_path / f"rank_{rank}.json").read_text(encoding="utf-8"))
        assert together == alone
    names = {f"{stage}/{name}" for stage in ("val", "test") for name in ("loss", "mrr")}
    assert all(names <= metrics.keys() for metrics in alone.values())
    losses = [metrics["val/loss"] for metrics in alone.values()]
    assert len(set(losses)) == len(sizes)
    assert all(metrics["val/loss"] == metrics["test/loss"] for metrics in alone.values())
