"""A run means the same on any number of processes, through the real command line."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from emoji_gpt2.table import EmojiTable

WAYS = {
    "one batch of 8": {"data.batch_size": 8},
    "2 x 4 accumulated": {"data.batch_size": 4, "trainer.accumulate_grad_batches": 2},
    "2 ranks x 4": {"data.batch_size": 8, "trainer.devices": 2, "trainer.strategy": "ddp"},
}


def write_table(path: Path, rows: int) -> Path:
    """Write texts of very different lengths with one to nine emoji each."""
    emoji = [e for e in EmojiTable.builtin() if not EmojiTable.builtin().tones(e)][:30]
    lines = ["text,emoji"]
    for number in range(rows):
        answer = "".join(emoji[(number + k) % 30] for k in range(1 + number * number % 9))
        lines.append(f"{'word ' * (number % 13)}number {number},{answer}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(folder: Path, name: str, data: Path, options: dict[str, object]) -> list[dict[str, str]]:
    """Run the command line and return its metrics."""
    base = {
        "output_dir": folder / name,
        "data.path": data,
        "data.cache_dir": folder / "cache",
        "model.dropout": 0.0,
        "model.learning_rate": 0.01,
        "model.warmup_steps": 3,
        "model.config.n_layer": 1,
        "model.config.n_embd": 16,
        "model.config.n_head": 2,
        "trainer.gradient_clip_val": 1.0,
        "trainer.accelerator": "cpu",
        "trainer.devices": 1,
        "trainer.log_every_n_steps": 1,
        "trainer.enable_progress_bar": "false",
    }
    flags = [word for key, value in (base | options).items() for word in (f"--{key}", str(value))]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "emoji_gpt2.fit", *flags],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with (folder / name / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_batches_accumulation_and_ranks_give_the_same_loss_curve(tmp_path: Path) -> None:
    data = write_table(tmp_path / "data.csv", rows=69)  # train: not a multiple of 8, nor of 4
    curves = {}
    for name, options in WAYS.items():
        rows = run(tmp_path, name, data, {"trainer.max_steps": 26, **options})
        curves[name] = [float(row["train/loss"]) for row in rows if row["train/loss"]]
        assert len(curves[name]) == 26
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
