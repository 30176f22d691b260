"""What Lightning prints: its tips are dropped, and in a notebook its messages are on stdout."""

import io
import logging
import sys

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info

from emoji_gpt2.training.messages import messages


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What Lightning's logger writes to standard error, as where the root logger has no handler."""
    stream = io.StringIO()
    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "handlers", [])
    logging.getLogger("lightning.pytorch").addHandler(logging.StreamHandler(stream))
    return stream


def make_trainer() -> None:
    Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)


@pytest.mark.parametrize("notebook", [False, True])
def test_lightning_s_messages(
    logged: io.StringIO, monkeypatch: pytest.MonkeyPatch, notebook: bool
) -> None:
    make_trainer()
    assert "Tip: " in logged.getvalue(), "Lightning has no tips any more: drop the filter"
    before = logged.getvalue()
    stdout = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stdout)
    with messages(notebook=notebook):
        make_trainer()
        shown = stdout.getvalue() if notebook else logged.getvalue().removeprefix(before)
        assert "GPU available: " in shown
        assert "Tip: " not in shown
        assert (logged.getvalue() == before) is notebook
    rank_zero_info("afterwards")
    assert logged.getvalue().endswith("afterwards\n")
    make_trainer()
    assert logged.getvalue().count("Tip: ") == 2 * before.count("Tip: "), "the filter is removed"
