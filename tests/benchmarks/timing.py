"""Timing side by side: interleaved rounds, medians, their spread, and the ratio of each round.

options = arguments(__doc__, rounds=7)
taken = measure({"ours": ours, "bare": bare}, options.rounds)
print(conditions(), table(taken, "bare"))
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("torch", "lightning", "transformers", "tokenizers")


def arguments(doc: str, **defaults: object) -> argparse.Namespace:
    """Return a script's options by name, parsed.

    Args:
        doc: The script's docstring, whose first line is the help.
        defaults: Of each option; a type, such as Path, for one that must be given.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    for name, default in defaults.items():
        if isinstance(default, type):
            parser.add_argument(f"--{name}", type=default, required=True)
        elif isinstance(default, list):
            parser.add_argument(f"--{name}", type=type(default[0]), nargs="+", default=default)
        else:
            parser.add_argument(f"--{name}", type=type(default), default=default)
    return parser.parse_args()


def conditions(*more: str) -> str:
    """Return a line that says on what this was measured: machine, versions and commit.

    Args:
        more: Further packages to name.
    """
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    versions = ", ".join(f"{name} {version(name)}" for name in (*PACKAGES, *more))
    return (
        f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}, "
        f"commit {commit or 'unknown'}, load {os.getloadavg()[0]:.1f}"
    )


def measure(
    calls: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Return the seconds of each call in each round; the calls take turns.

    Args:
        calls: By name.
        rounds: How often each is timed.
        warm_up: Rounds before, which do not count.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(warm_up + rounds):
        names = list(calls) if number % 2 else list(reversed(calls))
        for name in names:
            began = time.perf_counter()
            calls[name]()
            if number >= warm_up:
                taken[name].append(time.perf_counter() - began)
    return taken


def process(*words: str) -> Callable[[], object]:
    """Return a call that runs Python with these words, offline, and fails if it fails."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, *words]
    return lambda: subprocess.run(command, check=True, capture_output=True, env=environment)


def spread(values: list[float], form: str = ".3g") -> str:
    """Return the median and, in brackets, the least and the greatest."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def table(
    taken: Mapping[str, list[float]],
    reference: str,
    work: Mapping[str, float] | None = None,
    unit: str = "text",
) -> str:
    """Return a Markdown table: the time of each call, and how much faster than the reference it is.

    Args:
        taken: What ``measure`` returned.
        reference: The call that the others are compared with.
        work: How many units one call does, if not 1.
        unit: What they are.
    """
    counts = {name: (work or {}).get(name, 1) for name in taken}
    lines = [
        f"| what | ms per {unit}, median (min to max) | {reference} / it, per round |",
        "|---|---|---|",
    ]
    for name, seconds in taken.items():
        each = [s / counts[name] for s in seconds]
        against = [s / counts[reference] for s in taken[reference]]
        ratios = [a / b for a, b in zip(against, each, strict=True)]
        lines.append(f"| {name} | {spread([1e3 * s for s in each])} | {spread(ratios)} |")
    return "\n".join(lines)
