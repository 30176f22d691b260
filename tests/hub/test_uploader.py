"""The thread that pushes, and what it does when the Hub does not do as it should."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import get_session

from emoji_gpt2.errors import UserError
from emoji_gpt2.files import checkpoint_from_hub
from emoji_gpt2.hub import client as hub_client
from emoji_gpt2.hub import uploader as uploads
from emoji_gpt2.hub.client import (
    check_access,
    commit_files,
    files_of,
    wait_before_retry,
    with_retries,
)
from emoji_gpt2.hub.uploader import Snapshot, Uploader
from tests.hub.server import Fault, HubServer

REPO = "tester/emoji"
# huggingface_hub 2.4's lfs.py PUTs with httpx2's `data=`, which httpx2 2.16 wants as `content=`
LFS_PUT = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_client, "FIRST_WAIT_S", 0.02)


@pytest.fixture
def token(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_good")


@pytest.fixture
def new(tmp_path: Path) -> Callable[..., Snapshot]:
    def make(title: str) -> Snapshot:
        folder = tmp_path / "aside" / title
        folder.mkdir(parents=True)
        (folder / "file.txt").write_text(title, encoding="utf-8")
        return Snapshot(folder, title)

    return make


class Gate:
    """A ``send`` that waits at its first snapshot until it is told to go on."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.times: list[float] = []
        self.began, self.go_on = threading.Event(), threading.Event()

    def __call__(self, snapshot: Snapshot) -> None:
        self.sent.append(snapshot.title)
        self.times.append(time.monotonic())
        assert (snapshot.folder / "file.txt").read_text(encoding="utf-8") == snapshot.title
        self.began.set()
        assert self.go_on.wait(10)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.go_on.set()


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# What waits


