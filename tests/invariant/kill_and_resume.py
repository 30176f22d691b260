"""Kill trainings at random moments, go on with them, and compare with an undisturbed one.

    python tests/invariant/kill_and_resume.py --runs 20 --steps 200 [--devices 2]

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
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from emoji_gpt2.emoji.table import EmojiTable


def write_data(folder: Path, rows: int = 400) -> Path:
    """Write a table whose epochs are shorter than a run."""
    emoji = [e for e in EmojiTable.builtin() if not EmojiTable.builtin().tones(e)]
    path = folder / "data.csv"
    lines = [f"thing {n} of many,{emoji[n % 60]}" for n in range(rows)]
    path.write_text("\n".join(["text,emoji", *lines]) + "\n", encoding="utf-8")
    return path


def command(data: Path, output: Path, steps: int, devices: int) -> list[str]:
    """Return the command line of a run."""
    options = {
        "output_dir": output,
        "data.path": data,
        "data.cache_dir": data.parent / "cache",
        "data.batch_size": 16,
        "model.dropout": 0.2,
        "model.learning_rate": 0.01,
        "model.warmup_steps": 5,
        "model.config.n_layer": 1,
        "model.config.n_embd": 16,
        "model.config.n_head": 2,
        "checkpoint.every_n_train_steps": 10,
        "trainer.max_steps": steps,
        "trainer.accelerator": "cpu",
        "trainer.devices": devices,
        "trainer.strategy": "ddp" if devices > 1 else "auto",
        "trainer.enable_progress_bar": "false",
        "trainer.enable_model_summary": "false",
        "trainer.log_every_n_steps": 1,
    }
    flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "emoji_gpt2.fit", *flags]


def start(words: list[str]) -> subprocess.Popen[bytes]:
    """Start a run in a process group of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        words,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(words: list[str]) -> None:
    """Run to the end.

    Raises:
        RuntimeError: it failed; with its output.
    """
    process = start(words)
    output, _ = process.communicate(timeout=600)
    if process.returncode:
        raise RuntimeError(output.decode()[-3000:])


def kill_at_row(words: list[str], output: Path, row: int, delay: float) -> bool:
    """SIGKILL a run that wrote last.ckpt, ``delay`` seconds after a row of metrics.csv.

    Return whether it still trained then. By rows, not by time: a loaded machine is slower.
    """
    process = start(words)
    assert process.stdout is not None
    while process.poll() is None and not is_there(output, row):
        time.sleep(0.002)
    time.sleep(delay)
    training = process.poll() is None and not (output / "model").exists()
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()
    process.wait()
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


def check(runs: int, steps: int, devices: int, seed: int = 0) -> tuple[int, int]:
    """Return how many runs were killed in training, and how many of all ended equal.

    They are killed at random between their first checkpoint and 0.9 of their steps.
    """
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_data(folder)
        finish(command(data, folder / "whole", steps, devices))
        wanted = fingerprint(folder / "whole")
        killed = equal = 0
        for number in range(runs):
            output = folder / f"run{number}"
            words = command(data, output, steps, devices)
            row, delay = rng.randrange(1, int(0.9 * steps)), rng.uniform(0, 0.02)
            killed += kill_at_row(words, output, row, delay)
            if not (output / "model").exists():
                finish([*words, "--ckpt_path", "last"])
            same = fingerprint(output) == wanted and has_rows_of(output, folder / "whole")
            equal += same
            print(f"run {number}, row {row}: {'equal' if same else 'DIFFERENT'}", flush=True)
    return killed, equal


def main() -> int:
    """Run the check and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    killed, equal = check(options.runs, options.steps, options.devices, options.seed)
    print(f"{equal} of {options.runs} runs equal bit for bit; {killed} were killed in training")
    return int(equal != options.runs or not killed)


if __name__ == "__main__":
    raise SystemExit(main())
