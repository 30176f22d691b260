"""Runs of the real command line for tests: tiny, in this process, their folders below tmp_path.

    run = cli(tmp_path, "--trainer.max_epochs", "1")      # fit, in this process
    assert run.status == 0, run.stderr
    assert "val/loss" in run.metrics[-1]

`trained_run` is a folder of a finished run, trained once per session: do not change it. `begun` is
the same run in a folder that may be changed.
"""

import csv
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.model import embeddings
from emoji_gpt2.model.module import EmojiGPT2
from emoji_gpt2.training.cli import main
from emoji_gpt2.training.export import ExportBest
from tests.tiny import encode_texts_once

TINY_MODEL = ["--model.config.n_layer=1", "--model.config.n_embd=16", "--model.config.n_head=2"]
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
ON_CPU = ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.log_every_n_steps=1"]
LEARNING = ["--model.learning_rate=0.02", "--model.warmup_steps=1", "--model.dropout=0.1"]
ROOT = Path(__file__).parents[1]

UPSTREAM = [
    # Lightning 2.6's cli.py calls jsonargparse's older add_instantiator
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    # Lightning 2.6 sees no difference between no rows on purpose and by mistake
    pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero:UserWarning"),
]

NO_VALIDATION = pytest.mark.filterwarnings(  # Lightning's word for what the test is about
    "ignore:You defined a .validation_step. but have no .val_dataloader.:UserWarning"
)


@dataclass
class Run:
    """What a command line left behind.

    Args:
        status: Its exit status.
        stdout: What it printed.
        stderr: What it printed on standard error, log records included.
        folder: Its --output_dir.
    """

    status: int
    stdout: str
    stderr: str
    folder: Path = field(default_factory=Path)

    @property
    def metrics(self) -> list[dict[str, str]]:
        return read_csv(self.folder / "metrics.csv")

    def error(self) -> str:
        """The one line of a user's mistake; fails if it is not one."""
        lines = self.stderr.splitlines()
        assert self.status == 2, (self.status, self.stderr)
        assert "Traceback" not in self.stderr + self.stdout
        errors = [line for line in lines if line.startswith("error: ")]
        assert len(errors) == 1, self.stderr
        assert lines[-1] == errors[0], "the error is not the last line"
        return errors[0]


def read_csv(path: str | Path) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def train_losses(path: Path) -> dict[int, str]:
    """The training loss of each optimizer step in a metrics.csv."""
    return {int(r["step"]): r["train/loss"] for r in read_csv(path) if r.get("train/loss")}


def load(path: str | Path) -> dict[str, Any]:
    """A checkpoint; nothing but tensors and plain values may be in it."""
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint."""
    state: dict[str, Any] = load(path)["state_dict"]
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


def contents(folder: Path) -> dict[str, bytes]:
    """Each file below a folder with its bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def write_table(path: Path, n_emoji: int = 15) -> Path:
    """A table of two texts for each of some emoji, one of which can be held out."""
    table = EmojiTable.builtin()
    emoji = [one for one in table if not table.tones(one)][:n_emoji]
    rows = [("emoji", "name")]
    for number, one in enumerate(emoji):
        rows += [(one, table.name(one)), (one, f"thing number {number}")]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@contextmanager
def _argv(*words: str) -> Iterator[None]:
    before = sys.argv
    sys.argv = ["emoji_gpt2", *words]
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def _no_stale_handlers() -> Iterator[None]:
    """Take away Lightning's own handlers, which write to the stderr of an earlier test."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    before = [logger.handlers for logger in loggers]
    for logger in loggers:
        logger.handlers = []
    try:
        yield
    finally:
        for logger, handlers in zip(loggers, before, strict=True):
            logger.handlers = handlers


@contextmanager
def _faster(*, cards: bool) -> Iterator[None]:
    """Spare what takes most of a tiny run: 1 s for the same descriptions, 1 s for the card."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(embeddings, "encode_texts", encode_texts_once))
        if not cards:
            stack.enter_context(mock.patch.object(ExportBest, "_card", return_value=(None, {})))
        yield


