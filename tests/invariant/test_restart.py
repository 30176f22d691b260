"""A run that was killed, whenever that was, ends as one that was not.

What a kill leaves is what is on disk at that moment: an undisturbed run is photographed at each
write, and goes on from some of the pictures. `kill_and_resume.py` kills real processes.
"""

# ruff: noqa: F811 -- a fixture that is imported has the name of the parameter that asks for it

import shutil
import signal
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from emoji_gpt2.model.checkpoint_io import AtomicCheckpointIO
from emoji_gpt2.model.module import EmojiGPT2
from emoji_gpt2.training.restart import AppendingWriter
from tests.cli_runs import (
    LEARNING,
    UPSTREAM,
    Cli,
    cli,  # noqa: F401 -- a fixture
    load,
    trained_run,  # noqa: F401 -- a fixture
)
from tests.invariant.kill_and_resume import check, fingerprint, has_rows_of

pytestmark = UPSTREAM
GO_ON = "--ckpt_path=last"


def photographed(cli: Cli, words: list[str]) -> list[Path]:
    """Train, and copy the folder after each write of last.ckpt or of metrics.csv."""
    pictures: list[Path] = []

    def after(write: Any) -> Any:
        def wrapped(*arguments: Any, **named: Any) -> None:
            write(*arguments, **named)
            if (cli.folder / "last.ckpt").exists():
                pictures.append(cli.folder.with_name(f"picture{len(pictures)}"))
                shutil.copytree(cli.folder, pictures[-1])

        return wrapped

    with (
        mock.patch.object(
            AtomicCheckpointIO, "save_checkpoint", after(AtomicCheckpointIO.save_checkpoint)
        ),
        mock.patch.object(AppendingWriter, "save", after(AppendingWriter.save)),
    ):
        run = cli(*words)
    assert run.status == 0, run.stderr
    return pictures


def state_of(picture: Path) -> tuple[int, int]:
    """The optimizer steps of last.ckpt, and the rows of metrics.csv."""
    metrics = picture / "metrics.csv"
    rows = len(metrics.read_bytes().splitlines()) - 1 if metrics.exists() else 0
    return load(picture / "last.ckpt")["global_step"], rows


def whole_run(folder: Path) -> tuple[Any, list[str]]:
    return fingerprint(folder), sorted(path.name for path in folder.glob("best*.ckpt"))


def test_a_run_goes_on_from_each_state_that_a_kill_can_leave(cli: Cli) -> None:
    # Two epochs of 4 steps, validated after steps 2, 4, 6 and 8: rows 2, 5, 8 and 11 of 12.
    # A warm-up to the end, so that the learning rate is that of a shorter run.
    words = [*LEARNING, "--model.warmup_steps=100", "--trainer.val_check_interval=0.5"]
    words += ["--trainer.max_epochs=2", "--trainer.max_steps=8"]
    words += ["--checkpoint.every_n_train_steps=1"]
    pictures = {state_of(picture): picture for picture in photographed(cli, words)}
    wanted = whole_run(cli.folder)
    whole = cli.folder.rename(cli.folder.with_name("whole"))
    cli.folder.mkdir()
    states = [
        (1, 0),  # the first step is saved, its row not written yet: there is no file
        (1, 2),  # step 2 is not saved, since its validation comes first
        (3, 3),  # step 3 is saved, its row not written yet
        (4, 6),  # an epoch's end: Lightning would count one epoch and one step too many
    ]
    for state in states:
        shutil.rmtree(cli.folder)
        shutil.copytree(pictures[state], cli.folder)
        if state == (4, 6):
            with (cli.folder / "metrics.csv").open("a", encoding="utf-8") as file:
                file.write("1,4,")  # killed within a write
        run = cli(*words, GO_ON)
        assert run.status == 0, run.stderr
        assert whole_run(cli.folder) == wanted, state
        assert has_rows_of(cli.folder, whole), state
    shutil.rmtree(cli.folder)
    assert cli(*words, "--trainer.max_steps=6").status == 0  # within an epoch
    assert cli(*words, GO_ON).status == 0
    assert whole_run(cli.folder) == wanted, "a longer run"
    assert has_rows_of(cli.folder, whole)


@pytest.mark.parametrize(
    ("options", "step", "state"),
    [
        ([], 3, (4, 5)),  # an epoch's last step
        (["--trainer.val_check_interval=0.5", "--trainer.max_steps=6"], 5, (6, 9)),  # a run's last
    ],
)
def test_a_signal_waits_for_the_validation_that_ends_an_epoch_or_a_run(
    cli: Cli,
    trained_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    step: int,
    state: tuple[int, int],
) -> None:
    words = [*LEARNING, "--trainer.max_epochs=2", *options]
    wanted = whole_run(trained_run)
    if options:
        assert cli(*words).status == 0
        wanted = whole_run(cli.folder)
        shutil.rmtree(cli.folder)
    training_step = EmojiGPT2.training_step

    def interrupted(self: EmojiGPT2, *arguments: Any) -> Any:
        if self.trainer.global_step == step:
            signal.raise_signal(signal.SIGINT)
        return training_step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(EmojiGPT2, "training_step", interrupted)
        assert cli(*words).status == 130
    assert state_of(cli.folder) == state
    assert cli(*words, GO_ON).status == 0
    assert whole_run(cli.folder) == wanted


def test_without_validation_the_newest_checkpoint_stays_the_only_one(cli: Cli) -> None:
    words = ["--data.val_fraction=0"]
    assert cli(*words).status == 0
    assert cli(*words, "--trainer.max_epochs=2", GO_ON).status == 0
    assert [path.name for path in cli.folder.glob("best*")] == ["best-epoch=1-step=8.ckpt"]


@pytest.mark.slow
def test_a_killed_run_ends_like_an_undisturbed_one() -> None:
    killed, equal = check(runs=1, steps=30)
    assert killed
    assert equal == 1
