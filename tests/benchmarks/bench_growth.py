"""Does training slow down as the table grows? rows/s on tables of the same kind and other sizes.

    python -m tests.benchmarks.bench_growth --folder /tmp/bench

Tables of ``--rows`` rows (``make_table.py``) are trained on by a small GPT-2 (2 layers, width 256),
so that what is not matrix products weighs more than with GPT-2 itself: ``ours-bf16-32`` of
``contenders.py``, a process each, in turn, ``--rounds`` times. A table's first process prepares
it and does not count. Printed are rows/s and their ratio to the first table's of the same round.
"""

import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.make_table import write_table
from tests.benchmarks.timing import ROOT, arguments, conditions, spread

SMALL = {"n_layer": 2, "n_embd": 256, "n_head": 4, "n_positions": 128}


def rows_per_second(table: Path, steps: int) -> float:
    """Train ``steps`` steps in a process of its own and return the speed."""
    command = [sys.executable, "-m", "tests.benchmarks.contenders", "ours-bf16-32"]
    command += ["--rows", str(table), "--steps", str(steps), "--config", json.dumps(SMALL)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.strip().splitlines()[-1])["rows_per_s"])


def main() -> None:
    """Make the tables, train on each in turn, and print the table."""
    sizes = [1_000, 10_000, 100_000, 1_000_000]
    args = arguments(__doc__, folder=Path, rows=sizes, rounds=5, steps=600)
    print(conditions(), flush=True)
    tables = {rows: args.folder / f"{rows}" / "rows.csv" for rows in args.rows}
    for rows, path in tables.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_table(path, rows)
        rows_per_second(path, 1)
    speeds: dict[int, list[float]] = {rows: [] for rows in tables}
    for number in range(args.rounds):
        for rows in args.rows if number % 2 == 0 else reversed(args.rows):
            speeds[rows].append(rows_per_second(tables[rows], args.steps))
            print(f"{rows:,}: {speeds[rows][-1]:.0f} rows/s", flush=True)
    print("| rows of the table | rows/s | times the first |")
    print("|---|---|---|")
    for rows, found in speeds.items():
        ratios = [one / first for one, first in zip(found, speeds[args.rows[0]], strict=True)]
        print(f"| {rows:,} | {spread(found, ',.0f')} | {spread(ratios, '.3f')} |")


if __name__ == "__main__":
    main()
