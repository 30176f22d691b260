"""From a request to its reply: the table of addresses, and who may ask for what.

    reply = answer(hub, Request("GET", "/api/models/tester/tiny", headers))

`hub` is a `tests.hub.server.HubServer`, which speaks HTTP around this. Each route names who may
ask: "anyone", "user" (a valid token), "read" (who may see the repository), "write" (who owns it);
the routes are in `server_reads.py` and `server_writes.py`. Source: huggingface_hub 2.4's
hf_api.py and utils/_http.py.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPMessage
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tests.hub.server_repo import Commit, HubError, Repo

if TYPE_CHECKING:
    from tests.hub.server import HubServer

NAME = r"(?P<id>[^/]+(?:/[^/]+)?)"
API = rf"/api/(?P<kind>models|datasets)/{NAME}"
WEB = rf"/(?:(?P<kind>datasets)/)?{NAME}"
REV = r"(?P<rev>[^/]+)"


@dataclass
class Request:
    """A request as it arrived; `path` has the query, `headers` ignore case."""

    method: str
    path: str
    headers: HTTPMessage
    body: bytes = b""


@dataclass
class Reply:
    """What goes back."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Call:
    """A request for a route: who asks (None: no token), the address's parts, the repository."""

    hub: "HubServer"
    request: Request
    user: tuple[str, str] | None
    args: dict[str, str]
    repo: Repo | None = None

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.request.body or b"{}")

    @property
    def commit(self) -> Commit:
        return self.repo.at(self.args.get("rev", "main"))


Route = Callable[[Call], Reply]
ROUTES: list[tuple[str, re.Pattern[str], str, Route]] = []


def route(method: str, pattern: str, access: str) -> Callable[[Route], Route]:
    """Register a function for an address."""

    def register(function: Route) -> Route:
        ROUTES.append((method, re.compile(pattern), access, function))
        return function

    return register


def answer(hub: "HubServer", request: Request) -> Reply:
    """The reply to a request, refusals included."""
    try:
        return _dispatch(hub, request)
    except HubError as error:
        return as_json({"error": str(error)}, error.status, **error.headers)


def as_json(value: object, status: int = 200, **headers: str) -> Reply:
    """A JSON reply."""
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"} | headers)


def _dispatch(hub: "HubServer", request: Request) -> Reply:
    path, method = urlsplit(request.path).path, request.method.replace("HEAD", "GET")
    user = _who(hub, request)
    for wanted, pattern, access, function in ROUTES:
        match = pattern.fullmatch(path) if wanted == method else None
        if match:
            args = {k: unquote(v) for k, v in match.groupdict().items() if v is not None}
            call = Call(hub, request, user, args)
            _admit(call, access)
            return function(call)
    raise HubError(404, f"Nothing at {method} {path}")


def _who(hub: "HubServer", request: Request) -> tuple[str, str] | None:
    """(name, role) of the token; None without one; 401 for a wrong one."""
    bearer = request.headers.get("Authorization")
    if bearer is None:
        return None
    user = hub.tokens.get(bearer.removeprefix("Bearer "))
    if user is None:
        raise HubError(401, "Invalid credentials in Authorization header")
    return user


def _admit(call: Call, access: str) -> None:
    """Find the repository that the address names, and refuse who may not do this."""
    if access in ("user", "write") and call.user is None:
        raise HubError(401, "Invalid username or password.")
    if access in ("read", "write"):
        call.repo = _visible_repo(call)
    if access == "write":
        refuse_others(call, call.repo.repo_id)


def _visible_repo(call: Call) -> Repo:
    """The repository; as on the Hub, a missing and a private one look the same."""
    repo = call.hub.repos.get(f"{call.args.get('kind', 'models')}/{call.args['id']}")
    owner = call.user and repo and call.user[0] == repo.repo_id.split("/")[0]
    if repo is None or (repo.private and not owner):
        if call.user is None:
            raise HubError(401, "Invalid username or password.", "RepoNotFound")
        raise HubError(404, "Repository not found", "RepoNotFound")
    return repo


def refuse_others(call: Call, repo_id: str) -> None:
    """403 for a token that may only read, and outside the user's own namespace."""
    name, role = call.user
    if role != "write" or not repo_id.startswith(f"{name}/"):
        raise HubError(403, f"You don't have the rights to write to {repo_id}")
