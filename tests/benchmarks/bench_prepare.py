"""Preparing and starting on large tables: seconds, memory, and the bare tokenizer beside them.

    python tests/benchmarks/bench_prepare.py --rows 100000 1000000 10000000 --folder /tmp/bench

For each size, in processes of their own: the table is made (``make_table.py``), prepared into an
empty cache, and its texts tokenized by ``tokenizers`` alone with all cores (``encode_batch_fast``
and ``ids`` of up to a million texts). Then, ``--starts`` times in turn, the command line trains one
step of the smallest and of the largest table from their caches, and once some hundred steps, for
memory. Memory is the largest sum over the process and its children of what ``smaps_rollup`` calls
Pss: shared pages are counted once. Linux only. Prints a Markdown table.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from make_table import write_table

SAMPLE = 1_000_000
TINY = ("--model.config.n_layer=1", "--model.config.n_embd=32", "--model.config.n_head=2")

PREPARE = """
import json, sys, time
from pathlib import Path
from emoji_gpt2.data.prepare import DataConfig
from emoji_gpt2.data.store import Store
from emoji_gpt2.tokenizer import add_emoji_tokens, builtin_gpt2_tokenizer
tokenizer, _ = add_emoji_tokens(builtin_gpt2_tokenizer())
began = time.perf_counter()
folder = DataConfig(path=sys.argv[1]).prepare(tokenizer, Path(sys.argv[2]))
seconds = time.perf_counter() - began
store = Store(folder)
print(json.dumps({"seconds": seconds, "text_tokens": int(store.n_prompt.sum(dtype="int64")) - len(store.n_prompt)}))
"""  # noqa: E501

BARE = """
import csv, json, sys, time
from itertools import islice
from tokenizers import Tokenizer
from emoji_gpt2.emoji.text import normalize_text
from emoji_gpt2.tokenizer import builtin_gpt2_tokenizer
bare = Tokenizer.from_str(builtin_gpt2_tokenizer().backend_tokenizer.to_str())
seconds = rows = tokens = 0
with open(sys.argv[1], encoding="utf-8", newline="") as file:
    texts = (normalize_text(row[0]) for row in islice(csv.reader(file), 1, int(sys.argv[2]) + 1))
    while chunk := list(islice(texts, 32_768)):
        began = time.perf_counter()
        ids = [encoding.ids for encoding in bare.encode_batch_fast(chunk, add_special_tokens=False)]
        seconds += time.perf_counter() - began
        rows += len(chunk)
        tokens += sum(map(len, ids))
print(json.dumps({"seconds": seconds, "rows": rows, "text_tokens": tokens}))
"""


def pss(process: int) -> int:
    """Return the bytes of a process and its descendants, shared pages counted once."""
    total = 0
    try:
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        total += 1024 * int(rollup.split("\nPss:")[1].split()[0])
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text().split():
                total += pss(int(child))
    except (OSError, IndexError):
        pass  # it has just ended
    return total


def watch(words: list[str]) -> tuple[str, float, int]:
    """Run a process and return its output, its seconds and its largest memory in bytes."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(words, stdout=output, stderr=sys.stderr, env=environment)
        peak = 0
        while process.poll() is None:
            peak = max(peak, pss(process.pid))
            time.sleep(0.05)
        seconds = time.perf_counter() - began
        output.seek(0)
        if process.returncode:
            raise RuntimeError(f"{words} ended with {process.returncode}")
        return output.read(), seconds, peak


def prepare(table: Path, cache: Path, rows: int) -> dict[str, float]:
    """Prepare a table, tokenize its texts by ``tokenizers`` alone, and return what it took."""
    output, _, peak = watch([sys.executable, "-c", PREPARE, str(table), str(cache)])
    ours = json.loads(output.splitlines()[-1])
    output, _, _ = watch([sys.executable, "-c", BARE, str(table), str(min(rows, SAMPLE))])
    bare = json.loads(output.splitlines()[-1])
    return {
        "rows": rows,
        "seconds": ours["seconds"],
        "MB": peak / 1e6,
        "tokens/s": ours["text_tokens"] / ours["seconds"],
        "bare tokens/s": bare["text_tokens"] / bare["seconds"],
        "ratio": (rows / ours["seconds"]) / (bare["rows"] / bare["seconds"]),
    }


def train(table: Path, cache: Path, output: Path, steps: int) -> tuple[float, int]:
    """Train some steps from the cache and return the seconds and the largest memory in bytes."""
    flags = [
        f"--data.path={table}", f"--data.cache_dir={cache}", f"--output_dir={output}", *TINY,
        "--model.config.n_positions=128", f"--trainer.max_steps={steps}",
        "--trainer.limit_val_batches=0", "--trainer.enable_checkpointing=false",
        "--trainer.logger=false", "--trainer.enable_progress_bar=false",
        "--trainer.accelerator=cpu", "--trainer.devices=1",
    ]  # fmt: skip
    _, seconds, peak = watch([sys.executable, "-m", "emoji_gpt2.fit", *flags])
    return seconds, peak


def main() -> None:
    """Measure all sizes and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print(
        "| rows | seconds | MB | text tokens/s | bare tokens/s | ratio |\n|---|---|---|---|---|---|"
    )
    for rows in options.rows:
        table = options.folder / f"{rows}.csv"
        if not table.exists():
            write_table(table, rows)
        with tempfile.TemporaryDirectory(dir=options.folder) as empty:
            first = prepare(table, Path(empty), rows)
        print(
            f"| {rows:,} | {first['seconds']:.1f} | {first['MB']:,.0f} | {first['tokens/s']:,.0f} "
            f"| {first['bare tokens/s']:,.0f} | {first['ratio']:.2f} |",
            flush=True,
        )
    print("\n| rows | seconds to one step, median (min to max) | MB, training |\n|---|---|---|")
    sizes = (min(options.rows), max(options.rows))
    cache = options.folder / "cache"
    starts: dict[int, list[float]] = {rows: [] for rows in sizes}
    for number in range(options.starts + 1):
        for rows in sizes:
            with tempfile.TemporaryDirectory(dir=options.folder) as output:
                table = options.folder / f"{rows}.csv"
                seconds, _ = train(table, cache, Path(output), steps=1)
            starts[rows] += [seconds] if number else []  # the first fills the cache
    for rows in sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as output:
            _, peak = train(options.folder / f"{rows}.csv", cache, Path(output), options.steps)
        found = starts[rows]
        print(
            f"| {rows:,} | {statistics.median(found):.1f} ({min(found):.1f} to {max(found):.1f}) "
            f"| {peak / 1e6:,.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
