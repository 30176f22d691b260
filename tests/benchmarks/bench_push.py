"""How much longer does training take when it pushes to a slow Hub?

    python -m tests.benchmarks.bench_push --pairs 3

Interleaved runs of the real command line, as processes, with and without ``--hub.repo_id``, to the
tests' Hub on loopback, slowed to 1 MB/s and taking large files by LFS. The model has 22 MB of
weights; a checkpoint is saved, and a push wanted, every ``--every`` steps. Timed is the training
alone, from its start to its end: not the start of the process, nor the last push, which is waited
for. Prints each time, and the ratio of each pair with its median and spread. The Hub runs on the
same cores as the training, which a real one would not.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from emoji_gpt2 import EmojiTable
from tests.benchmarks.timing import ROOT, arguments, conditions, spread
from tests.hub.server import Fault, HubServer

REPO = "tester/emoji"
MODEL = {"n_layer": 2, "n_embd": 96, "n_head": 2, "n_positions": 64}


class Clock(Callback):
    """Prints how long the training took."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.start = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        print(f"trained in {time.perf_counter() - self.start:.3f} s", flush=True)


def write_data(path: Path, rows: int = 12_000) -> None:
    """Write a table of which an epoch takes some seconds, since each epoch's end is saved."""
    emoji = [one for one in EmojiTable.builtin() if not EmojiTable.builtin().tones(one)]
    lines = [f"thing {n} of many,{emoji[n % 500]}" for n in range(rows)]
    path.write_text("\n".join(["text,emoji", *lines]) + "\n", encoding="utf-8")


def train(hub: HubServer, folder: Path, name: str, args: argparse.Namespace, push: bool) -> float:
    """Run the command line; return the seconds of training."""
    options = {
        "data.path": folder / "emoji.csv",
        "data.cache_dir": folder / "cache",
        "data.batch_size": 64,
        "output_dir": folder / name,
        "trainer.max_steps": args.steps,
        "trainer.max_epochs": -1,
        "trainer.accelerator": "cpu",
        "trainer.devices": 1,
        "trainer.enable_progress_bar": "false",
        "checkpoint.every_n_train_steps": args.every,
        "checkpoint.monitor": "null",
    }
    options |= {f"model.config.{field}": value for field, value in MODEL.items()}
    if push:
        options |= {"hub.repo_id": REPO, "hub.strategy": args.strategy, "hub.min_interval": 0}
    flags = [f"--{option}={value}" for option, value in options.items()]
    flags.append("--trainer.callbacks+=tests.benchmarks.bench_push.Clock")
    env = hub.env(folder / "hf_home", "hf_good")
    env |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "emoji_gpt2.fit", *flags]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    found = re.search(r"trained in ([\d.]+) s", done.stdout)
    assert found, done.stderr
    return float(found.group(1))


def main() -> None:
    """Train in pairs and print what it took."""
    args = arguments(__doc__, pairs=3, steps=400, every=100, strategy="every_save")
    print(conditions(), args)
    ratios = []
    with HubServer("lfs") as hub, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder / "emoji.csv")
        hub.faults.append(Fault(kind="slow", bytes_per_s=1_000_000, times=None))
        train(hub, folder, "warm-up", args, push=False)
        for pair in range(args.pairs):
            order = (True, False) if pair % 2 else (False, True)
            took = {push: train(hub, folder, f"{pair}-{push}", args, push) for push in order}
            ratios.append(took[True] / took[False])
            commits = len(hub.repos[f"models/{REPO}"].messages) - 1
            print(f"without {took[False]:.2f} s, with {took[True]:.2f} s: {ratios[-1]:.3f}", end="")
            print(f" ({commits} commits, load {os.getloadavg()[0]:.1f})", flush=True)
        size = len(hub.repos[f"models/{REPO}"].files["model.safetensors"]) / 1e6
    print(f"{size:.0f} MB: ratio {spread(ratios, '.3f')}")


if __name__ == "__main__":
    main()
