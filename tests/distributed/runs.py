"""What tests of several processes share: one table, flags and the end of processes.

data = write_table(tmp_path / "data.csv", rows=69)
(done,) = finish([Forked(["emoji_gpt2.fit", *flags(tmp_path / "run", data)], tmp_path)])
assert done.status == 0, done.stderr
"""

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emoji_gpt2.emoji.table import EmojiTable
from tests.cli_runs import Run


def write_table(path: Path, rows: int) -> Path:
    """Write texts of 2 to 22 words with one to nine emoji each as CSV.

    Texts with many emoji have fewer words: rows of like length, which stand together in a step,
    have very different numbers of emoji.
    """
    emoji = [e for e in EmojiTable.builtin() if not EmojiTable.builtin().tones(e)][:30]
    lines = ["text,emoji"]
    for number in range(rows):
        count = 1 + 7 * number % 9
        words = "word " * (9 - count + number % 13)
        cell = "".join(emoji[(number + k) % 30] for k in range(count))
        lines.append(f"{words}number {number},{cell}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def flags(folder: Path, data: Path, options: dict[str, object] | None = None) -> list[str]:
    """A tiny model on the CPU; ``options`` win over that."""
    base: dict[str, object] = {
        "output_dir": folder,
        "data.path": data,
        "data.cache_dir": folder.parent / "cache",
        "model.dropout": 0.0,
        "model.learning_rate": 0.01,
        "model.warmup_steps": 3,
        "model.config.n_layer": 1,
        "model.config.n_embd": 16,
        "model.config.n_head": 2,
        "trainer.gradient_clip_val": 1.0,
        "trainer.accelerator": "cpu",
        "trainer.devices": 1,
        "trainer.log_every_n_steps": 1,
        "trainer.enable_progress_bar": "false",
        "trainer.enable_model_summary": "false",
    }
    return [f"--{name}={value}" for name, value in (base | (options or {})).items()]


def finish(processes: Sequence[Any], timeout: float = 300) -> list[Run]:
    """Wait for all, and stop them all if one does not end."""
    try:
        outputs = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
                process.communicate(timeout=60)
    return [Run(p.returncode, *output) for p, output in zip(processes, outputs, strict=True)]


def free_port() -> int:
    """A port of the loopback that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port
