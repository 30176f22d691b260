"""Where tables come from: files, patterns, folders, downloads and data sets of the Hub."""

import hashlib
import http.server
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emoji_gpt2 import files as fetch
from emoji_gpt2.files import public
from emoji_gpt2.tables.source import Source, open_source
from tests.hub.server import HubServer
from tests.tables.test_source import PIZZA, TABLE, records, refusal, write


def opened(path: Any, **options: Any) -> Source:
    return open_source(path, **{"cache_dir": Path("unused"), **options})


# --- local files ----------------------------------------------------------------------------------


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write(tmp_path, "a.csv", TABLE)
    assert records(opened("~/a.csv")) == PIZZA


def test_patterns_lists_and_folders(tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path, f"part-{number}.csv", f"text,emoji\ntext {number},🍕\n")
    wanted = [(f"text {number}", "🍕") for number in range(5)]
    source = opened(str(tmp_path / "part-*.csv"))
    assert records(source) == wanted
    assert len(source.took) == 4
    assert source.took[-1] == "part-*.csv: 2 more files like these"
    assert records(opened([tmp_path / "part-1.csv", str(tmp_path / "part-3.csv")])) == wanted[1:4:2]
    folder = tmp_path / "one"
    folder.mkdir()
    write(folder, "README.md", "about")
    write(folder, "data.csv.gz", TABLE)
    assert records(opened(folder)) == PIZZA
    assert "with 5 tables, wanted one table" in refusal(lambda: opened(tmp_path))
    assert "a pattern that some file fits" in refusal(lambda: opened(str(tmp_path / "no*.csv")))
    assert "an empty list" in refusal(lambda: opened([]))


# --- addresses ------------------------------------------------------------------------------------


BASIC = "Basic bWU6aHVudGVyMg=="  # me:hunter2


def path_of(source: Source) -> Path:
    path = source.parts[0].path
    assert path is not None
    return path


class Site(http.server.BaseHTTPRequestHandler):
    """Serves TABLE, and every way in which a download goes wrong."""

    paths: list[str]  # set on a subclass per test

    def do_GET(self) -> None:
        self.paths.append(self.path)
        body = TABLE.encode()
        if self.path.startswith("/private") and self.headers["Authorization"] != BASIC:
            self.path = "/gone.csv"
        status = {"/gone.csv": 404, "/moved.csv": 302}.get(self.path.partition("?")[0], 200)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/a.csv")
        body = b"<!doctype html>" if self.path == "/page.csv" else body
        size = len(body) if status == 200 else 0
        self.send_header("Content-Length", str(size + 10 * (self.path == "/cut.csv")))
        self.end_headers()
        self.wfile.write(body[:size])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """The address of a server on loopback, and the paths that were asked for."""
    monkeypatch.setenv("no_proxy", "*")
    handler = type("Handler", (Site,), {"paths": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler.paths
        server.shutdown()
        thread.join()


def test_download_once(
    tmp_path: Path, site: tuple[str, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "emoji_gpt2")
    url = site[0] + "/a.csv?x=1"
    source = opened(url, cache_dir=tmp_path)
    assert records(source) == PIZZA
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    assert path_of(source) == tmp_path / "downloads" / f"{key}-a.csv"
    assert records(opened(url, cache_dir=tmp_path)) == PIZZA
    assert site[1] == ["/a.csv?x=1"]
    assert "delete it to fetch again" in caplog.messages[-1]
    assert " UTC" in caplog.messages[-1]
    path_of(source).unlink()
    assert records(opened(url, cache_dir=tmp_path)) == PIZZA
    assert len(site[1]) == 2


def test_download_names(tmp_path: Path, site: tuple[str, list[str]]) -> None:
    assert records(opened(site[0] + "/moved.csv", cache_dir=tmp_path)) == PIZZA
    source = opened(site[0] + "/ä b%20🍕.csv", cache_dir=tmp_path)
    assert site[1][-1] == "/%C3%A4%20b%20%F0%9F%8D%95.csv"
    assert path_of(source).name.endswith("-ä_b_20_.csv")
    assert len(list((tmp_path / "downloads").iterdir())) == 2


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/gone.csv", "(HTTP status 404, Not Found), wanted an address that answers; check it, or"),
        ("/cut.csv", "(only 40 of 50 bytes)"),
        ("/page.csv", "(it gave a web page)"),
    ],
)
def test_failed_downloads(
    tmp_path: Path, site: tuple[str, list[str]], path: str, wanted: str
) -> None:
    url = site[0] + path
    line = refusal(lambda: opened(url, cache_dir=tmp_path))
    assert line.startswith(f"path: got {url!r}, whose download failed (")
    assert wanted in line
    assert list((tmp_path / "downloads").iterdir()) == []


def test_passwords_and_keys_are_never_shown(
    tmp_path: Path, site: tuple[str, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "emoji_gpt2")
    url = site[0].replace("://", "://me:hunter2@") + "/gone.csv?raw=1&access_token=hunter2"
    line = refusal(lambda: opened(url, cache_dir=tmp_path))
    address = site[0].replace("://", "://me:hunter2@") + "/private.csv?sig=hunter2"
    good = opened(address, cache_dir=tmp_path)
    assert records(good) == PIZZA
    said = [line, *caplog.messages, *good.took, good.name]
    assert "hunter2" not in "".join(said)
    assert "raw=1&access_token=***" in line
    assert public(url) == site[0] + "/gone.csv?raw=1&access_token=***"


def test_silent_and_absent_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(fetch, "TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.csv"
        assert "timed out" in refusal(lambda: opened(url, cache_dir=tmp_path))
    assert "refused" in refusal(lambda: opened(url, cache_dir=tmp_path))
    refusal(lambda: opened("http://127.0.0.1:port/a.csv", cache_dir=tmp_path))


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("ftp://host/a.csv", "wanted a local path, https://… or hf://datasets/…; ftp:// is not"),
        ("file:///a.csv", "file:// is not followed"),
        ("s3://bucket/a.csv", "s3:// is not followed"),
        ("https://[host/a.csv", "wanted a valid address"),
        ("hf://models/user/name/a.csv", "wanted hf://datasets/user/name[@revision]/path/in/repo"),
    ],
)
def test_bad_addresses(address: str, wanted: str) -> None:
    assert wanted in refusal(lambda: opened(address))


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("hf://datasets/user/name/a.csv", ("user/name", "a.csv", None)),
        ("hf://datasets/user/name@v1.0/in/a.csv", ("user/name", "in/a.csv", "v1.0")),
        ("hf://datasets/u/n@refs%2Fpr%2F1/a.csv", ("u/n", "a.csv", "refs/pr/1")),
        (
            "hf://datasets/u/n@refs/convert/parquet/default/a.csv",
            ("u/n", "default/a.csv", "refs/convert/parquet"),
        ),
    ],
)
def test_hub_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, wanted: tuple[str, ...]
) -> None:
    asked = []

    def download(repo_id: str, filename: str, *, repo_type: str, revision: str | None) -> str:
        asked.append((repo_id, filename, revision))
        assert repo_type == "dataset"
        return str(write(tmp_path, "a.csv", TABLE))

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert records(opened(address)) == PIZZA
    assert asked == [wanted]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("GatedRepoError", "wanted a data set open to you; ask at https"),
        ("RepositoryNotFoundError", "wanted a data set that exists; if private, `hf auth login`"),
        ("RevisionNotFoundError", "wanted a revision that exists"),
        ("EntryNotFoundError", "wanted a file of the data set"),
        ("LocalEntryNotFoundError", "a file in the Hub's cache or a reachable Hub; check the conn"),
        ("HFValidationError", "the Hub client said: two lines"),
    ],
)
def test_hub_refusals(monkeypatch: pytest.MonkeyPatch, name: str, wanted: str) -> None:
    from huggingface_hub import errors

    monkeypatch.setenv("HF_ENDPOINT", "https://huggingface.co")
    kind = getattr(errors, name)
    error = kind.__new__(kind, "two\nlines")  # some of these want a response to be made with
    error.args = ("two\nlines",)

    def download(*args: object, **options: object) -> str:
        raise error

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    line = refusal(lambda: opened("hf://datasets/user/name/a.csv"))
    assert line.startswith("path: got 'hf://datasets/user/name/a.csv', wanted ")
    assert wanted in line


