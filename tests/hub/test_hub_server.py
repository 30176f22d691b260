"""The Hub of the tests, asked by the real `huggingface_hub` client.

pytest tests/hub/test_hub_server.py
"""
# ruff: noqa: F811 -- a fixture is used by naming it as an argument, after importing it

import hashlib
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    HfFileSystem,
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
    upload_folder,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub.server import Fault, HubServer, hub  # noqa: F401 -- a fixture

FILES = {
    "config.json": b'{"a": 1}',
    "README.md": "---\nlicense: mit\n---\n# 🍕\n".encode(),
    "model.safetensors": bytes(range(256)) * 400,
    "deep/er/emoji 🍕.txt": "🍕".encode(),
}
REPO = "tester/tiny"
RATE_LIMIT = {"RateLimit": '"api";r=0;t=1'}  # none left; one more second


# huggingface_hub 2.4's lfs.py PUTs with httpx2's `data=`, which httpx2 2.16 wants as `content=`
LFS_PUT = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    return HfApi(endpoint=hub.url, token="hf_good")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "folder", FILES)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds for which the client would have slept between its tries."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def read(folder: str | Path) -> dict[str, bytes]:
    """All files below a folder by path."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def run_python(code: str, env: dict[str, str]) -> str:
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", code]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("page_size", [1, 1000])
def test_snapshot_download_brings_every_file(hub: HubServer, page_size: int) -> None:
    hub.page_size = page_size
    hub.add_repo(REPO, FILES)
    assert read(snapshot_download(REPO, endpoint=hub.url)) == FILES


def test_the_client_needs_no_endpoint(hub: HubServer, folder: Path) -> None:
    hub.add_repo(REPO, {"a": b"b"})
    upload_folder(repo_id=REPO, folder_path=folder, token="hf_good")
    assert read(snapshot_download(REPO)) == FILES | {"a": b"b"}
    assert Path(hf_hub_download(REPO, "config.json")).read_bytes() == FILES["config.json"]
    assert HfFileSystem(skip_instance_cache=True).read_bytes(f"{REPO}/a") == b"b"


def test_a_folder_becomes_a_repository(hub: HubServer, folder: Path) -> None:
    assert hub.add_repo(REPO, folder).files == FILES


def test_one_file_at_a_branch_a_tag_and_a_commit(hub: HubServer, api: HfApi) -> None:
    repo = hub.add_repo(REPO, FILES)
    first = repo.at("main").oid
    api.create_tag(REPO, tag="v1")
    api.create_branch(REPO, branch="dev", revision=first)
    repo.commit("dev", "newer", {"config.json": b"new"})
    wanted = {"main": FILES["config.json"], "v1": FILES["config.json"], "dev": b"new"}
    wanted[first] = FILES["config.json"]
    for revision, data in wanted.items():
        path = hf_hub_download(REPO, "config.json", revision=revision, endpoint=hub.url)
        assert Path(path).read_bytes() == data
    refs = api.list_repo_refs(REPO)
    assert {ref.name: ref.target_commit for ref in refs.tags} == {"v1": first}
    assert [ref.name for ref in refs.branches] == ["main", "dev"]
    titles = [commit.title for commit in api.list_repo_commits(REPO, revision="dev")]
    assert titles == ["newer", "initial commit"]


def test_existing_branches_and_tags_are_conflicts(hub: HubServer, api: HfApi) -> None:
    hub.add_repo(REPO, FILES)
    for create in (
        lambda **more: api.create_branch(REPO, branch="dev", **more),
        lambda **more: api.create_tag(REPO, tag="v1", **more),
    ):
        create()
        create(exist_ok=True)
        with pytest.raises(HfHubHTTPError, match="409"):
            create()


def test_dataset_file(hub: HubServer) -> None:
    hub.add_repo("tester/emoji", {"emoji_df.csv": "name,emoji\npizza,🍕\n".encode()}, "dataset")
    path = hf_hub_download("tester/emoji", "emoji_df.csv", repo_type="dataset", endpoint=hub.url)
    assert "🍕" in Path(path).read_text(encoding="utf-8")
    assert list(hub.repos) == ["datasets/tester/emoji"]


def test_a_repository_without_a_namespace(hub: HubServer, api: HfApi) -> None:
    hub.add_repo("gpt2", FILES)
    assert Path(hf_hub_download("gpt2", "config.json", endpoint=hub.url)).exists()
    assert api.repo_info("gpt2").id == "gpt2"


def test_what_is_missing_has_its_own_error(hub: HubServer) -> None:
    hub.add_repo(REPO, FILES)
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(REPO, "no 🍕.json", endpoint=hub.url)
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(REPO, "config.json", revision="nowhere", endpoint=hub.url)
    for token in (None, "hf_good"):
        with pytest.raises(RepositoryNotFoundError):
            hf_hub_download("tester/none", "config.json", endpoint=hub.url, token=token)


def test_private_and_gated_repositories(hub: HubServer) -> None:
    repo = hub.add_repo(REPO, FILES)
    repo.private = True
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download(REPO, "config.json", endpoint=hub.url)
    assert hf_hub_download(REPO, "config.json", endpoint=hub.url, token="hf_read")
    repo.private, repo.gated = False, True
    with pytest.raises(GatedRepoError):
        hf_hub_download(REPO, "README.md", endpoint=hub.url)


def test_info_and_tree(hub: HubServer, api: HfApi) -> None:
    repo = hub.add_repo(REPO, FILES)
    info = api.repo_info(REPO)
    assert (info.sha, info.private) == (repo.at("main").oid, False)
    assert {sibling.rfilename for sibling in info.siblings} == set(FILES)
    top = [row.path for row in api.list_repo_tree(REPO, expand=True)]
    assert top == ["deep", "README.md", "config.json", "model.safetensors"]
    below = api.list_repo_tree(REPO, "deep", recursive=True, revision=info.sha)
    assert [row.path for row in below] == ["deep/er", "deep/er/emoji 🍕.txt"]
    (row,) = api.get_paths_info(REPO, ["config.json", "none"])
    # `git hash-object` of this content
    assert (row.size, row.blob_id) == (8, "4a036f56bb619924ec4189bd84ed716c766971ae")


def test_whoami(hub: HubServer, api: HfApi) -> None:
    assert api.whoami()["name"] == "tester"
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api.whoami(token="hf_wrong")


def test_create_repo_once(hub: HubServer, api: HfApi) -> None:
    assert str(api.create_repo(REPO, private=True)) == f"{hub.url}/{REPO}"
    assert hub.repos[f"models/{REPO}"].private
    assert api.create_repo(REPO, exist_ok=True).repo_id == REPO
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo(REPO)
    assert api.create_repo("tester/rows", repo_type="dataset").repo_type == "dataset"


@LFS_PUT
@pytest.mark.parametrize("way", ["pipeline", "one commit", "lfs"])
def test_upload_then_download(
    hub: HubServer, api: HfApi, folder: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The client's default way, the one without Xet, and the latter by LFS."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", way != "pipeline")
    hub.upload_mode = "lfs" if way == "lfs" else "regular"
    api.create_repo(REPO)
    repo = hub.repos[f"models/{REPO}"]
    done = api.upload_folder(repo_id=REPO, folder_path=folder, commit_message="push")
    assert done.oid == repo.at("main").oid
    assert repo.messages == ["initial commit", "push"]
    assert hub.count("PUT", "/lfs/") == (way == "lfs")
    back = read(snapshot_download(REPO, endpoint=hub.url))
    assert {name: data for name, data in back.items() if name != ".gitattributes"} == FILES

    again = api.upload_folder(repo_id=REPO, folder_path=folder, commit_message="again")
    assert again.oid == done.oid
    assert repo.messages == ["initial commit", "push"]
    (folder / "config.json").write_bytes(b"{}")
    api.upload_folder(repo_id=REPO, folder_path=folder, commit_message="changed")
    assert repo.messages == ["initial commit", "push", "changed"]
    assert repo.files["config.json"] == b"{}"


def test_an_lfs_file_is_listed_as_one(hub: HubServer, api: HfApi) -> None:
    hub.upload_mode = "lfs"
    hub.add_repo(REPO, FILES)
    rows = {row.rfilename: row for row in api.list_repo_tree(REPO) if hasattr(row, "size")}
    assert rows["model.safetensors"].lfs.size == len(FILES["model.safetensors"])
    assert rows["config.json"].lfs is None
    etag = get_hf_file_metadata(hf_hub_url(REPO, "model.safetensors")).etag
    assert etag == rows["model.safetensors"].lfs.sha256
    assert etag == hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    assert read(snapshot_download(REPO, endpoint=hub.url)) == FILES


def test_deletions(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    repo = hub.add_repo(REPO, FILES | {"old/1.txt": b"1", "old/2.txt": b"2"})
    gone = [CommitOperationDelete("config.json"), CommitOperationDelete("deep/", is_folder=True)]
    api.create_commit(REPO, gone, commit_message="less")
    assert sorted(repo.files) == ["README.md", "model.safetensors", "old/1.txt", "old/2.txt"]
    new = write(tmp_path / "new", {"new.txt": b"3"})
    api.upload_folder(repo_id=REPO, folder_path=new, delete_patterns="old/*")
    assert sorted(repo.files) == ["README.md", "model.safetensors", "new.txt"]


def test_a_stale_parent_is_refused(hub: HubServer, api: HfApi) -> None:
    repo = hub.add_repo(REPO, FILES)
    parent, add = repo.at("main").oid, [CommitOperationAdd("new.txt", b"1")]
    api.create_commit(REPO, add, commit_message="1", parent_commit=parent)
    add = [CommitOperationAdd("new.txt", b"2")]
    with pytest.raises(HfHubHTTPError, match="412"):
        api.create_commit(REPO, add, commit_message="2", parent_commit=parent)
    assert repo.files["new.txt"] == b"1"


def test_who_may_not_write(hub: HubServer, api: HfApi, folder: Path) -> None:
    repo = hub.add_repo(REPO, FILES)
    for token, status in {"hf_wrong": "401", "hf_read": "403"}.items():
        with pytest.raises(HfHubHTTPError, match=status):
            api.upload_folder(repo_id=REPO, folder_path=folder, token=token)
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_repo("somebody/else")
    assert repo.messages == ["initial commit"]


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        ({"path_contains": "/preupload/"}, 1),
        ({"path_contains": "/commit/"}, 1),
        ({"path_contains": "/commit/", "kind": "cut"}, 1),
        ({"path_contains": "/preupload/", "status": 429, "headers": RATE_LIMIT}, 2),
    ],
    ids=["503 preupload", "503 commit", "cut commit", "429 preupload"],
)
def test_the_client_tries_again(
    hub: HubServer, folder: Path, waits: list[float], fault: dict[str, object], seconds: float
) -> None:
    api = HfApi(endpoint=hub.url, token="hf_good")
    repo = hub.add_repo(REPO, {"a": b"b"})
    hub.faults.append(Fault("POST", **fault))
    api.upload_folder(repo_id=REPO, folder_path=folder)
    assert [wait for wait in waits if wait >= 1] == [seconds]
    assert hub.count("POST", fault["path_contains"]) == 2
    assert repo.files == FILES | {"a": b"b"}


def test_a_lost_reply_makes_a_second_commit(
    hub: HubServer, api: HfApi, folder: Path, waits: list[float]
) -> None:
    repo = hub.add_repo(REPO, {"a": b"b"})
    hub.faults.append(Fault("POST", "/commit/", kind="lost"))
    api.upload_folder(repo_id=REPO, folder_path=folder, commit_message="push")
    assert repo.messages == ["initial commit", "push", "push"]
    assert waits


def test_a_fault_that_stays(hub: HubServer, api: HfApi, waits: list[float]) -> None:
    hub.add_repo(REPO, {"a": b"b"})
    hub.faults.append(Fault("POST", "/preupload/", times=None, after=1))
    add = [CommitOperationAdd("new.txt", b"1")]
    api.create_commit(REPO, add, commit_message="well")
    add = [CommitOperationAdd("new.txt", b"2")]
    with pytest.raises(HfHubHTTPError, match="503"):
        api.create_commit(REPO, add, commit_message="not")
    assert len(waits) == 5


@LFS_PUT
@pytest.mark.usefixtures("waits")
def test_a_cut_lfs_upload_is_sent_again(
    hub: HubServer, api: HfApi, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    hub.upload_mode = "lfs"
    repo = hub.add_repo(REPO, {"a": b"b"})
    hub.faults.append(Fault("PUT", "/lfs/", kind="cut"))
    api.upload_folder(repo_id=REPO, folder_path=folder)
    assert hub.count("PUT", "/lfs/") == 2
    assert repo.files["model.safetensors"] == FILES["model.safetensors"]


@pytest.mark.usefixtures("waits")
def test_a_cut_download_is_resumed(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)  # what came before the cut is kept
    hub.add_repo(REPO, FILES)
    hub.faults.append(Fault("GET", "model.safetensors", kind="cut"))
    path = hf_hub_download(REPO, "model.safetensors", endpoint=hub.url)
    assert Path(path).read_bytes() == FILES["model.safetensors"]
    ranges = [r.headers.get("Range") for r in hub.requests if r.method == "GET"]
    assert ranges == [None, f"bytes={len(FILES['model.safetensors']) // 2}-"]


def test_a_range_outside_of_the_file(hub: HubServer) -> None:
    hub.add_repo(REPO, {"a": b"0123456789"})

    def get(span: str) -> httpx2.Response:
        headers = {"Range": span}
        return httpx2.get(f"{hub.url}/{REPO}/resolve/main/a", headers=headers)

    assert (get("bytes=2-4").status_code, get("bytes=2-4").content) == (206, b"234")
    assert get("bytes=-3").content == b"789"
    assert get("bytes=10-").status_code == 416


def test_hang_and_slow_take_time(hub: HubServer) -> None:
    hub.add_repo(REPO, FILES)
    url = f"{hub.url}/{REPO}/resolve/main/model.safetensors"
    hub.faults.append(Fault("GET", kind="hang", seconds=0.2))
    begin = time.monotonic()
    httpx2.get(url)
    assert time.monotonic() - begin >= 0.2
    size = len(FILES["model.safetensors"])
    hub.faults.append(Fault("GET", kind="slow", bytes_per_s=4 * size))
    begin = time.monotonic()
    assert httpx2.get(url).content == FILES["model.safetensors"]
    assert 0.2 <= time.monotonic() - begin < 5


def test_a_hanging_request_does_not_hold_the_end(hub: HubServer) -> None:
    hub.faults.append(Fault(kind="hang", seconds=600))
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.get(f"{hub.url}/api/models/{REPO}", timeout=0.1)


def test_stop_for_good(hub: HubServer) -> None:
    hub.add_repo(REPO, FILES)
    hub.faults.append(Fault("GET", "/api/models", kind="stop"))
    with pytest.raises(httpx2.TransportError):
        httpx2.get(f"{hub.url}/api/models/{REPO}")
    with pytest.raises(httpx2.ConnectError):
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


def test_a_bug_of_the_server_fails_the_test() -> None:
    server = HubServer().__enter__()
    server.repos = None
    assert httpx2.get(f"{server.url}/api/models/none", trust_env=False).status_code == 501
    with pytest.raises(RuntimeError, match="1 bugs"):
        server.__exit__(None, None, None)


def test_an_unknown_kind_of_fault() -> None:
    with pytest.raises(ValueError, match="kind is 'explode'"):
        Fault(kind="explode")


def test_file_system(hub: HubServer) -> None:
    hub.add_repo(REPO, FILES)
    fs = HfFileSystem(endpoint=hub.url, token="hf_good", skip_instance_cache=True)
    assert fs.read_bytes(f"{REPO}/deep/er/emoji 🍕.txt") == "🍕".encode()
    with fs.open(f"{REPO}/model.safetensors", block_size=1000) as file:
        file.seek(50_000)
        assert file.read(10) == FILES["model.safetensors"][50_000:50_010]
    assert sorted(fs.find(REPO)) == sorted(f"{REPO}/{name}" for name in FILES)


@pytest.mark.slow
def test_fsspec_in_another_process(hub: HubServer, tmp_path: Path) -> None:
    hub.add_repo("tester/emoji", {"data/a.csv": "name,emoji\npizza,🍕\n".encode()}, "dataset")
    code = """
import fsspec
with fsspec.open("hf://datasets/tester/emoji/data/a.csv", encoding="utf-8", mode="r") as file:
    print(ascii(file.read()))
"""
    assert run_python(code, hub.env(tmp_path)) == ascii("name,emoji\npizza,🍕\n")


@pytest.mark.slow
def test_transformers_loads_a_model_in_another_process(hub: HubServer, tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=7, n_positions=8, n_embd=4, n_layer=1, n_head=1)
    model = GPT2LMHeadModel(config)
    model.save_pretrained(tmp_path / "model")
    hub.add_repo(REPO, tmp_path / "model")
    code = f"""
from transformers import GPT2LMHeadModel
print(GPT2LMHeadModel.from_pretrained("{REPO}").transformer.wte.weight.tolist())
"""
    out = run_python(code, hub.env(tmp_path / "home"))
    assert out == str(model.transformer.wte.weight.tolist())
    assert hub.count("GET", "/resolve/") >= 2
