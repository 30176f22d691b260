"""Mistakes that only the user can mend, each told in one line.

    raise UserError("data.text_column", "'txt'", "a column of the table", "give one")

In Python the line begins with ``text_column:``, ``python -m emoji_gpt2.fit`` prints
``--data.text_column:`` and ``generate`` prints ``--text_column:``: only commands know their flags.
"""

import argparse
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn


class UserError(ValueError):
    """Something a user gave cannot be used; ``str(error)`` is the one line to show in Python.

    Args:
        argument: The dotted name of the argument, such as ``data.path`` or ``output_dir``; without
            ``got``, the whole line, as a model of your own may raise it.
        got: What was given, as it stands after "got".
        wanted: What it should be; "" leaves that out.
        remedy: What to do; "" leaves that out. In ``wanted`` and ``remedy``, ``{data.encoding}`` is
            the name of another argument.
    """

    def __init__(self, argument: str, got: str = "", wanted: str = "", remedy: str = "") -> None:
        super().__init__(argument, got, wanted, remedy)
        self.argument, self.got, self.wanted, self.remedy = argument, got, wanted, remedy

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str, str, str]]:
        return type(self), (self.argument, self.got, self.wanted, self.remedy)

    def line(self, name_of: Callable[[str], str]) -> str:
        """Return the line, with arguments named by ``name_of``."""
        if not self.got:
            return " ".join(self.argument.split())
        wanted, remedy = (
            re.sub(r"\{([a-z_.]+)\}", lambda found: name_of(found[1]), part)
            for part in (self.wanted, self.remedy)
        )
        line = f"{name_of(self.argument)}: got {self.got}"
        line += f", wanted {wanted}" if wanted else ""
        line += f"; {remedy}" if remedy else ""
        return " ".join(line.split())

    def __str__(self) -> str:
        return self.line(lambda argument: argument.rpartition(".")[2])


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that a user named is not there."""


def check(argument: str, got: object, *, fine: bool, wanted: str) -> None:
    """Raise a ``UserError`` that names the argument and both values, unless ``fine``."""
    if not fine:
        raise UserError(argument, repr(got), wanted, "correct it")


@contextmanager
def blaming(argument: str, *instead_of: str) -> Iterator[None]:
    """Let errors of the arguments ``instead_of`` name ``argument``, which their value came from."""
    try:
        yield
    except UserError as error:
        if error.argument in instead_of:
            error.argument = argument
        raise


def flag(argument: str) -> str:
    """Return ``--data.path`` for ``data.path``; what is no flag, such as "text 3", stays."""
    return f"--{argument}" if re.fullmatch("[a-z_.]+", argument) else argument


def short_flag(argument: str) -> str:
    """Return ``--path`` for ``data.path``, where flags have no groups."""
    return flag(argument.rpartition(".")[2])


def one_line(error: BaseException) -> str:
    """What an error says, on one line that stays short."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"


def local_path(argument: str, value: str | Path) -> Path:
    """Return ``value`` as a path of this machine, ``~`` expanded.

    Raises:
        UserError: it is an address, such as s3://bucket/run.
    """
    if "://" in str(value):
        raise UserError(argument, repr(str(value)), "a local folder", "give one and copy it later")
    return Path(value).expanduser()


def printable_output() -> None:
    """Let characters that the console cannot show be printed as escapes: no print may end a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class OneLineParser(argparse.ArgumentParser):
    """A parser that prints a mistake as one line."""

    def error(self, message: str) -> NoReturn:
        """Print it and exit with 2."""
        self.exit(2, f"error: {message} (--help lists all)\n")


@contextmanager
def one_line_errors(name_of: Callable[[str], str] = short_flag) -> Iterator[None]:
    """Run a command: a user's mistake is one line on standard error and exit status 2."""
    printable_output()
    logging.basicConfig(format="%(message)s")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except UserError as error:
        print(f"error: {error.line(name_of)}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
