"""The Hub of the tests, asked by the real `huggingface_hub` client.

pytest tests/hub/test_hub_server.py
"""

import hashlib
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    HfApi,
    constants,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub.server import Fault, HubServer

FILES = {
    "config.json": b'{"a": 1}',
    "README.md": "---\nlicense: mit\n---\n# 🍕\n".encode(),
    "model.safetensors": bytes(range(256)) * 400,
    "deep/er/emoji 🍕.txt": "🍕".encode(),
}
REPO = "tester/tiny"
LARGE = f"{REPO}/resolve/main/model.safetensors"
RATE_LIMIT = {"RateLimit": '"api";r=0;t=1'}  # none left; one more second
# huggingface_hub 2.4's lfs.py PUTs with httpx2's `data=`, which httpx2 2.16 wants as `content=`
LFS_PUT = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    return HfApi(endpoint=hub.url, token="hf_good")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds for which the client would have slept between its tries."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def push(api: HfApi, files: dict[str, bytes] = FILES, **more: Any) -> CommitInfo:
    add = [CommitOperationAdd(name, data) for name, data in files.items()]
    return api.create_commit(REPO, add, **{"commit_message": "push", **more})


def read(folder: str) -> dict[str, bytes]:
    """All files below a folder by path."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("kind", ["model", "dataset"])
@pytest.mark.parametrize("mode", ["regular", "lfs"])
def test_a_download_brings_every_file(hub: HubServer, kind: str, mode: str) -> None:
    hub.upload_mode = mode
    hub.add_repo(REPO, FILES, kind)
    assert list(hub.repos) == [f"{kind}s/{REPO}"]
    assert read(snapshot_download(REPO, repo_type=kind)) == FILES


@LFS_PUT
@pytest.mark.parametrize("mode", ["regular", "lfs"])
def test_upload_then_download(
    hub: HubServer, api: HfApi, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    hub.upload_mode = mode
    api.create_repo(REPO)
    repo = hub.repos[f"models/{REPO}"]
    done = push(api)
    assert done.oid == repo.at("main").oid
    assert hub.count("PUT", "/lfs/") == (mode == "lfs")
    rows = {row.path: row for row in api.list_repo_tree(REPO, recursive=True)}
    # `git hash-object` of this content
    assert rows["config.json"].blob_id == "4a036f56bb619924ec4189bd84ed716c766971ae"
    sha256 = hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    lfs = rows["model.safetensors"].lfs
    assert (lfs.sha256 if lfs else "") == (sha256 if mode == "lfs" else "")
    assert push(api).oid == done.oid, "nothing has changed"
    push(api, {"config.json": b"{}"}, commit_message="changed")
    assert repo.messages == ["initial commit", "push", "changed"]
    back = read(snapshot_download(REPO))
    assert back == FILES | {"config.json": b"{}", ".gitattributes": back[".gitattributes"]}


def test_a_file_of_a_branch_and_of_a_commit(hub: HubServer, api: HfApi) -> None:
    repo = hub.add_repo(REPO, FILES)
    first = repo.at("main").oid
    api.create_branch(REPO, branch="dev")
    repo.commit("dev", "newer", {"config.json": b"new"})
    for revision, data in {"main": FILES["config.json"], first: FILES["config.json"]}.items():
        assert Path(hf_hub_download(REPO, "config.json", revision=revision)).read_bytes() == data
    assert Path(hf_hub_download(REPO, "config.json", revision="dev")).read_bytes() == b"new"
    info = api.repo_info(REPO)
    assert (info.sha, info.private) == (first, False)
    assert {sibling.rfilename for sibling in info.siblings} == {*FILES}


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ((REPO, "no 🍕.json"), EntryNotFoundError),
        ((REPO, "config.json", "nowhere"), RevisionNotFoundError),
        (("tester/none", "config.json"), RepositoryNotFoundError),
        (("tester/private", "config.json"), RepositoryNotFoundError),
    ],
)
def test_what_is_missing_has_its_own_error(
    hub: HubServer, words: tuple[str, ...], kind: type[Exception]
) -> None:
    hub.add_repo(REPO, FILES)
    hub.add_repo("tester/private", FILES).private = True
    repo_id, file, *revision = words
    with pytest.raises(kind):
        hf_hub_download(repo_id, file, revision=revision[0] if revision else None)
    assert hf_hub_download("tester/private", "config.json", token="hf_read")


def test_who_asks_and_who_may_write(hub: HubServer, api: HfApi) -> None:
    repo = hub.add_repo(REPO, FILES)
    assert api.whoami()["name"] == "tester"
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api.whoami(token="hf_wrong")
    for token, status in {"hf_wrong": "401", "hf_read": "403"}.items():
        with pytest.raises(HfHubHTTPError, match=status):
            push(api, token=token)
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_repo("somebody/else")
    assert repo.messages == ["initial commit"]


def test_what_exists_is_a_conflict(hub: HubServer, api: HfApi) -> None:
    assert str(api.create_repo(REPO, private=True)) == f"{hub.url}/{REPO}"
    repo = hub.repos[f"models/{REPO}"]
    assert repo.private
    api.create_branch(REPO, branch="dev")
    assert api.create_repo(REPO, exist_ok=True).repo_id == REPO
    api.create_branch(REPO, branch="dev", exist_ok=True)
    for create in (lambda: api.create_repo(REPO), lambda: api.create_branch(REPO, branch="dev")):
        with pytest.raises(HfHubHTTPError, match="409"):
            create()
    parent = repo.at("main").oid
    push(api, {"new.txt": b"1"}, parent_commit=parent)
    with pytest.raises(HfHubHTTPError, match="412"):
        push(api, {"new.txt": b"2"}, parent_commit=parent)
    assert repo.files["new.txt"] == b"1"


# Faults


@pytest.mark.parametrize(
    ("fault", "slept"),
    [
        ({"path_contains": "/preupload/"}, [1]),
        ({"path_contains": "/preupload/", "kind": "cut"}, [1]),
        ({"path_contains": "/preupload/", "status": 429, "headers": RATE_LIMIT}, [2]),
        ({"path_contains": "/preupload/", "kind": "lost"}, [1]),
    ],
    ids=["503", "cut", "429", "lost"],
)
def test_the_client_tries_a_preupload_again(
    hub: HubServer, api: HfApi, waits: list[float], fault: dict[str, Any], slept: list[float]
) -> None:
    repo = hub.add_repo(REPO, {"a": b"b"})
    hub.faults.append(Fault("POST", **fault))
    push(api)
    assert [wait for wait in waits if wait >= 1] == slept
    assert hub.count("POST", "/preupload/") == 2
    assert repo.files == FILES | {"a": b"b"}


@pytest.mark.parametrize(("kind", "commits"), [("status", 1), ("cut", 1), ("lost", 2)])
def test_the_client_sends_a_commit_once(
    hub: HubServer, api: HfApi, kind: str, commits: int
) -> None:
    repo = hub.add_repo(REPO, {"a": b"b"})
    hub.faults.append(Fault("POST", "/commit/", kind=kind))
    with pytest.raises((HfHubHTTPError, httpx2.TransportError)):
        push(api)
    assert hub.count("POST", "/commit/") == 1
    assert len(repo.commits) == commits


@pytest.mark.usefixtures("waits")
def test_a_cut_download_is_resumed(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)  # what came before the cut is kept
    hub.add_repo(REPO, FILES)
    hub.faults.append(Fault("GET", "model.safetensors", kind="cut"))
    path = hf_hub_download(REPO, "model.safetensors")
    assert Path(path).read_bytes() == FILES["model.safetensors"]
    ranges = [r.headers.get("Range") for r in hub.requests if r.method == "GET"]
    assert ranges == [None, f"bytes={len(FILES['model.safetensors']) // 2}-"]


def test_hang_and_slow_take_time(hub: HubServer) -> None:
    hub.add_repo(REPO, FILES)
    size = len(FILES["model.safetensors"])
    hub.faults.append(Fault("GET", kind="hang", seconds=0.2))
    hub.faults.append(Fault("GET", kind="slow", bytes_per_s=4 * size))
    for _ in range(2):
        begin = time.monotonic()
        assert httpx2.get(f"{hub.url}/{LARGE}").content == FILES["model.safetensors"]
        assert 0.2 <= time.monotonic() - begin < 5


def test_a_hanging_request_does_not_hold_the_end(hub: HubServer) -> None:
    hub.faults.append(Fault(kind="hang", seconds=600))
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.get(f"{hub.url}/api/models/{REPO}", timeout=0.1)


def test_stop_for_good(hub: HubServer) -> None:
    hub.faults.append(Fault("GET", "/api/models", kind="stop"))
    for kind in (httpx2.TransportError, httpx2.ConnectError):
        with pytest.raises(kind):
            httpx2.get(f"{hub.url}/api/models/{REPO}")


def test_nothing_is_left_behind() -> None:
    before = set(threading.enumerate())
    with HubServer() as server:
        address = ("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
        idle = socket.create_connection(address)
        httpx2.get(f"{server.url}/api/models/none", trust_env=False)
    with idle:
        assert idle.recv(1) == b""
    assert set(threading.enumerate()) == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_a_bug_of_the_server_or_of_a_test_is_an_error() -> None:
    server = HubServer().__enter__()
    server.repos = None
    assert httpx2.get(f"{server.url}/api/models/none", trust_env=False).status_code == 501
    with pytest.raises(RuntimeError, match="1 bugs"):
        server.__exit__(None, None, None)
    with pytest.raises(ValueError, match="kind is 'explode'"):
        Fault(kind="explode")
