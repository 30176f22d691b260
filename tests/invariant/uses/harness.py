"""Uses, and how one is run and judged.

    @use
    def max_steps() -> str:
        "max_steps=7: seven optimizer steps"
        fit = trained(max_steps=7)
        expect_equal(fit.trainer.global_step, 7, "steps")
        return "7 steps"

A use runs in an empty folder and returns a few words about what was seen. What it expects is said
by the functions here: an expectation that does not hold is SILENTLY WRONG, since nothing had
raised; any other exception is a crash. Most uses are rows of a table (`judge.fit_use`).
"""

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from emoji_gpt2.errors import UserError

EXPECTED, REFUSED, CRASHED = "as expected", "refused in one line", "crashed"
WRONG = "SILENTLY WRONG"
BAD = (WRONG, CRASHED)
ROOT = Path(__file__).parents[3]
Weights = dict[str, torch.Tensor]


class UnexpectedError(Exception):
    """What was expected of a use's behaviour does not hold."""


class Refusal(str):
    """What a use saw when the package refused it, as it should."""

    __slots__ = ()


@dataclass
class Verdict:
    """How a use went, and a few words on what was seen."""

    name: str
    verdict: str
    seen: str


@dataclass
class Use:
    """A way to use the package.

    Args:
        name: One word.
        kind: The file it is in.
        text: What is done and what is expected.
        function: Does it.
        may_refuse: A one-line error is right too.
        seconds: What it may take.
    """

    name: str
    kind: str
    text: str
    function: Callable[[], str]
    may_refuse: bool = False
    seconds: int = 300


USES: dict[str, Use] = {}


def add(kind: str, name: str, text: str, function: Callable[[], str], **flags: Any) -> None:
    """Register a use; ``kind`` may be the name of a module."""
    assert name not in USES, f"two uses are called {name}"
    USES[name] = Use(name, kind.rpartition(".")[2], " ".join(text.split()), function, **flags)


def use(function: Any = None, **flags: Any) -> Any:
    """Register a function as a use; its docstring is the text."""

    def register(function: Callable[[], str]) -> Callable[[], str]:
        add(function.__module__, function.__name__, function.__doc__ or "", function, **flags)
        return function

    return register(function) if function else register


def run(use: Use, folder: Path) -> Verdict:
    """Run a use in ``folder``, here, and judge it."""
    folder.mkdir(parents=True, exist_ok=True)
    with _inside(folder), captured(Path("stdout.txt"), Path("stderr.txt")):
        warnings.simplefilter("ignore")
        try:
            seen = use.function()
        except UnexpectedError as error:
            return Verdict(use.name, WRONG, one_line(error))
        except BaseException as error:  # noqa: BLE001 - whatever a use raises is its verdict
            traceback.print_exc()
            ours = isinstance(error, UserError | MisconfigurationException)
            refused = use.may_refuse and ours and is_one_line(error)
            said = f"{type(error).__name__}: {one_line(error)}"
            return Verdict(use.name, REFUSED if refused else CRASHED, said)
    return Verdict(use.name, REFUSED if isinstance(seen, Refusal) else EXPECTED, seen)


def is_one_line(error: BaseException) -> bool:
    return "\n" not in str(error).strip()


def one_line(error: object, limit: int = 220) -> str:
    """Return a message on one line, cut."""
    line = " ".join(str(error).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before, environment = Path.cwd(), dict(os.environ)
    os.chdir(folder)
    try:
        with warnings.catch_warnings():
            yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environment)


@contextmanager
def captured(stdout: Path, stderr: Path) -> Iterator[None]:
    """Let all that is written to the two streams go into files, that of other processes too."""
    kept = [os.dup(number) for number in (1, 2)]
    try:
        for number, path in enumerate((stdout, stderr), start=1):
            with path.open("ab") as file:
                os.dup2(file.fileno(), number)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, before in enumerate(kept, start=1):
            os.dup2(before, number)
            os.close(before)


def expect(fine: bool, said: str) -> None:
    """Call the use silently wrong unless ``fine``."""
    if not fine:
        raise UnexpectedError(said)


def expect_equal(got: Any, wanted: Any, what: str) -> None:
    expect(got == wanted, f"{what}: got {short(got)}, wanted {short(wanted)}")


def expect_close(got: Any, wanted: Any, what: str, relative: float = 1e-4) -> None:
    """Expect a number, or several, up to a share of the wanted ones' size."""
    got_N, wanted_N = (torch.as_tensor(v, dtype=torch.float64).flatten() for v in (got, wanted))
    expect(got_N.shape == wanted_N.shape, f"{what}: got {len(got_N)}, wanted {len(wanted_N)}")
    difference = float((got_N - wanted_N).norm())
    fine = difference <= relative * float(wanted_N.norm()) + 1e-12  # NaN is not close
    said = f"got {short(got_N)}, wanted {short(wanted_N)}, off by {difference:.3g}"
    expect(fine, f"{what}: {said}")


def expect_same_weights(got: Weights, wanted: Weights, relative: float = 0.0) -> None:
    """Expect equal weights, bit for bit or up to a share of each tensor's norm."""
    expect_equal(sorted(got), sorted(wanted), "names of weights")
    for name, tensor in wanted.items():
        difference = float((got[name].double() - tensor.double()).norm())
        limit = relative * float(tensor.double().norm())
        expect(difference <= limit, f"{name} differs by {difference:.3g}, allowed {limit:.3g}")


def expect_other_weights(got: Weights, other: Weights) -> None:
    expect(any(not torch.equal(got[n], other[n]) for n in other), "the weights are the same")


def refused(function: Callable[[], Any], *words: str) -> Refusal:
    """Expect a ValueError or TypeError of one line that has these words; return what it says."""
    try:
        function()
    except (ValueError, TypeError, MisconfigurationException) as error:
        if is_one_line(error) and all(word in str(error) for word in words):
            return Refusal(one_line(error, 140))
        raise  # no help to a user: a crash
    raise UnexpectedError(f"it was not refused (wanted an error about {', '.join(words)})")


def short(value: Any) -> str:
    """Return a value in a few characters."""
    if isinstance(value, torch.Tensor):
        numbers = [f"{number:.5g}" for number in value.flatten()[:8].tolist()]
        return " ".join(numbers) + (" …" if value.numel() > 8 else "")
    return one_line(value, 100)
