"""Mistakes that only the user can mend; a command line prints them as one line and exits with 2.

A message names the argument, the value got, the value wanted and the remedy, in one line::

    raise UserError("--data.text_column: got 'txt', wanted emoji or name; give a column")
"""

import argparse
import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn


class UserError(ValueError):
    """Something a user gave cannot be used; ``str(error)`` is the one line to show."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that a user named is not there."""

    def __str__(self) -> str:
        """Return the message alone: OSError would print an errno in front."""
        return str(self.args[0])


def check(argument: str, got: object, *, fine: bool, wanted: str) -> None:
    """Raise a ``UserError`` that names the argument and both values, unless ``fine``."""
    if not fine:
        raise UserError(f"{argument}: got {got!r}, wanted {wanted}; correct it")


def refused(got: str, wanted: str, remedy: str, argument: str = "--data.path") -> UserError:
    """The one line that every refusal of a source is made of."""
    return UserError(f"{argument}: got {got}, wanted {wanted}; {remedy}")


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
        raise UserError(
            f"{argument}: got {str(value)!r}, wanted a local folder; give one and copy it later"
        )
    return Path(value).expanduser()


def printable_output() -> None:
    """Let characters that the console cannot show be printed as escapes: no print may end a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class OneLineParser(argparse.ArgumentParser):
    """A parser that prints a mistake as one line."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        self.exit(2, f"error: {message} (--help lists all)\n")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Run a command: a user's mistake is one line on standard error and exit status 2."""
    printable_output()
    logging.basicConfig(format="%(message)s")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except (UserError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
