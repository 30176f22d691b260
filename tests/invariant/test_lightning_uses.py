"""Uses by subclasses and without a Trainer; and that the harness tells what is wrong.

All uses are run by a script: `python -m tests.invariant.lightning_uses`.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from emoji_gpt2.errors import UserError
from tests.invariant.uses.every import KINDS
from tests.invariant.uses.harness import (
    CRASHED,
    EXPECTED,
    REFUSED,
    USES,
    WRONG,
    Use,
    expect_equal,
    run,
)
from tests.invariant.uses.judge import expect_exact_steps
from tests.invariant.uses.processes import environment, judge
from tests.invariant.uses.tiny import trained

KINDS_OF_SUITE = ("python_subclasses", "python_elsewhere")
MORE = (
    "overfit_batches_share", "precision_bf16_mixed", "precision_64_true", "hparams_yaml",
    "accumulate_on_two", "clip_on_two", "rank_without_rows", "ddp_notebook",
    "checkpoint_of_two", "batch_size_finder", "learning_rate_finder",
    "gradient_accumulation_scheduler", "gradient_norms", "stochastic_weight_averaging",
    "prediction_writer", "two_validation_loaders", "resume_in_the_middle",
)  # fmt: skip
"""Of other kinds."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*MORE, *(use.name for use in USES.values() if use.kind in KINDS_OF_SUITE)]
)
def test_a_use_is_as_expected(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in environment(tmp_path).items():
        monkeypatch.setenv(variable, value)
    verdict = judge(USES[name], tmp_path / name)
    assert verdict.verdict in (EXPECTED, REFUSED), verdict.seen


def doubled_gradients() -> str:
    """A module whose gradients are twice those of the mean."""
    fit = trained(max_steps=1)
    step = fit.watch.steps[0]
    step.gradients = {name: 2 * tensor for name, tensor in step.gradients.items()}
    return expect_exact_steps(fit.module, fit.watch)


def fewer_steps() -> str:
    """A trainer that stops early."""
    expect_equal(trained(max_steps=1).trainer.global_step, 2, "steps")
    return ""


def broken() -> str:
    """An error that is no refusal."""
    raise RuntimeError("two\nlines")


def refusal() -> str:
    """A one-line error."""
    raise UserError("--data.path: got none, wanted a file; give one")


@pytest.mark.parametrize(
    ("function", "wanted"),
    [(doubled_gradients, WRONG), (fewer_steps, WRONG), (broken, CRASHED), (refusal, REFUSED)],
)
def test_what_is_wrong_is_said(function: Callable[[], str], wanted: str, tmp_path: Path) -> None:
    verdict = run(Use("name", "kind", "text", function, may_refuse=True), tmp_path)
    assert verdict.verdict == wanted


def test_every_kind_has_uses_that_say_what_they_expect() -> None:
    assert {use.kind for use in USES.values()} == set(KINDS)
    assert all(use.text for use in USES.values())
