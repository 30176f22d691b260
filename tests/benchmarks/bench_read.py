"""Reading a large table in three formats: seconds and memory of preparing it into an empty cache.

    python tests/benchmarks/bench_read.py --rows 1000000 --folder DIR [--package OTHER_CHECKOUT]

The table is ``make_table.py``'s, as CSV, JSON lines and Parquet (with pyarrow); each is prepared in
a process of its own, ``--rounds`` times in turn with that of another checkout, if there is one.
Memory is the process's highest resident set. Prints a Markdown table.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from make_table import write_table

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
    """Print the table."""
    parser = argparse.ArgumentParser(description="Seconds and memory of reading tables.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--package", type=Path, help="another checkout to compare with")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    ours = Path(__file__).parents[2]
    packages = [options.package.resolve(), ours] if options.package else [ours]
    print("| format | checkout | seconds, median (all) | MB |\n|---|---|---|---|")
    for path in make(options.folder, options.rows):
        found: dict[Path, list[tuple[float, float]]] = {package: [] for package in packages}
        for _ in range(options.rounds):
            for package in packages:
                found[package].append(measure(path, options.folder.resolve(), package))
        for package, runs in found.items():
            seconds = [one for one, _ in runs]
            every = ", ".join(f"{one:.1f}" for one in seconds)
            name = "this" if package == ours else "other"
            megabytes = max(one for _, one in runs)
            median = statistics.median(seconds)
            print(
                f"| {path.suffix} | {name} | {median:.1f} ({every}) | {megabytes:.0f} |", flush=True
            )


if __name__ == "__main__":
    main()