SHARDS = {
    "README.md": b"about",
    "data/train-00000-of-00002.csv": "text,emoji\npizza,🍕\n".encode(),
    "data/train-00001-of-00002.csv": "text,emoji\ndog,🐶\n".encode(),
    "data/test-00000-of-00001.csv": "text,emoji\ntea,🍵\n".encode(),
}


def test_a_data_set_of_the_hub_is_read(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repo("tester/emoji", SHARDS, "dataset")
    wanted = [("pizza", "🍕"), ("dog", "🐶")]
    source = opened("hf://datasets/tester/emoji")
    assert records(source) == wanted
    assert source.name == "emoji"
    assert records(opened("hf://datasets/tester/emoji/data/test-00000-of-00001.csv")) == [
        ("tea", "🍵")
    ]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert records(opened("hf://datasets/tester/emoji")) == wanted  # from the Hub's cache
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert "none.csv" in refusal(lambda: opened("hf://datasets/tester/emoji/none.csv"))
    assert "a data set that exists" in refusal(lambda: opened("hf://datasets/tester/no"))


@pytest.mark.parametrize("name", ["values.csv", "strained.csv", "training_0.csv"])
def test_a_file_of_no_other_split_is_for_training(
    hub: HubServer, tmp_path: Path, name: str
) -> None:
    files = {name: TABLE.encode(), "validation.csv": b"", "test-1.csv": b""}
    hub.add_repo("tester/one", files, "dataset")
    assert records(opened("hf://datasets/tester/one")) == PIZZA


def test_a_data_set_of_several_configurations_is_refused_with_their_names(hub: HubServer) -> None:
    files = {f"{name}/train.csv": TABLE.encode() for name in ("emoji", "irony")}
    hub.add_repo("tester/tweets", files, "dataset")
    line = refusal(lambda: opened("hf://datasets/tester/tweets"))
    assert (
        "are in emoji, irony, wanted one table; name one, as in hf://datasets/tester/tweets/"
        in line
    )
