"""What a Hub repository is, in memory: commits, branches and the ids of files.

    repo = Repo("tester/tiny")
    repo.commit("main", "first", {"config.json": b"{}"})
    repo.files                      # {"config.json": b"{}"}: the newest files of main
    repo.messages                   # ["first"]
    repo.at("main").oid             # the commit that a branch or commit id names

A file's id is git's: sha1 over "blob", its size and content; of an LFS file, sha256 of its
content (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone


class HubError(Exception):
    """A refusal: the status, `X-Error-Code` and message that the client gets."""

    def __init__(self, status: int, message: str, code: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status = status
        plain = message.encode("ascii", "replace").decode()  # an emoji cannot go into a header
        self.headers = {"X-Error-Message": plain, **headers}
        if code:
            self.headers["X-Error-Code"] = code


@dataclass(frozen=True)
class Commit:
    """One commit: a message and the whole content of the repository after it."""

    oid: str
    parent: str | None
    message: str
    description: str
    files: Mapping[str, bytes]
    date: str


@dataclass
class Repo:
    """A model or dataset repository; `commits` holds those of all branches, oldest first."""

    repo_id: str
    repo_type: str = "model"
    private: bool = False
    commits: list[Commit] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)
    lfs: set[str] = field(default_factory=set)  # sha256 of each content that is stored as LFS

    @property
    def files(self) -> dict[str, bytes]:
        """The newest files of main, by path."""
        return dict(self.at("main").files)

    @property
    def messages(self) -> list[str]:
        """The first lines of the messages on main, oldest first."""
        return [commit.message for commit in self.history("main")]

    def at(self, revision: str) -> Commit:
        """The commit that a branch or a commit id names; 404 when none does."""
        oid = self.branches.get(revision, revision)
        found = [commit for commit in self.commits if commit.oid == oid]
        if not found:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found[0]

    def history(self, revision: str = "main") -> list[Commit]:
        """The commits that lead to a revision, oldest first."""
        commit, line = self.at(revision), []
        while commit.parent:
            line.append(commit)
            commit = self.at(commit.parent)
        return [commit, *line[::-1]]

    def commit(
        self, branch: str, message: str, files: Mapping[str, bytes], description: str = ""
    ) -> Commit:
        """Make `files` the whole content of a branch."""
        parent = self.branches.get(branch)
        oids = {path: blob_oid(data) for path, data in files.items()}
        seed = json.dumps([len(self.commits), parent, message, oids])
        oid = hashlib.sha1(seed.encode()).hexdigest()
        date = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self.commits.append(Commit(oid, parent, message, description, dict(files), date))
        self.branches[branch] = oid
        return self.commits[-1]

    def is_lfs(self, data: bytes) -> bool:
        """Whether this content is stored as LFS."""
        return sha256(data) in self.lfs

    def etag(self, data: bytes) -> str:
        """The id that a download carries: sha256 of an LFS file, the git id of another."""
        return sha256(data) if self.is_lfs(data) else blob_oid(data)

    def row(self, path: str, data: bytes) -> dict[str, object]:
        """How the tree lists a file."""
        row: dict[str, object] = {"type": "file", "path": path, "size": len(data)}
        if not self.is_lfs(data):
            return row | {"oid": blob_oid(data)}
        pointer = lfs_pointer(data)
        lfs = {"oid": sha256(data), "size": len(data), "pointerSize": len(pointer)}
        return row | {"oid": blob_oid(pointer), "lfs": lfs}


def blob_oid(data: bytes) -> str:
    """Git's id of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def sha256(data: bytes) -> str:
    """LFS's id of a file's content."""
    return hashlib.sha256(data).hexdigest()


def lfs_pointer(data: bytes) -> bytes:
    """The text that git keeps in place of an LFS file."""
    head = "version https://git-lfs.github.com/spec/v1"
    return f"{head}\noid sha256:{sha256(data)}\nsize {len(data)}\n".encode()


def looks_binary(path: str, sample: bytes) -> bool:
    """Whether the Hub would want a file as LFS: weights by their name, others by a NUL byte."""
    weights = (".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".parquet")
    return path.endswith(weights) or b"\0" in sample
