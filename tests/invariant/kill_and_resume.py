"""Kill trainings at random moments, go on with them, and compare with an undisturbed one.

    python -m tests.invariant.kill_and_resume --runs 20 --steps 200 [--devices 2]

Every run has dropout, validates, and writes last.ckpt every 10 steps; each is killed once with
SIGKILL and goes on with ``--ckpt_path last``. Exits with 1 unless all final weights, those of
last.ckpt and the exported model.safetensors, are equal bit for bit, and metrics.csv has the rows of
the undisturbed run, but for the one that a kill may leave out.
"""

import argparse
import hashlib
import os
import random
import signal
import tempfile
import time
from pathlib import Path

import torch

from tests.distributed.forked import Forked
from tests.distributed.runs import flags, write_table


def finish(words: list[str], home: Path) -> None:
    """Run to the end.

    Raises:
        RuntimeError: it failed; with its output.
    """
    process = Forked(["emoji_gpt2.fit", *words], home)
    _, error = process.communicate(timeout=600)
    if process.poll():
        raise RuntimeError(error[-3000:])


def kill_at_row(words: list[str], output: Path, row: int, delay: float) -> bool:
    """SIGKILL a run that wrote last.ckpt, ``delay`` seconds after a row of metrics.csv.

    Return whether it still trained then. By rows, not by time: a loaded machine is slower.
    """
    process = Forked(["emoji_gpt2.fit", *words], output.parent)
    while process.poll() is None and not is_there(output, row):
        time.sleep(0.002)
    time.sleep(delay)
    training = process.poll() is None and not (output / "model").exists()
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return training


def is_there(output: Path, row: int) -> bool:
    """Return whether a run wrote last.ckpt, and this row of metrics.csv."""
    metrics = output / "metrics.csv"
    return (output / "last.ckpt").exists() and len(metrics.read_bytes().splitlines()) > row


def fingerprint(output: Path) -> tuple[str, str]:
    """Return hashes of the last weights and of the exported ones."""
    state = torch.load(output / "last.ckpt", weights_only=True)["state_dict"]
    last = hashlib.sha256(repr(state.pop("_extra_state")).encode())
    for name in sorted(state):
        last.update(name.encode() + state[name].numpy().tobytes())
    exported = (output / "model" / "model.safetensors").read_bytes()
    return last.hexdigest(), hashlib.sha256(exported).hexdigest()


def has_rows_of(output: Path, whole: Path) -> bool:
    """Return whether metrics.csv has the rows of a whole run, in order, but for one at most."""
    found, wanted = (
        (folder / "metrics.csv").read_text().splitlines() for folder in (output, whole)
    )
    lacking = [row for row in wanted if row not in found]
    return found == [row for row in wanted if row not in lacking] and len(lacking) <= 1


def check(runs: int, steps: int, devices: int = 1, seed: int = 0) -> tuple[int, int]:
    """Return how many runs were killed in training, and how many of all ended equal.

    They are killed at random between their first checkpoint and 0.9 of their steps.
    """
    rng = random.Random(seed)
    options = {
        "data.batch_size": 16,
        "model.dropout": 0.2,
        "checkpoint.every_n_train_steps": 10,
        "trainer.max_steps": steps,
        "trainer.devices": devices,
        "trainer.strategy": "ddp" if devices > 1 else "auto",
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_table(folder / "data.csv", rows=400)
        whole = folder / "whole"
        finish(flags(whole, data, options), folder)
        killed = equal = 0
        for number in range(runs):
            output = folder / f"run{number}"
            words = flags(output, data, options)
            row, delay = rng.randrange(1, int(0.9 * steps)), rng.uniform(0, 0.02)
            killed += kill_at_row(words, output, row, delay)
            if not (output / "model").exists():
                finish([*words, "--ckpt_path=last"], folder)
            same = fingerprint(output) == fingerprint(whole) and has_rows_of(output, whole)
            equal += same
            print(f"run {number}, row {row}: {'equal' if same else 'DIFFERENT'}", flush=True)
    return killed, equal


def main() -> int:
    """Run the check and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("runs", 20), ("steps", 200), ("devices", 1), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    killed, equal = check(**vars(options))
    print(f"{equal} of {options.runs} runs equal bit for bit; {killed} were killed in training")
    return int(equal != options.runs or not killed)


if __name__ == "__main__":
    raise SystemExit(main())
