"""Real processes of the command line that begin at once.

    process = Forked(["emoji_gpt2.fit", *flags], tmp_path, LOCAL_RANK="1")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)

Each is forked from one process that has imported everything, which takes a new interpreter 5 s, and
then does what ``python -m`` does, with environment, signals and output of its own. Lightning's
``ddp`` starts new interpreters from it. The uses of ``tests/invariant`` are forked from the same.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unittest import mock

from tests.invariant.uses.processes import PRELOAD

ALONE = {
    "GLOO_SOCKET_IFNAME": "lo",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(Path(__file__).parents[2]),
    "TOKENIZERS_PARALLELISM": "false",
}


class Forked:
    """``python -m`` these words, or a script with its flags, used like a ``subprocess.Popen``.

    Args:
        words: The module, or the script's path, and its flags.
        home: Where it runs.
        before: Called in it first.
        variables: Of its environment, besides this process's.
    """

    def __init__(
        self,
        words: list[str],
        home: Path,
        before: Callable[[], object] | None = None,
        **variables: str,
    ) -> None:
        self.outputs = [Path(tempfile.mkstemp(dir=home, prefix=".output-")[1]) for _ in range(2)]
        multiprocessing.set_forkserver_preload(PRELOAD)
        arguments = (words, home, self.outputs, before, os.environ | ALONE | variables)
        context = multiprocessing.get_context("forkserver")
        self._process = context.Process(target=_run, args=arguments)
        with mock.patch.dict(os.environ, ALONE):  # the process that others are forked from
            self._process.start()
        assert self._process.pid
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """The exit status; None as long as it runs."""
        return self._process.exitcode

    returncode = property(poll)

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it, and those that it has started."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has just ended
                os.killpg(self.pid, signal.SIGKILL)
            self._process.join()

    terminate = kill

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Wait until it ends, and return what it printed; kill it if it does not end."""
        self._process.join(timeout)
        if self.poll() is None:
            self.kill()
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        out, err = (path.read_text(encoding="utf-8") for path in self.outputs)
        return out, err


def _run(
    words: list[str],
    home: Path,
    outputs: list[Path],
    before: Callable[[], object] | None,
    environment: dict[str, str],
) -> None:
    os.setsid()
    os.chdir(home)
    os.environ.clear()
    os.environ.update(environment)
    multiprocessing.set_start_method("fork", force=True)  # as if nobody had forked this one
    for number, path in enumerate(outputs, start=1):
        with path.open("ab") as file:
            os.dup2(file.fileno(), number)
    if before:
        before()
    sys.argv = words
    if words[0].endswith(".py"):
        runpy.run_path(words[0], run_name="__main__")
    else:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
