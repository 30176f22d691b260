"""How soon something happens: importing the package, ``--help``, the first training step.

    python -m tests.benchmarks.bench_start --rounds 7

Each is a process of its own, offline. Beside them: Python that does nothing; and the least that a
LightningCLI of a GPT-2 takes, which imports Lightning and Transformers' GPT-2 and prints the
``fit --help`` of a model and a data module with one argument each. The training step is that of a
model of one layer on the built-in emoji table from a warm cache, so that it is the start that is
measured. Prints Markdown tables.
"""

import tempfile
from itertools import count
from pathlib import Path

from tests.benchmarks.timing import arguments, conditions, measure, process, table

BARE_CLI = """
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI
from transformers import GPT2LMHeadModel, GPT2Tokenizer

class Model(LightningModule):
    def __init__(self, width: int = 4) -> None:
        super().__init__()

class Data(LightningDataModule):
    def __init__(self, path: str | None = None) -> None:
        super().__init__()

LightningCLI(Model, Data)
"""
FIRST_STEP = (
    "--model.config.n_layer=1", "--model.config.n_embd=32", "--model.config.n_head=2",
    "--trainer.max_steps=1", "--trainer.limit_val_batches=0", "--trainer.logger=false",
    "--trainer.enable_checkpointing=false", "--trainer.enable_progress_bar=false",
    "--trainer.accelerator=cpu", "--trainer.devices=1",
)  # fmt: skip


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=7)
    print(conditions("jsonargparse"))
    calls = {
        "python": process("-c", "pass"),
        "import emoji_gpt2": process("-c", "import emoji_gpt2"),
    }
    print("\nImporting:\n")
    print(table(measure(calls, 5 * options.rounds), "python", unit="start"), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bare_cli.py").write_text(BARE_CLI, encoding="utf-8")
        runs = count()

        def first_step() -> None:
            here = (f"--data.cache_dir={folder}/cache", f"--output_dir={folder}/{next(runs)}")
            process("-m", "emoji_gpt2.fit", *FIRST_STEP, *here)()

        calls = {
            "bare CLI --help": process(str(folder / "bare_cli.py"), "fit", "--help"),
            "emoji_gpt2.fit --help": process("-m", "emoji_gpt2.fit", "--help"),
            "emoji_gpt2.generate --help": process("-m", "emoji_gpt2.generate", "--help"),
            "first training step": first_step,
        }
        print("\nThe command lines:\n")
        print(table(measure(calls, options.rounds), "bare CLI --help", unit="start"))


if __name__ == "__main__":
    main()
