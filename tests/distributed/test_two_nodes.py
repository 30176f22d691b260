"""A rehearsal of two nodes on the loopback: a run means the same, whoever starts the processes.

Each node has a cache of its own, as nodes without a shared disk have, and shares the output folder.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli_runs import UPSTREAM, Cli, cli, read_csv  # noqa: F401 -- a fixture
from tests.distributed.forked import Forked
from tests.distributed.runs import finish, flags, free_port, write_table

pytestmark = [pytest.mark.slow, *UPSTREAM]

STEPS = 10
Start = Callable[[list[str], Path, int, int], Forked]


def by_torchrun(words: list[str], home: Path, node: int, port: int) -> Forked:
    launcher = ["--nnodes=2", "--nproc_per_node=1", f"--node_rank={node}"]
    launcher += ["--master_addr=127.0.0.1", f"--master_port={port}", "-m"]
    return Forked(["torch.distributed.run", *launcher, *words], home)


def by_lightning(words: list[str], home: Path, node: int, port: int) -> Forked:
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": str(node)}
    return Forked(words, home, **place)


def start_both(by: Start, tmp_path: Path, data: Path) -> list[Forked]:
    """Start a run on two nodes, node 1 first."""
    port = free_port()
    processes = []
    for node in (1, 0):
        options = {
            "data.cache_dir": tmp_path / f"cache_{node}",
            "data.batch_size": 8,
            "trainer.max_steps": STEPS,
            "trainer.strategy": "ddp",
            "trainer.num_nodes": 2,
        }
        words = ["emoji_gpt2.fit", *flags(tmp_path / "run", data, options)]
        processes.append(by(words, tmp_path, node, port))
    return processes[::-1]


def loss_curve(folder: Path) -> list[float]:
    """The training loss of each step, written once: by node 0 alone."""
    rows = [row for row in read_csv(folder / "metrics.csv") if row["train/loss"]]
    assert [int(row["step"]) for row in rows] == list(range(STEPS))
    return [float(row["train/loss"]) for row in rows]


def test_two_nodes_train_as_one_process_does(tmp_path: Path, cli: Cli) -> None:  # noqa: F811
    data = write_table(tmp_path / "data.csv", rows=69)
    one = flags(tmp_path / "one", data, {"data.batch_size": 8, "trainer.max_steps": STEPS})
    assert cli.raw("fit", *one).status == 0

    for node in finish(start_both(by_torchrun, tmp_path, data)):
        assert node.status == 0, node.stderr[-3000:]
    for cache in ("cache_0", "cache_1"):
        assert list((tmp_path / cache / "rows").iterdir()), f"{cache} was not prepared"

    wanted = loss_curve(tmp_path / "one")
    assert wanted[-1] < wanted[0]
    assert loss_curve(tmp_path / "run") == pytest.approx(wanted, abs=1e-4)


def test_a_mistake_stops_both_nodes_with_one_line(tmp_path: Path) -> None:
    data = write_table(tmp_path / "data.csv", rows=0)
    for node in finish(start_both(by_lightning, tmp_path, data), timeout=90):
        assert node.error().startswith("error: --data.path: got ")