def base_flags(cache: Path, data: Path) -> list[str]:
    """Data and the machine: what each command of a test needs."""
    return [
        f"--data.path={data}",
        f"--data.cache_dir={cache}",
        "--data.batch_size=8",
        *ON_CPU,
        *QUIET,
    ]


class Cli:
    """Call the command line in this process, or in one of its own.

    ``cards`` says whether runs in this process write the model card, or a short one in its place.

    Args:
        tmp_path: Where the data, the cache and by default the run are.
        capsys: Of the test.
        caplog: Of the test.
    """

    def __init__(
        self,
        tmp_path: Path,
        cache: Path,
        capsys: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        self.folder = tmp_path / "run"
        self.cards = False
        self.data = write_table(tmp_path / "emoji.csv")
        self.base = base_flags(cache, self.data)
        self._capsys = capsys
        self._caplog = caplog

    def __call__(
        self,
        *words: str | Path,
        command: str = "fit",
        tiny: bool = True,
        model: type[EmojiGPT2] = EmojiGPT2,
    ) -> Run:
        """Run ``command`` with the base flags and ``words``, which win."""
        flags = self._flags(words, command, tiny)
        return self.raw(command, *flags, folder=self._folder(words), model=model)

    def _flags(self, words: tuple[str | Path, ...], command: str, tiny: bool) -> list[str]:
        epochs = ["--trainer.max_epochs=1", f"--output_dir={self.folder}"]
        if command != "fit":
            epochs = epochs[1:]
        return [*self.base, *(TINY_MODEL if tiny else []), *epochs, *map(str, words)]

    def _folder(self, words: tuple[str | Path, ...]) -> Path:
        given = [str(word) for word in words if str(word).startswith("--output_dir=")]
        return Path(given[-1].split("=", 1)[1]) if given else self.folder

    def raw(
        self, *words: str, folder: Path | None = None, model: type[EmojiGPT2] = EmojiGPT2
    ) -> Run:
        """Run exactly these words; the first is the command."""
        self._capsys.readouterr()
        self._caplog.clear()
        with _argv(*words), _no_stale_handlers(), _faster(cards=self.cards):
            try:
                main(model_class=model)
                status = 0
            except SystemExit as error:
                status = int(error.code or 0)
        out, err = self._capsys.readouterr()
        logged = "".join(f"{record.getMessage()}\n" for record in self._caplog.records)
        return Run(status, out, logged + err, folder or self.folder)

    def start(self, *words: str | Path) -> "subprocess.Popen[str]":
        """``python -m emoji_gpt2.fit`` as a process of its own."""
        command = [sys.executable, "-m", "emoji_gpt2.fit", *self._flags(words, "fit", tiny=True)]
        return popen(command, self.folder.parent)


def popen(command: list[str], home: Path, **variables: str) -> "subprocess.Popen[str]":
    """A process without network whose output is read through pipes."""
    env = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    env |= variables
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env, cwd=home)


@pytest.fixture
def cli(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Cli:
    caplog.set_level("INFO")
    cache = tmp_path_factory.getbasetemp() / "rows"  # keyed by content: tests may share it
    return Cli(tmp_path, cache, capsys, caplog)


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two epochs; do not change it."""
    base = tmp_path_factory.getbasetemp()
    folder, stash = base / "begun", base / "trained_run"
    if not stash.exists():  # modules import this fixture: each has its own, of one folder
        flags = [*base_flags(base / "rows", write_table(base / "emoji.csv")), *TINY_MODEL]
        words = ["fit", *flags, *LEARNING, "--trainer.max_epochs=2", f"--output_dir={folder}"]
        with _argv(*words), _no_stale_handlers(), _faster(cards=True):
            main()
        shutil.copytree(folder, stash)
    return stash


@pytest.fixture
def begun(trained_run: Path, cli: Cli) -> Path:
    """``trained_run`` where it was trained, as it was then; ``cli`` goes on with it."""
    folder = trained_run.with_name("begun")
    shutil.rmtree(folder)
    shutil.copytree(trained_run, folder)
    cli.folder = folder
    return folder
