"""Use the package in all the ordinary ways of Lightning, and say which are as they should be.

    python -m tests.invariant.lightning_uses [--only NAME ...] [--output FILE.md] [--jobs 2]

Each use really runs, with a tiny model on the CPU, in a process and a folder of its own; its
verdict comes from what it did: weights, gradients, orders, files. The table has a row for each.
Exits with 1 if any is silently wrong or crashed. Needs no network.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.invariant.uses.every import KINDS
from tests.invariant.uses.harness import BAD, USES, Verdict
from tests.invariant.uses.processes import judge_all


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return how many uses had which verdict."""
    counts = Counter(verdict.verdict for verdict in verdicts)
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    return f"{len(verdicts)} uses: {said}"


def table(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as a Markdown table."""
    lines = [f"{summary(verdicts)}.", "", "| kind | use | verdict | seen |", "|---|---|---|---|"]
    for verdict in verdicts:
        use = USES[verdict.name]
        cells = (use.kind, f"`{use.name}`: {use.text}", verdict.verdict, verdict.seen)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the uses and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="uses, or kinds")
    parser.add_argument("--output", type=Path, help="Markdown file for the table")
    parser.add_argument("--jobs", type=int, default=2, help="uses that run side by side")
    parser.add_argument("--keep", type=Path, help="new folder for what the uses write")
    options = parser.parse_args()
    wrong = set(options.only) - USES.keys() - set(KINDS)
    if wrong:
        parser.error(f"--only: got {', '.join(sorted(wrong))}, wanted of {', '.join(USES)}")
    only = set(options.only) or set(KINDS)
    uses = [use for use in USES.values() if {use.name, use.kind} & only]
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        verdicts = judge_all(uses, options.jobs, options.keep or Path(temporary))
    if options.output:
        options.output.write_text(table(verdicts), encoding="utf-8")
    else:
        print(table(verdicts))
    print(f"{summary(verdicts)}; {time.monotonic() - begin:.0f} s")
    return int(any(verdict.verdict in BAD for verdict in verdicts))


if __name__ == "__main__":
    raise SystemExit(main())
