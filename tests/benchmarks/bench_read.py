"""Reading a large table in three formats: seconds and memory of preparing it into an empty cache.

    python -m tests.benchmarks.bench_read --rows 1000000 --folder DIR [--package OTHER_CHECKOUT]

The table is ``make_table.py``'s, as CSV, JSON lines and Parquet (with pyarrow); each is prepared in
a process of its own, ``--rounds`` times in turn with that of another checkout, if there is one.
Memory is the process's highest resident set. Prints a Markdown table.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.make_table import write_table
from tests.benchmarks.timing import ROOT, arguments, conditions, spread

PREPARE = """
import json, resource, shutil, sys, time
from emoji_gpt2 import EmojiDataModule  # the name that other checkouts have, too
shutil.rmtree(sys.argv[2], ignore_errors=True)
data = EmojiDataModule(sys.argv[1], cache_dir=sys.argv[2])
began = time.perf_counter()
data.prepare_data()
seconds = time.perf_counter() - began
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def make(folder: Path, rows: int) -> list[Path]:
    """Return the table in three formats; those that are there are taken."""
    table = folder / f"{rows}.csv"
    if not table.is_file():
        write_table(table, rows)
    lines, parquet = table.with_suffix(".jsonl"), table.with_suffix(".parquet")
    if not parquet.is_file():
        import pyarrow as pa
        import pyarrow.parquet as pq

        with table.open(encoding="utf-8", newline="") as file:
            records = list(csv.DictReader(file))
        with lines.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        pq.write_table(pa.Table.from_pylist(records), parquet)
    return [table, lines, parquet]


def measure(path: Path, folder: Path, package: Path) -> tuple[float, float]:
    """Return seconds and MB of preparing a table with the package of a checkout."""
    command = [sys.executable, "-c", PREPARE, str(path), str(folder / "cache")]
    environment = {**os.environ, "PYTHONPATH": str(package)}
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, cwd=folder
    )
    seconds, megabytes = json.loads(run.stdout.splitlines()[-1])
    return seconds, megabytes


def main() -> None:
    """Measure and print the table."""
    options = arguments(__doc__, folder=Path, rows=1_000_000, rounds=3, package="")
    options.folder.mkdir(parents=True, exist_ok=True)
    packages = [*map(Path, options.package.split()), ROOT]
    print(conditions(), flush=True)
    print("| format | checkout | seconds, median (least to most) | MB |\n|---|---|---|---|")
    for path in make(options.folder, options.rows):
        found: dict[Path, list[tuple[float, float]]] = {package: [] for package in packages}
        for _ in range(options.rounds):
            for package in packages:
                found[package].append(measure(path, options.folder.resolve(), package))
        for package, runs in found.items():
            seconds, megabytes = ([run[k] for run in runs] for k in (0, 1))
            name = "this" if package == ROOT else "other"
            print(f"| {path.suffix} | {name} | {spread(seconds, '.1f')} | {max(megabytes):.0f} |")


if __name__ == "__main__":
    main()
