"""A run means the same on any number of processes, through the real command line."""

import sys
from pathlib import Path

import pytest

from tests.cli_runs import UPSTREAM, Cli, cli, popen, read_csv  # noqa: F401 -- a fixture
from tests.distributed.runs import finish, flags, write_table

pytestmark = [pytest.mark.slow, *UPSTREAM]
WAYS = {
    "one batch of 8": {"data.batch_size": 8},
    "2 x 4 accumulated": {"data.batch_size": 4, "trainer.accumulate_grad_batches": 2},
    "2 ranks x 4": {"data.batch_size": 8, "trainer.devices": 2, "trainer.strategy": "ddp"},
}


def test_batches_accumulation_and_ranks_give_the_same_loss_curve(
    tmp_path: Path,
    cli: Cli,  # noqa: F811
) -> None:
    data = write_table(tmp_path / "data.csv", rows=153)  # train: 137, 8 x 17 + 1
    curves, validations = {}, {}
    for name, options in WAYS.items():
        words = flags(tmp_path / name, data, {"trainer.max_steps": 50, **options})
        if "trainer.devices" in options:
            command = [sys.executable, "-m", "emoji_gpt2.fit", *words]
            (done,) = finish([popen(command, tmp_path, GLOO_SOCKET_IFNAME="lo")])
        else:  # one process: this one
            done = cli.raw("fit", *words)
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
