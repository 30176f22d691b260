"""The command line for uses: run here, as ``python -m emoji_gpt2`` does it, on a tiny model.

fit("--trainer.max_epochs=3")  # RuntimeError, with what it said, unless it exits with 0
"""

import runpy
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

from tests.invariant.uses.harness import captured, one_line
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
