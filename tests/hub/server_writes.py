"""What the Hub answers to those who create and upload: one short function per address.

Importing this file puts the routes into `server_api.ROUTES`. Sources: huggingface_hub 2.4's
hf_api.py, _commit_api.py and lfs.py;
https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md.
"""

import base64
import json

from tests.hub.server_api import API, REV, WEB, Call, Reply, as_json, refuse_others, route
from tests.hub.server_repo import HubError, blob_oid, looks_binary, sha256

GIT_ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


@route("POST", "/api/repos/create", "user")
def create_repo(call: Call) -> Reply:
    body, kind = call.json, call.json.get("type") or "model"
    repo_id = f"{body.get('organization') or call.user[0]}/{body['name']}"
    refuse_others(call, repo_id)
    url = call.hub.repo_url(repo_id, kind)
    if f"{kind}s/{repo_id}" in call.hub.repos:
        return as_json({"error": f"You already created this {kind} repo", "url": url}, 409)
    repo = call.hub.add_repo(repo_id, {".gitattributes": GIT_ATTRIBUTES}, kind)
    repo.private = bool(body.get("private") or body.get("visibility") == "private")
    return as_json({"url": url, "name": repo_id})


@route("POST", "/api/validate-yaml", "anyone")
def validate_yaml(call: Call) -> Reply:
    return as_json({"errors": [], "warnings": []})


@route("POST", rf"{API}/preupload/{REV}", "write")
def preupload(call: Call) -> Reply:
    """How to send each file, and the id of what is there now."""
    files, now = [], call.commit.files
    for file in call.json["files"]:
        path, sample = file["path"], base64.b64decode(file["sample"])
        lfs = call.hub.upload_mode == "lfs" and looks_binary(path, sample)
        answer = {"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
        if path in now:
            answer["oid"] = sha256(now[path]) if lfs else blob_oid(now[path])
        files.append(answer)
    return as_json({"files": files})


@route("POST", rf"{WEB}\.git/info/lfs/objects/batch", "write")
def lfs_batch(call: Call) -> Reply:
    objects = []
    for wanted in call.json["objects"]:
        oid = wanted["oid"]
        put, verify = f"{call.hub.url}/lfs/{oid}", f"{call.hub.url}/lfs/{oid}/verify"
        actions = {"actions": {"upload": {"href": put}, "verify": {"href": verify}}}
        there = oid in call.hub.lfs_objects
        objects.append({"oid": oid, "size": wanted["size"]} | ({} if there else actions))
    return as_json({"transfer": "basic", "objects": objects})


@route("PUT", "/lfs/(?P<oid>[0-9a-f]{64})", "anyone")
def lfs_put(call: Call) -> Reply:
    if sha256(call.request.body) != call.args["oid"]:
        raise HubError(400, "The content does not have this sha256")
    call.hub.lfs_objects[call.args["oid"]] = call.request.body
    return Reply()


@route("POST", "/lfs/(?P<oid>[0-9a-f]{64})/verify", "user")
def lfs_verify(call: Call) -> Reply:
    if len(call.hub.lfs_objects.get(call.args["oid"], b"")) != call.json["size"]:
        raise HubError(404, "This object has not arrived whole")
    return Reply()


@route("POST", rf"{API}/commit/{REV}", "write")
def commit(call: Call) -> Reply:
    repo, branch = call.repo, call.args["rev"]
    if branch not in repo.branches:
        raise HubError(404, f"No branch {branch}", "RevisionNotFound")
    lines = [json.loads(line) for line in call.request.body.splitlines() if line]
    header, files = lines[0]["value"], dict(call.commit.files)
    if not repo.branches[branch].startswith(header.get("parentCommit") or ""):
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    for line in lines[1:]:
        _apply(call, files, line["key"], line["value"])
    done = repo.commit(branch, header["summary"], files, header.get("description", ""))
    url = f"{call.hub.repo_url(repo.repo_id, repo.repo_type)}/commit/{done.oid}"
    return as_json({"success": True, "commitOid": done.oid, "commitUrl": url})


def _apply(call: Call, files: dict[str, bytes], key: str, value: dict[str, str]) -> None:
    """One operation of a commit, on the files by path."""
    path = value["path"].strip("/")
    if key == "file":
        files[path] = base64.b64decode(value["content"])
    elif key == "lfsFile" and value["oid"] in call.hub.lfs_objects:
        files[path] = call.hub.lfs_objects[value["oid"]]
        call.repo.lfs.add(value["oid"])
    else:
        raise HubError(400, f"Cannot apply {key} to {path}: the file or object is missing")


@route("POST", rf"{API}/branch/{REV}", "write")
def create_branch(call: Call) -> Reply:
    name = call.args["rev"]
    if name in call.repo.branches:
        raise HubError(409, f"Reference already exists: {name}")
    call.repo.branches[name] = call.repo.at("main").oid
    return Reply()
