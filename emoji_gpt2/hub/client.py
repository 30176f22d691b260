"""Talk to the Hugging Face Hub: check who may write, push files in one commit.

    repo_id = check_access("user/emoji")
    with_retries(lambda: commit_files(files_of(Path("checkpoints/quickstart/model")), repo_id))

The token comes from the environment (HF_TOKEN) or from ``hf auth login``, and is removed from every
error. ``huggingface_hub`` retries uploads and downloads by itself, but not the commit: that is what
``with_retries`` is for (https://huggingface.co/docs/hub/rate-limits).
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeVar

from huggingface_hub import CommitOperationAdd, HfApi, get_token, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RemoteEntryNotFoundError
from huggingface_hub.utils import (  # type: ignore[attr-defined] # public, not in __all__
    get_session,
    httpx,
    parse_ratelimit_headers,
    validate_repo_id,
)

from emoji_gpt2.errors import UserError
from emoji_gpt2.model.readme import README, is_ours

TRIES = 5
"""How often a push is tried before it has failed."""
FIRST_WAIT_S = 1.0
"""Seconds before the second try; each further wait is twice as long."""
LONGEST_WAIT_S = 600.0
"""Seconds; if the Hub asks for a longer wait, the push has failed."""
REQUEST_TIMEOUT_S = 60.0
"""Seconds without a byte from the Hub after which a request has failed."""
MAY_PASS = (408, 409, 412, 425, 429)
"""Client errors that are worth another try."""
T = TypeVar("T")


def check_access(repo_id: str, private: bool | None = None, revision: str | None = None) -> str:
    """Check that ``repo_id`` can be written; create it, and the branch, if they do not exist.

    Args:
        repo_id: NAME or USER/NAME; the latter is returned.
        private: Whether a repository that is created is private; None is the account's default.
        revision: A branch; None is main.

    Raises:
        UserError: it cannot be written with the token that there is; one line says why.
    """
    try:
        validate_repo_id(repo_id)
        return with_retries(lambda: _prove_write_access(repo_id, private, revision), tries=3)
    except Exception as error:  # noqa: BLE001 - whatever it is, the run must not begin
        wanted = f"a repository that your token can write ({reason(error)})"
        remedy = "run `hf auth login` with a write token, or correct the name"
        raise UserError(
            "hub.repo_id", repr(repo_id), wanted, remedy
        ) from None  # a chain of errors would be longer and could show more than the reason does


def _prove_write_access(repo_id: str, private: bool | None, revision: str | None) -> str:
    api = HfApi()
    token = api.whoami().get("auth", {}).get("accessToken") or {}
    if token.get("role") == "read":
        raise PermissionError("the token may only read")
    # For a repository and branch that exist, the next two calls need no right to write. A preupload
    # does, and changes nothing.
    repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    if revision:
        api.create_branch(repo_id, branch=revision, exist_ok=True)
    probe = CommitOperationAdd(".gitattributes", b"")
    api.preupload_lfs_files(repo_id, [probe], revision=revision)
    return repo_id


def files_of(folder: Path) -> dict[str, Path]:
    """Return all files of a folder, by their path in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in files}


class Pushed(NamedTuple):
    """The repository's address, and a line that says if a README.md there is kept, or ""."""

    address: str
    note: str


def commit_files(
    files: Mapping[str, Path],
    repo_id: str,
    revision: str | None = None,
    message: str = "Push a model",
) -> Pushed:
    """Upload the files that changed, in one commit; a person's README.md on the Hub is kept.

    Args:
        files: By their path in the repository; they must not change meanwhile.
        repo_id: USER/NAME, which exists.
        revision: A branch that exists; None is main.
        message: First line of the commit.
    """
    api, parent, there = HfApi(), None, b""
    if README in files:
        parent = api.repo_info(repo_id, revision=revision).sha
        there = _read_readme(repo_id, parent)
    stays = not is_ours(there.decode(errors="replace")) and there != files[README].read_bytes()
    # create_commit and not upload_folder, which makes several commits of many files.
    api.create_commit(
        repo_id,
        [CommitOperationAdd(n, path) for n, path in files.items() if n != README or not stays],
        commit_message=message,
        revision=revision,
        parent_commit=parent,  # if the README is edited meanwhile, this try fails
    )
    note = f"{README} of {repo_id} stays: a person wrote it. To get the pushed one, delete it there"
    return Pushed(f"{api.endpoint}/{repo_id}", note if stays else "")


def _read_readme(repo_id: str, commit: str | None) -> bytes:
    with TemporaryDirectory() as folder, suppress(RemoteEntryNotFoundError):
        path = hf_hub_download(repo_id, README, revision=commit, local_dir=folder)
        return Path(path).read_bytes()
    return b""


def with_retries(
    action: Callable[[], T],
    tries: int = TRIES,
    pause: Callable[[float, str], object] = lambda seconds, _: time.sleep(seconds),
) -> T:
    """Return what ``action`` returns; try again after an error that may pass.

    Args:
        action: What to try; its last error is raised.
        tries: How often at most.
        pause: Called before another try, with the seconds to wait and why.
    """
    attempt = 0
    while True:
        attempt += 1
        session = get_session()
        if session.timeout.read is None:  # for ever; a limit that the user has set is kept
            session.timeout = REQUEST_TIMEOUT_S
        try:
            return action()
        except Exception as error:
            wait = wait_before_retry(error, attempt)
            if wait is None or attempt == tries:
                raise
            why = reason(error)
        pause(wait, why)


def wait_before_retry(error: BaseException, attempt: int) -> float | None:
    """Return the seconds to wait after a failed try, numbered from 1; None if it will not pass."""
    wait = FIRST_WAIT_S * 2 ** (attempt - 1)
    for one in _chain(error):
        if isinstance(one, HfHubHTTPError):
            if one.response.status_code < 500 and one.response.status_code not in MAY_PASS:
                return None
            wait = max(wait, _requested_wait(one.response.headers))
            return wait if wait <= LONGEST_WAIT_S else None
        if isinstance(one, ConnectionError | TimeoutError | httpx.TransportError):
            return None if isinstance(one, OfflineModeIsEnabled) else wait
    return wait if type(error) is RuntimeError else None  # as hf_xet raises; others will not pass


def _requested_wait(headers: Mapping[str, str]) -> float:
    """Return the seconds that a reply's headers ask to wait."""
    limit = parse_ratelimit_headers(headers)
    if limit and limit.remaining == 0:
        return limit.reset_in_seconds + 1.0  # they are rounded down
    after = headers.get("Retry-After", "")
    return float(after) if after.isdigit() else 0.0


def reason(error: BaseException) -> str:
    """Return why, in one line of at most 250 characters, without the token."""
    texts = [" ".join(str(one).split()) or type(one).__name__ for one in _chain(error)]
    line = " <- ".join(dict.fromkeys(texts))
    if (token := get_token()) is not None:
        line = line.replace(token, "***")
    return re.sub(r"hf_\w{20,}", "***", line)[:250]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