def test_the_latest_wins_and_the_rest_is_skipped_aloud(
    gate: Gate, new: Callable[..., Snapshot], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    uploader = Uploader(gate)
    uploader.submit(new("one"))
    assert gate.began.wait(5)
    for title in ("two", "three", "four"):
        uploader.submit(new(title))  # returns at once: the first is still being sent
    gate.go_on.set()
    uploader.close(9)
    assert gate.sent == ["one", "four"]
    assert (uploader.pushed, uploader.failures) == (2, [])
    for title in ("two", "three"):
        assert f"Push of {title} skipped" in caplog.text
    assert not list((tmp_path / "aside").iterdir()), "snapshots stay behind"


def test_min_interval_holds_until_the_end(gate: Gate, new: Callable[..., Snapshot]) -> None:
    gate.go_on.set()
    uploader = Uploader(gate, min_interval=1.0)
    for number, title in enumerate(("one", "two", "three"), start=1):
        uploader.submit(new(title))
        if number < 3:
            wait_until(lambda number=number: len(gate.sent) == number)
    start = time.monotonic()
    uploader.close(9)
    assert gate.sent == ["one", "two", "three"]
    assert gate.times[1] - gate.times[0] >= 1
    assert time.monotonic() - start < 0.9, "the end does not wait for the interval"


def test_close_waits_no_longer_than_it_may(
    gate: Gate,
    new: Callable[..., Snapshot],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(uploads, "QUIET_S", 0.1)
    uploader = Uploader(gate)
    uploader.submit(new("one"))
    start = time.monotonic()
    uploader.close(at_most=0.35)
    assert 0.3 < time.monotonic() - start < 2
    assert uploader.failures == ["one: given up after 0 s"]
    assert "Waiting for the push to the Hub: one" in caplog.text


def test_a_newer_snapshot_takes_over_from_one_that_fails(
    new: Callable[..., Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_client, "FIRST_WAIT_S", 1.0)
    sent: list[str] = []

    def send(snapshot: Snapshot) -> None:
        sent.append(snapshot.title)
        if snapshot.title == "old":
            raise RuntimeError("xet says no")

    uploader = Uploader(send)
    uploader.submit(new("old"))
    wait_until(lambda: sent)
    uploader.submit(new("new"))
    uploader.close(9)
    assert sent == ["old", "new"]
    assert (uploader.pushed, uploader.failures) == (1, [])


def test_failures_are_kept_and_the_next_snapshot_is_tried(
    new: Callable[..., Snapshot], tmp_path: Path
) -> None:
    def send(snapshot: Snapshot) -> None:
        if snapshot.title != "good":
            raise FileNotFoundError("gone")

    uploader = Uploader(send)
    uploader.submit(new("bad"))
    wait_until(lambda: uploader.failures)
    uploader.submit(new("good"))
    wait_until(lambda: uploader.pushed)
    uploader.submit(new("last"))
    uploader.close(9)
    assert uploader.failures == ["bad: gone", "last: gone"]
    assert uploader.pushed == 1
    assert not list((tmp_path / "aside").iterdir())


# A Hub with faults

PASSING: dict[str, dict[str, Any]] = {
    "429 with the Hub's header": {"status": 429, "headers": {"RateLimit": '"api";r=0;t=1'}},
    "429 with Retry-After": {"status": 429, "headers": {"Retry-After": "2"}},
    "503": {"status": 503},
    "cut in the middle": {"kind": "cut"},
    "done, but the reply is lost": {"kind": "lost"},
    "no answer": {"kind": "hang", "seconds": 1.5},
}


def push_one(new: Callable[..., Snapshot]) -> Uploader:
    uploader = Uploader(_send)
    uploader.submit(new("one"))
    uploader.close(9)
    return uploader


def _send(snapshot: Snapshot) -> None:
    commit_files(files_of(snapshot.folder), REPO, message=snapshot.title)


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_tried_again(
    hub: HubServer,
    token: None,
    new: Callable[..., Snapshot],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_client, "REQUEST_TIMEOUT_S", 0.5)
    repo = hub.add_repo(REPO, {})
    fault = Fault("POST", "/commit/", **PASSING[name])
    hub.faults.append(fault)
    start = time.monotonic()
    uploader = push_one(new)
    assert fault.times == 0, "the fault did not strike"
    assert (uploader.pushed, uploader.failures) == (1, [])
    assert repo.files == {"file.txt": b"one"}
    asked = 2 if fault.headers else 0
    assert time.monotonic() - start >= asked, "the server asked for more patience"
    if fault.kind != "hang":  # whose first request is answered, too late
        assert repo.messages == ["initial commit", "one"]


@pytest.mark.parametrize(("status", "tries"), [(401, 1), (403, 1), (404, 1), (500, 5)])
def test_what_lasts_is_a_failure(
    hub: HubServer, token: None, new: Callable[..., Snapshot], status: int, tries: int
) -> None:
    hub.add_repo(REPO, {})
    hub.faults.append(Fault("POST", "/commit/", status=status, times=None))
    (failure,) = push_one(new).failures
    assert str(status) in failure
    assert hub.count("POST", "/commit/") == tries


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (RuntimeError("hf_xet"), 0.08),
        (ConnectionResetError(), 0.08),
        (ValueError("no valid README"), None),
        (OfflineModeIsEnabled(), None),
        (FileNotFoundError(), None),
    ],
)
def test_waits_grow(error: Exception, wait: float | None) -> None:
    assert wait_before_retry(error, 3) == (wait and pytest.approx(wait))


@LFS_PUT
def test_large_files_go_by_lfs_in_one_commit(
    hub: HubServer, token: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    hub.upload_mode = "lfs"
    repo = hub.add_repo(REPO, {})
    names = ["model.safetensors", "last.ckpt", "config.json"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode() + b"\0")
    hub.faults.append(Fault("PUT", "/lfs/", kind="cut"))
    with_retries(lambda: commit_files(files_of(tmp_path), REPO))
    assert repo.files == {name: name.encode() + b"\0" for name in names}
    assert len(repo.messages) == 2
    assert hub.count("PUT", "/lfs/") >= 3


@pytest.mark.parametrize(("users", "used"), [(None, 60.0), (5.0, 5.0)])
def test_a_request_has_a_timeout_and_the_users_own_is_kept(
    hub: HubServer, token: None, users: float | None, used: float
) -> None:
    session = get_session()
    session.timeout = users
    check_access(REPO)
    assert get_session() is session, "other threads use it"
    assert session.timeout.read == used


# Who may write


@pytest.mark.parametrize(
    ("token", "repo_id", "said"),
    [
        (None, REPO, "Token is required"),
        ("hf_wrong", REPO, "Invalid user token"),
        ("hf_read", REPO, "may only read"),
        ("hf_good", "other/there", "403"),
        ("hf_elsewhere", "tester/there", "403"),  # it says nothing of its rights when asked
        ("hf_good", "a/b/c", "'a/b/c'"),
    ],
)
def test_who_may_not_write_is_told_so_in_one_line(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, token: str | None, repo_id: str, said: str
) -> None:
    hub.add_repo("tester/there", {})
    hub.add_repo("other/there", {})
    hub.tokens["hf_elsewhere"] = ("tester", "fineGrained")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UserError) as caught:
        check_access(repo_id)
    line = str(caught.value)
    assert line.startswith(f"repo_id: got {repo_id!r}, wanted a repository")
    assert said in line
    assert "\n" not in line
    assert "hf auth login" in line
    assert len(hub.repos) == 2, "made in spite of it"


def test_access_makes_the_repository_and_its_branch(hub: HubServer, token: None) -> None:
    assert check_access("emoji", private=True, revision="run/1") == REPO
    repo = hub.repos[f"models/{REPO}"]
    assert repo.private
    assert {*repo.branches} == {"main", "run/1"}
    assert len(repo.commits) == 1, "the proof is no commit"
    assert check_access(REPO, revision="run/1") == REPO


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"status": 503, "times": 2}, ""),
        ({"status": 429, "headers": {"Retry-After": "86400"}}, "429"),
        ({"kind": "hang", "times": None}, "timed out"),
    ],
    ids=["away for a moment", "wants a day's patience", "no answer"],
)
def test_a_hub_that_does_not_answer_at_once(
    hub: HubServer, token: None, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr(hub_client, "REQUEST_TIMEOUT_S", 0.2)
    hub.faults.append(Fault("GET", "whoami", **fault))
    start = time.monotonic()
    with pytest.raises(UserError, match=said) if said else nullcontext():
        assert check_access(REPO) == REPO
    assert time.monotonic() - start < 5


# A checkpoint from the Hub


def test_a_checkpoint_is_downloaded(hub: HubServer) -> None:
    repo = hub.add_repo("tester/run", {"sub/last.ckpt": b"main"})
    repo.branches["dev"] = repo.branches["main"]
    repo.commit("dev", "more", {"sub/last.ckpt": b"dev"})
    hub.faults += [Fault("HEAD", "/resolve/", status=503), Fault("GET", "/resolve/", kind="cut")]
    assert Path(checkpoint_from_hub("hf://tester/run/sub/last.ckpt")).read_bytes() == b"main"
    assert Path(checkpoint_from_hub("hf://tester/run@dev/sub/last.ckpt")).read_bytes() == b"dev"
