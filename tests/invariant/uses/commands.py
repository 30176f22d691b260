"""The command line for uses: run here, as ``python -m emoji_gpt2`` does it, on a tiny model.

fit("--trainer.max_epochs=3")  # RuntimeError, with what it said, unless it exits with 0
expect_one_line(run(*fit_words("--trainer.val_check_interval=25")), "val_check_interval")
"""

import runpy
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

from tests.invariant.uses.harness import Refusal, captured, expect, one_line
from tests.invariant.uses.tiny import TINY, rows, write_table

DATA = [
    "--data.path=table.csv",
    "--data.cache_dir=../cache",
    "--data.batch_size=16",
    "--data.val_fraction=0.2",
]
MODEL = [
    *(f"--model.config.{name}={value}" for name, value in TINY.items()),
    "--model.dropout=0",
    "--model.learning_rate=0.01",
    "--model.warmup_steps=2",
]
TRAINER = [
    "--trainer.accelerator=cpu",
    "--trainer.devices=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]
FIT = ["--trainer.max_epochs=2", "--trainer.log_every_n_steps=1"]
OUT = "out"


@dataclass
class Ran:
    """What a command did: its exit status, and what it printed."""

    status: int
    stdout: str
    stderr: str

    @property
    def last_line(self) -> str:
        """The last line on standard error."""
        return (self.stderr.strip().splitlines() or [""])[-1]


def run(*words: str) -> Ran:
    """Run ``python -m emoji_gpt2`` with these words, in this process."""
    sys.argv = ["emoji_gpt2", *words]
    out, err = Path("command.out"), Path("command.err")
    for path in (out, err):
        path.unlink(missing_ok=True)
    status = 0
    with captured(out, err):
        try:
            runpy.run_module("emoji_gpt2", run_name="__main__")
        except SystemExit as error:
            status = int(error.code or 0)
        except Exception:  # noqa: BLE001 - Python would print it and exit with 1
            traceback.print_exc()
            status = 1
    return Ran(status, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))


def fit_words(*words: str) -> list[str]:
    """Return the words of a tiny fit into ``out``; later ones win."""
    write_table(rows())
    return ["fit", *DATA, *MODEL, *TRAINER, *FIT, f"--output_dir={OUT}", *words]


def fit(*words: str) -> Ran:
    """Run a tiny fit that must succeed."""
    return succeed(*fit_words(*words))


def on_data(command: str, *words: str) -> Ran:
    """Run validate, test or predict on the run in ``out``, which must succeed."""
    return succeed(command, *DATA, *TRAINER, f"--output_dir={OUT}", *words)


def succeed(*words: str) -> Ran:
    """Run a command that must succeed."""
    ran = run(*words)
    if ran.status:
        raise RuntimeError(f"exit status {ran.status}: {one_line(ran.last_line)}")
    return ran


def expect_one_line(ran: Ran, *about: str) -> Refusal:
    """Expect exit status 2 and one line on standard error that has these words."""
    expect(ran.status != 0, f"it was not refused (wanted an error about {', '.join(about)})")
    errors = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    tidy = len(errors) == 1 and ran.last_line == errors[0]
    if ran.status != 2 or not tidy or "Traceback" in ran.stderr:
        raise RuntimeError(f"exit status {ran.status}, not one line: {one_line(ran.last_line)}")
    missing = [word for word in about if word not in errors[0]]
    if missing:
        raise RuntimeError(f"the line does not name {', '.join(missing)}: {one_line(errors[0])}")
    return Refusal(one_line(errors[0], 150))
