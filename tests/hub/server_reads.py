"""What the Hub answers to those who look and download: one short function per address.

Importing this file puts the routes into `server_api.ROUTES`. Source: huggingface_hub 2.4's
hf_api.py and file_download.py.
"""

import re

from tests.hub.server_api import API, REV, WEB, Call, Reply, as_json, route
from tests.hub.server_repo import HubError


@route("GET", "/api/whoami-v2", "user")
def whoami(call: Call) -> Reply:
    name, role = call.user
    token = {"displayName": "test", "role": role}
    auth = {"type": "access_token", "accessToken": token}
    return as_json({"type": "user", "name": name, "fullname": name, "orgs": [], "auth": auth})


@route("GET", rf"{API}(?:/revision/{REV})?", "read")
def repo_info(call: Call) -> Reply:
    repo, commit = call.repo, call.commit
    return as_json(
        {
            "id": repo.repo_id,
            "author": repo.repo_id.split("/")[0],
            "sha": commit.oid,
            "private": repo.private,
            "gated": False,
            "createdAt": repo.commits[0].date,
            "lastModified": commit.date,
            "tags": [],
            "siblings": [{"rfilename": path} for path in sorted(commit.files)],
        }
    )


@route("GET", rf"{API}/tree/{REV}(?:/(?P<path>.*))?", "read")
def tree(call: Call) -> Reply:
    """The files below a folder; all of them, as in a recursive listing."""
    folder = call.args.get("path", "").strip("/")
    files = call.commit.files
    below = [path for path in sorted(files) if path.startswith(f"{folder}/".lstrip("/"))]
    if folder and not below:
        raise HubError(404, f"{folder} does not exist", "EntryNotFound")
    return as_json([call.repo.row(path, files[path]) for path in below])


@route("GET", rf"{WEB}/resolve/{REV}/(?P<path>.+)", "read")
def resolve(call: Call) -> Reply:
    commit, path = call.commit, call.args["path"]
    headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
    if path not in commit.files:
        raise HubError(404, "Entry not found", "EntryNotFound", **headers)
    data = commit.files[path]
    headers |= {"ETag": f'"{call.repo.etag(data)}"', "Content-Type": "application/octet-stream"}
    return _ranged(data, call.request.headers.get("Range"), headers)


def _ranged(data: bytes, wanted: str | None, headers: dict[str, str]) -> Reply:
    """The part that a `Range: bytes=first-last` asks for (last may be missing), or all."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted or "")
    if not match:
        return Reply(200, data, headers)
    start, end = int(match[1]), int(match[2] or len(data) - 1) + 1
    span = f"bytes {start}-{end - 1}/{len(data)}"
    return Reply(206, data[start:end], headers | {"Content-Range": span})
