"""Push snapshots in the background: at most one waits, the newest wins, failures are kept.

    uploader = Uploader(send)                          # send(snapshot) makes one commit, or raises
    uploader.submit(Snapshot(folder, "step 400"))      # returns at once
    uploader.close(at_most=60)                         # waits for the pushes
    uploader.failures                                  # ["step 400: 403 Forbidden"]

A snapshot is a folder that nobody else writes. It is deleted after its push, whether that went well
or not, and when a newer one takes its place.
"""

import logging
import queue
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined] # public

from emoji_gpt2.hub.client import reason, with_retries

QUIET_S = 5.0
"""Seconds after which a line says that a push is waited for."""
log = logging.getLogger(__name__)


class Snapshot(NamedTuple):
    """Files to push: a folder that holds nothing else, and the commit's message."""

    folder: Path
    title: str


class _OvertakenError(Exception):
    """A newer snapshot waits, or nobody waits any more."""


class Uploader:
    """One background thread that pushes what it is given.

    It is a daemon, unlike a ThreadPoolExecutor's, so that a push that hangs does not keep a
    finished process alive.

    Args:
        send: Pushes a snapshot; raises if it cannot.
        min_interval: Seconds between the end of a push and the start of the next; ``close`` ends
            the wait.

    Attributes:
        pushed: How many pushes succeeded.
        failures: For each push that failed, its title and why.
    """

    def __init__(self, send: Callable[[Snapshot], None], min_interval: float = 0.0) -> None:
        self.pushed = 0
        self.failures: list[str] = []
        self._send = send
        self._min_interval = min_interval
        self._queue: queue.Queue[Snapshot | None] = queue.Queue()
        self._newest: Snapshot | None = None
        self._status = "starting"
        self._closing, self._abandoned = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="push-to-hub", daemon=True)
        self._thread.start()

    def submit(self, snapshot: Snapshot) -> None:
        """Queue a snapshot; it takes the place of one that waits."""
        self._newest = snapshot
        with suppress(queue.Empty):
            if waiting := self._queue.get_nowait():
                self._skip(waiting)
        self._queue.put(snapshot)

    def fail(self, title: str, error: BaseException) -> None:
        """Keep and log that something could not be pushed."""
        self.failures.append(f"{title}: {reason(error)}")
        log.warning("Not pushed to the Hub: %s", self.failures[-1])

    def close(self, at_most: float) -> None:
        """Push what waits; what is not pushed within ``at_most`` seconds has failed."""
        self._queue.put(None)
        self._closing.set()
        self._thread.join(min(at_most, QUIET_S))
        if self._thread.is_alive():
            log.info("Waiting for the push to the Hub: %s", self._status)
        self._thread.join(max(0, at_most - QUIET_S))
        if self._thread.is_alive():
            self._abandoned.set()
            self.fail(self._status, TimeoutError(f"given up after {at_most:.0f} s"))

    def _work(self) -> None:
        if constants.HF_HUB_DISABLE_PROGRESS_BARS is None:  # they would disturb training's
            disable_progress_bars()
        while not self._abandoned.is_set() and (snapshot := self._queue.get()):
            self._push(snapshot)
            self._closing.wait(self._min_interval)

    def _push(self, snapshot: Snapshot) -> None:
        def pause(seconds: float, why: str) -> None:
            log.warning("Push of %s: %s; again in %.0f s", snapshot.title, why, seconds)
            self._abandoned.wait(seconds)
            if self._newest is not snapshot or self._abandoned.is_set():
                raise _OvertakenError

        self._status = snapshot.title
        try:
            with_retries(lambda: self._send(snapshot), pause=pause)
            self.pushed += 1
        except _OvertakenError:
            self._skip(snapshot)
        except Exception as error:  # noqa: BLE001 - training must not die of it
            self.fail(snapshot.title, error)
        shutil.rmtree(snapshot.folder, ignore_errors=True)

    def _skip(self, snapshot: Snapshot) -> None:
        log.info("Push of %s skipped: a newer one waits", snapshot.title)
        shutil.rmtree(snapshot.folder, ignore_errors=True)
