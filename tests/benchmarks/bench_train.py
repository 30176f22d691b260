"""How fast is training, beside what people use instead: on one table, one GPT-2, in one run.

    python -m tests.benchmarks.bench_train --data emoji_df.csv                 # GPT-2 124 M, CPU
    python -m tests.benchmarks.bench_train --data emoji_df.csv --device cuda   # on a GPU

The peers are not among this package's dependencies: ``pip install "trl>=1" datasets accelerate``.
Each contender (``contenders.py``) runs as a process of its own, in turn, ``--rounds`` times; each
prints the time of each optimizer step, and the first steps are left out. Rows, GPT-2 configuration
(random weights), learning rate and clipping are the same for all; precision and batch are those in
the contender's name. Printed are rows/s, real tokens/s (padding not counted; a row is other tokens
for us than for the peers, so rows/s is what compares), peak memory, and the ratio to the first
contender in each round, as median and spread. The floor: the operations that the supervised work
needs (``floor.py``) over the machine's own matrix rate, measured in each round at the same shapes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from emoji_gpt2 import EmojiTable
from emoji_gpt2.tables.source import open_source
from tests.benchmarks.contenders import CONTENDERS
from tests.benchmarks.timing import ROOT, arguments, conditions, spread

PEERS = ("trl", "accelerate", "datasets")
Result = dict[str, Any]


def write_rows(data: str, folder: Path) -> Path:
    """Write the distinct rows of a table as text and emoji, for all contenders alike."""
    table, rows = EmojiTable.builtin(), {}
    for chunk in open_source(data, cache_dir=folder).chunks():
        for text, cell in zip(chunk.texts, chunk.emoji or [], strict=True):
            rows[text, tuple(table.split(cell))] = (text, "".join(table.split(cell)))
    path = folder / "rows.csv"
    pd.DataFrame(rows.values(), columns=["text", "emoji"]).to_csv(path, index=False)
    return path


def run(name: str, rows: Path, args: argparse.Namespace) -> Result | None:
    """Run one contender as a process; None if it cannot run here, which is said."""
    command = [sys.executable, "-m", "tests.benchmarks.contenders", name, "--rows", str(rows)]
    command += ["--steps", str(CONTENDERS[name].steps), "--config", args.config]
    env = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{name}: {done.stderr.strip().splitlines()[-1]}", flush=True)
        return None
    result: Result = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"{name}: {result['rows_per_s']:.2f} rows/s, {result['peak_mb']:,.0f} MB", flush=True)
    return result


def report(results: dict[str, list[Result | None]], names: list[str]) -> str:
    """Return the table in Markdown."""
    lines = [
        f"| contender | rows/s | real tokens/s | peak MB | times {names[0]} | of the matrix rate |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        found = [r for r in results[name] if r]
        if not found:
            lines.append(f"| {name} | could not run | | | | |")
            continue
        pairs = zip(results[name], results[names[0]], strict=True)
        ratios = [r["rows_per_s"] / first["rows_per_s"] for r, first in pairs if r and first]
        floor = [r["matrix_share"] for r in found if r.get("matrix_share")]
        cells = (
            spread([r["rows_per_s"] for r in found], ".2f"),
            spread([r["tokens_per_s"] for r in found], ",.0f"),
            spread([r["peak_mb"] for r in found], ",.0f"),
            spread(ratios) if ratios else "",
            spread(floor) if floor else "",
        )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run all contenders in turn and print the table."""
    args = arguments(__doc__, data=str, rounds=3, only=list(CONTENDERS), config="{}")
    print(conditions(*filter(find_spec, PEERS)), flush=True)
    results: dict[str, list[Result | None]] = {name: [] for name in args.only}
    with tempfile.TemporaryDirectory() as folder:
        rows = write_rows(args.data, Path(folder))
        for number in range(args.rounds):
            for name in args.only if number % 2 == 0 else reversed(args.only):
                results[name].append(run(name, rows, args))
    print(report(results, args.only))


if __name__ == "__main__":
    main()
