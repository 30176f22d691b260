"""What the Hub answers to those who look and download: one short function per address.

Importing this file puts the routes into `server_api.ROUTES`. Source: huggingface_hub 2.4's
hf_api.py, file_download.py and hf_file_system.py.
"""

import re
from urllib.parse import parse_qs, urlsplit

from tests.hub.server_api import API, REV, WEB, Call, Reply, as_json, route
from tests.hub.server_repo import HubError, tree_rows


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
            "gated": "auto" if repo.gated else False,
            "createdAt": repo.commits[0].date,
            "lastModified": commit.date,
            "tags": [],
            "siblings": [{"rfilename": path} for path in sorted(commit.files)],
        }
    )


@route("GET", rf"{API}/refs", "read")
def refs(call: Call) -> Reply:
    def listed(kind: str, names: dict[str, str]) -> list[dict[str, str]]:
        return [
            {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": oid}
            for name, oid in names.items()
        ]

    heads, tags = listed("heads", call.repo.branches), listed("tags", call.repo.tags)
    return as_json({"branches": heads, "converts": [], "tags": tags, "pullRequests": []})


@route("GET", rf"{API}/commits/{REV}", "read")
def commits(call: Call) -> Reply:
    newest_first = call.repo.history(call.args["rev"])[::-1]
    return as_json(
        [
            {
                "id": commit.oid,
                "title": commit.message,
                "message": commit.description,
                "date": commit.date,
                "authors": [{"user": call.repo.repo_id.split("/")[0]}],
            }
            for commit in newest_first
        ]
    )


@route("GET", rf"{API}/tree/{REV}(?:/(?P<path>.*))?", "read")
def tree(call: Call) -> Reply:
    """In pages of `hub.page_size` rows, the next one named by a `Link` header."""
    recursive = call.query.get("recursive", "").lower() in ("true", "1")
    rows = tree_rows(call.repo, call.commit, call.args.get("path", ""), recursive=recursive)
    start = int(call.query.get("cursor", 0))
    end = start + call.hub.page_size
    reply = as_json(_expanded(call, rows[start:end]))
    if end < len(rows):
        path = urlsplit(call.request.path).path
        link = f"{call.hub.url}{path}?recursive={recursive}&cursor={end}"
        reply.headers["Link"] = f'<{link}>; rel="next"'
    return reply


@route("POST", rf"{API}/paths-info/{REV}", "read")
def paths_info(call: Call) -> Reply:
    form = parse_qs(call.request.body.decode())
    wanted = [path.strip("/") for path in form.get("paths", [])]
    rows = tree_rows(call.repo, call.commit, recursive=True)
    return as_json(_expanded(call, [row for row in rows if row["path"] in wanted]))


def _expanded(call: Call, rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Rows with their last commit; here always the one that was asked for."""
    commit = call.commit
    last = {"id": commit.oid, "title": commit.message, "date": commit.date}
    return [row | {"lastCommit": last} for row in rows]


@route("GET", rf"{WEB}/resolve/{REV}/(?P<path>.+)", "read")
def resolve(call: Call) -> Reply:
    commit, path = call.commit, call.args["path"]
    if call.repo.gated and call.user is None:
        raise HubError(401, f"Access to {call.repo.repo_id} is restricted.", "GatedRepo")
    headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
    if path not in commit.files:
        raise HubError(404, "Entry not found", "EntryNotFound", **headers)
    data = commit.files[path]
    headers |= {"ETag": f'"{call.repo.etag(data)}"', "Content-Type": "application/octet-stream"}
    return _ranged(data, call.request.headers.get("Range"), headers)


def _ranged(data: bytes, wanted: str | None, headers: dict[str, str]) -> Reply:
    """The part that a `Range: bytes=first-last` (either may be missing) asks for, or all."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted or "")
    if not match or match.groups() == ("", ""):
        return Reply(200, data, headers)
    first, last = match.groups()
    start = int(first) if first else max(0, len(data) - int(last))
    end = min(int(last) + 1, len(data)) if first and last else len(data)
    if start >= end:
        return Reply(416, b"", headers | {"Content-Range": f"bytes */{len(data)}"})
    span = f"bytes {start}-{end - 1}/{len(data)}"
    return Reply(206, data[start:end], headers | {"Content-Range": span})
