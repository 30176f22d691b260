"""A Hub on loopback for tests: the real `huggingface_hub` client talks to it over HTTP.

    from tests.hub.server import Fault, HubServer, hub        # `hub` is a pytest fixture

    def test_push(hub, tmp_path):
        hub.add_repo("tester/tiny", {"config.json": b"{}"})
        hub.faults.append(Fault("POST", "/commit/", status=503))            # once, then it works
        api = HfApi(endpoint=hub.url, token="hf_good")
        api.upload_folder(repo_id="tester/tiny", folder_path=tmp_path)
        assert hub.repos["models/tester/tiny"].files["config.json"] == ...
        subprocess.run([...], env=hub.env(tmp_path))                        # for another process

What is answered is in `tests/hub/server_reads.py` and `tests/hub/server_writes.py`, who may ask in
`tests/hub/server_api.py`, what a repository is in `tests/hub/server_repo.py`, sockets and faults in
`tests/hub/server_http.py`. There is no Xet: for `upload_mode = "lfs"` set
`huggingface_hub.constants.HF_HUB_DISABLE_XET` (`env` does it for a process).
"""

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.hub import server_reads, server_writes  # noqa: F401 -- they register their routes
from tests.hub.server_api import Request
from tests.hub.server_http import Fault, HttpServer
from tests.hub.server_repo import Repo, looks_binary, sha256


class HubServer:
    """The server; a context manager. All of its attributes may be changed while it runs.

    Attributes:
        url: "http://127.0.0.1:PORT".
        repos: By "models/user/name" or "datasets/user/name".
        requests: All that arrived, in order (`method`, `path`, `headers`, `body`).
        faults: What goes wrong next; the first that matches strikes.
        tokens: (user, "read" or "write") by token; a user writes in the namespace of that name.
        upload_mode: "regular" sends all files inside the commit, "lfs" the binary ones by LFS.
        lfs_objects: Uploaded LFS contents by sha256.
        errors: Bugs of this server itself; leaving the context raises the first.
    """

    def __init__(self, upload_mode: str = "regular") -> None:
        self.repos: dict[str, Repo] = {}
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.tokens = {"hf_good": ("tester", "write"), "hf_read": ("tester", "read")}
        self.upload_mode = upload_mode
        self.lfs_objects: dict[str, bytes] = {}
        self.errors: list[Exception] = []
        self.stopping = threading.Event()
        self.lock = threading.RLock()
        self._http = HttpServer(self)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> "HubServer":  # noqa: PYI034 -- Self came with Python 3.11
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.stop()
        self._http.server_close()
        if self.errors and error is None:
            raise RuntimeError(f"{len(self.errors)} bugs in the tests' Hub") from self.errors[0]

    def stop(self) -> None:
        """Stop for good, also in the middle of a test: drop all connections, refuse new ones."""
        self.stopping.set()
        self._http.shutdown()
        self._thread.join()
        self._http.drop_connections()

    def add_repo(
        self, repo_id: str, files: Mapping[str, bytes] | Path, repo_type: str = "model"
    ) -> Repo:
        """A new public repository with one commit on main: these files, or those of a folder."""
        if isinstance(files, Path):
            found = [path for path in sorted(files.rglob("*")) if path.is_file()]
            files = {path.relative_to(files).as_posix(): path.read_bytes() for path in found}
        repo = Repo(repo_id, repo_type)
        if self.upload_mode == "lfs":
            large = [data for path, data in files.items() if looks_binary(path, data[:512])]
            self.lfs_objects |= {sha256(data): data for data in large}
            repo.lfs |= {sha256(data) for data in large}
        repo.commit("main", "initial commit", files)
        self.repos[f"{repo_type}s/{repo_id}"] = repo
        return repo

    def repo_url(self, repo_id: str, repo_type: str) -> str:
        """Where a browser would find a repository."""
        return f"{self.url}/{'' if repo_type == 'model' else f'{repo_type}s/'}{repo_id}"

    def count(self, method: str = "", path_contains: str = "") -> int:
        """How many such requests have arrived."""
        return sum(
            method in ("", request.method) and path_contains in request.path
            for request in self.requests
        )

    def env(self, home: Path, token: str | None = None) -> dict[str, str]:
        """The environment of a process that knows only this Hub, its caches below `home`."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        env = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        return clean | env | ({"HF_TOKEN": token} if token else {})

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request, if any."""
        with self.lock:
            return next((f for f in self.faults if f.strikes(method, path)), None)


@pytest.fixture
def hub(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HubServer]:
    """A started server, the only Hub that the client in this process knows.

    No `endpoint=` is needed; there is no token and no proxy, and all caches are below a new folder.
    """
    from huggingface_hub import close_session

    close_session()  # one made before would keep its proxy
    with HubServer() as server:
        _isolate_client(server.url, tmp_path_factory.mktemp("hf_home"), monkeypatch)
        yield server
    close_session()


def _isolate_client(url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what huggingface_hub has read from the environment when it was imported."""
    from huggingface_hub import constants, hf_api

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setenv("HF_HOME", str(home))  # hf_xet writes a log there, even when it has no work
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    for name, value in {
        "ENDPOINT": url,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_XET_CACHE": str(home / "xet"),
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(hf_api.api, "endpoint", url)
