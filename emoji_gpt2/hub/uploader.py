"""Push snapshots in the background: at most one waits, the latest wins, failures are kept.

    uploader = Uploader(send)                          # send(snapshot) makes one commit, or raises
    uploader.submit(Snapshot(folder, "step 400"))      # returns at once
    uploader.close()                                   # waits, and says so
    uploader.failures                                  # ["step 400: 403 Forbidden"]

A snapshot is a folder that nobody else writes; it is deleted when it has been pushed, has failed or
was overtaken by a newer one, unless it is to be kept for a push by hand.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from emoji_gpt2.hub import client
from emoji_gpt2.hub.client import (
    TRIES,
    no_progress_bars,
    reason,
    request_timeouts,
    wait_before_retry,
)

PROGRESS_S = 10.0
"""Seconds between two lines about what is being waited for."""
Stamp = tuple[int, int]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """Files to push.

    Args:
        folder: Holds nothing else.
        title: What they are, such as "step 400".
        stamps: Of the checkpoints among them, by name: what changes whenever one is written anew.
        keep: Whether the folder stays when the push fails, for want of another copy.
    """

    folder: Path
    title: str
    stamps: dict[str, Stamp] = field(default_factory=dict)
    keep: bool = False

    def delete(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Uploader:
    """One thread that pushes what it is given, latest first.

    Args:
        send: Pushes a snapshot; raises if it cannot.
        min_interval: Seconds between the ends of a push and the start of the next, but at the end.

    Attributes:
        pushed: How many pushes went well.
        failures: Why each of the others did not.
        delivered: Stamps of the checkpoints that were pushed, by name.
    """

    def __init__(self, send: Callable[[Snapshot], None], min_interval: float = 0.0) -> None:
        self.pushed = 0
        self.failures: list[str] = []
        self.delivered: dict[str, Stamp] = {}
        self._send = send
        self._min_interval = min_interval
        self._not_before = 0.0
        self._changed = threading.Condition()
        self._waiting: Snapshot | None = None
        self._closing = self._abandoned = False
        self._status = "starting"
        self._thread = threading.Thread(target=self._work, name="push-to-hub", daemon=True)
        self._thread.start()

    def submit(self, snapshot: Snapshot) -> None:
        """Let a snapshot wait for its turn; one that waits already is skipped."""
        with self._changed:
            skipped, self._waiting = self._waiting, snapshot
            self._changed.notify_all()
        if skipped:
            self._skip(skipped, snapshot)

    def fail(self, title: str, error: BaseException) -> None:
        """Remember and say that something could not be pushed."""
        self.failures.append(f"{title}: {reason(error)}")
        log.warning("Not pushed to the Hub: %s", self.failures[-1])

    def close(self, at_most: float | None = None) -> bool:
        """Push what waits, and wait for it.

        Args:
            at_most: Seconds to wait; None waits until all is pushed or has failed.

        Returns:
            Whether all is done; what is not counts as failed.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        start = time.monotonic()
        while self._thread.is_alive():
            waited = time.monotonic() - start
            if at_most is not None and waited >= at_most:
                return self._abandon(waited)
            left = PROGRESS_S if at_most is None else min(PROGRESS_S, at_most - waited)
            self._thread.join(left)
            if self._thread.is_alive():
                log.info("Waiting for the push to the Hub: %.0f s, %s", waited + left, self._status)
        return True

    def _abandon(self, waited: float) -> bool:
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()
        self.fail(self._status, TimeoutError(f"given up after {waited:.0f} s"))
        return False

    def _work(self) -> None:
        with request_timeouts(client.REQUEST_TIMEOUT_S), no_progress_bars():
            while snapshot := self._next():
                self._push(snapshot)
                self._not_before = time.monotonic() + self._min_interval

    def _next(self) -> Snapshot | None:
        """Wait for a snapshot's turn; None is the end."""
        with self._changed:
            while not self._closing and not self._is_due():
                left = self._not_before - time.monotonic()
                self._changed.wait(left if self._waiting else None)
            taken, self._waiting = self._waiting, None
            return None if self._abandoned else taken

    def _is_due(self) -> bool:
        return self._waiting is not None and time.monotonic() >= self._not_before

    def _push(self, snapshot: Snapshot) -> None:
        """Try until it is pushed, is hopeless, or was tried often enough.

        A newer snapshot that takes over has all its tries; only waits go on growing.
        """
        tries = failed = 0
        while True:
            tries += 1
            self._status = f"{snapshot.title}, try {tries}"
            try:
                self._send(snapshot)
            except Exception as error:  # noqa: BLE001 - training must not die of it
                failed += 1
                wait = wait_before_retry(error, min(failed, TRIES))
                if wait is None or tries == TRIES or self._abandoned:
                    self.fail(snapshot.title, error)
                    break
                log.warning("Push of %s: %s; again in %.0f s", snapshot.title, reason(error), wait)
                newer = self._newer(snapshot, wait)
                snapshot, tries = (newer, 0) if newer else (snapshot, tries)
            else:
                self.pushed += 1
                self.delivered |= snapshot.stamps
                snapshot.delete()
                return
        if not snapshot.keep:
            snapshot.delete()

    def _newer(self, snapshot: Snapshot, wait: float) -> Snapshot | None:
        """Wait, and return the snapshot that has come by then, which takes this one's place."""
        self._status = f"{snapshot.title}, which waits {wait:.0f} s for another try"
        with self._changed:
            self._changed.wait_for(lambda: self._abandoned, wait)
            newer, self._waiting = self._waiting, None
        if newer:
            self._skip(snapshot, newer)
        return newer

    def _skip(self, skipped: Snapshot, newer: Snapshot) -> None:
        log.info("Push of %s skipped: %s is newer", skipped.title, newer.title)
        skipped.delete()
