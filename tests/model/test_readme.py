"""Which README.md a push replaces: ours, unedited; a person's stays, wherever it was written."""

from pathlib import Path

import pytest

from emoji_gpt2.hub import client as hub_client
from emoji_gpt2.hub.client import commit_files, with_retries
from emoji_gpt2.model.readme import is_ours, signed
from tests.hub.server import Fault, HubServer
from tests.hub.server_repo import Repo

REPO = "tester/emoji"
OLD = signed("---\nlicense: mit\n---\n\n# Pizza 🍕 <!-- really -->\n\nText.\n")
NEW = signed("# newer\n")
THERE: dict[str, tuple[str | bytes, bool]] = {  # what the repository has, and whether it stays
    "ours": (OLD, False),
    "ours, its line ends changed": (OLD.replace("\n", "\r\n"), False),
    "the Hub's first": ("---\nlicense: other\nlicense_name: a\nlicense_link: b\n---\n", False),
    "a person's": ("# Mine\n", True),
    "a person's that was not UTF-8": (b"\xff", True),
    "ours, a word changed": (OLD.replace("Text", "Words"), True),
    "ours, metadata changed": (OLD.replace("mit", "gpl"), True),
    "ours, a line added at the end": (OLD + "More.\n", True),
    "ours, the comment taken out": (OLD.rpartition("<!--")[0], True),
}


@pytest.fixture(autouse=True)
def token(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    monkeypatch.setattr(hub_client, "FIRST_WAIT_S", 0.02)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    for name, text in {"README.md": NEW, "config.json": "{}"}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return hub_client.files_of(tmp_path)


@pytest.mark.parametrize("what", THERE)
@pytest.mark.parametrize("branch", [None, "runs/a"])
def test_what_is_replaced(
    hub: HubServer, files: dict[str, Path], what: str, branch: str | None
) -> None:
    there, stays = THERE[what]
    there = there.encode() if isinstance(there, str) else there
    repo = hub.add_repo(REPO, {} if branch else {"README.md": there})
    if branch:
        repo.commit(branch, "a branch", {"README.md": there})
    _, note = commit_files(files, REPO, branch)
    after = repo.at(branch or "main").files
    assert after == {"README.md": there if stays else NEW.encode(), "config.json": b"{}"}
    assert (f"README.md of {REPO} stays" in note) is stays
    assert hub.count("GET", "README.md") == 1, "requests are counted by the Hub"


def test_a_persons_own_readme_is_pushed_and_pushed_again(
    hub: HubServer, files: dict[str, Path]
) -> None:
    repo = hub.add_repo(REPO, {})
    files["README.md"].write_text("# Mine\n", encoding="utf-8")
    assert [commit_files(files, REPO).note for _ in range(2)] == ["", ""]
    assert repo.files["README.md"] == b"# Mine\n"


class Edited(Fault):
    """Somebody edits the README while a push is on its way."""

    def __init__(self, repo: Repo) -> None:
        super().__init__("POST", "/commit/")
        self.repo = repo

    def strikes(self, method: str, path: str) -> bool:
        if super().strikes(method, path):
            self.repo.commit("main", "edited", self.repo.files | {"README.md": b"# Mine\n"})
        return False


@pytest.mark.parametrize("first", [{}, {"README.md": OLD.encode()}])
def test_an_edit_during_a_push_stays(
    hub: HubServer, files: dict[str, Path], first: dict[str, bytes]
) -> None:
    repo = hub.add_repo(REPO, first)
    hub.faults.append(Edited(repo))
    assert "stays" in with_retries(lambda: commit_files(files, REPO)).note
    assert repo.files == {"README.md": b"# Mine\n", "config.json": b"{}"}


def test_the_comment_is_not_seen_and_the_text_above_is_untouched() -> None:
    text, _, comment = OLD.rpartition("\n<!--")
    assert text == "---\nlicense: mit\n---\n\n# Pizza 🍕 <!-- really -->\n\nText.\n"
    assert comment.count("-->") == 1
    assert comment.endswith("-->\n")
    assert is_ours(signed(""))
