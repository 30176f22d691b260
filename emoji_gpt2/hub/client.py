"""Talk to the Hugging Face Hub: who may write, one commit per push.

    repo_id = check_access("user/emoji", argument="--hub.repo_id")
    commit_files(files_of(Path("checkpoints/quickstart/model")), repo_id, message="epoch 3")

The token comes from the environment (HF_TOKEN) or from ``hf auth login``, and from nowhere else; it
is taken out of every error. What may pass by itself (429, 5xx, time-outs, cut connections) is tried
again; https://huggingface.co/docs/hub/rate-limits says how long the Hub wants one to wait.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from huggingface_hub import (
    CommitOperationAdd,
    HfApi,
    constants,
    get_token,
    hf_hub_url,
)
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import (  # type: ignore[attr-defined] # public, not in __all__
    _http,
    build_hf_headers,
    get_session,
    hf_raise_for_status,
)
from huggingface_hub.utils._http import parse_ratelimit_headers, set_client_factory
from huggingface_hub.utils._validators import validate_repo_id
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from emoji_gpt2.errors import UserError
from emoji_gpt2.model.readme import README, is_ours

TRIES = 5
"""How often a push is tried before it counts as failed."""
FIRST_WAIT_S = 1.0
"""Seconds before the second try; each further wait is twice as long."""
LONGEST_WAIT_S = 600.0
"""A server that wants a longer wait is taken at its word: the push has failed."""
REQUEST_TIMEOUT_S = 60.0
"""Seconds without a byte from the server after which a request has failed."""
MAY_PASS = (408, 409, 412, 425, 429)
"""Client errors that another try may not meet again; others will stay."""
T = TypeVar("T")
_timeouts: list[float] = []
_factories: list[Callable[[], Any]] = []
_lock = threading.Lock()


def check_access(
    repo_id: str,
    private: bool | None = None,
    revision: str | None = None,
    argument: str = "--hub.repo_id",
) -> str:
    """Make sure that ``repo_id`` can be written; create it, and the branch, if they are not there.

    Args:
        repo_id: NAME or USER/NAME.
        private: Of a repository that is created; None is the user's or organization's default.
        revision: A branch; None is main.
        argument: What an error calls ``repo_id``.

    Returns:
        USER/NAME.

    Raises:
        UserError: there is no token, it is wrong or may only read, the repository or branch is not
            ours to write, the name is no name, or the Hub does not answer.
    """
    try:
        validate_repo_id(repo_id)
        with request_timeouts(REQUEST_TIMEOUT_S):
            return with_retries(lambda: _prove_write_access(repo_id, private, revision), tries=3)
    except Exception as error:  # noqa: BLE001 - whatever it is, the run must not begin
        raise UserError(
            f"{argument}: got {repo_id!r}, wanted a repository that your token can write "
            f"({reason(error)}); run `hf auth login` with a write token, or correct the name"
        ) from None  # a chain of errors would be longer and could show more than the reason does


def _prove_write_access(repo_id: str, private: bool | None, revision: str | None) -> str:
    api = HfApi()
    token = api.whoami().get("auth", {}).get("accessToken") or {}
    if token.get("role") == "read":
        raise PermissionError("the token may only read")
    # Where the repository exists, exist_ok asks for no right to write, nor does create_branch:
    # a preupload does, and changes nothing.
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
    """What came of a push.

    Attributes:
        address: Of the repository.
        note: That the README.md there stays; empty if it does not.
    """

    address: str
    note: str


def commit_files(
    files: Mapping[str, Path],
    repo_id: str,
    revision: str | None = None,
    message: str = "Push a model",
) -> Pushed:
    """Upload files in one commit; unchanged ones make none, and a person's README.md stays.

    Args:
        files: By their path in the repository; nobody may write them meanwhile.
        repo_id: USER/NAME, which exists.
        revision: A branch that exists; None is main.
        message: First line of the commit.

    Raises:
        Exception: whatever the client raises; ``wait_before_retry`` says what to do about it.
    """
    api = HfApi()
    there, parent = _readme_there(repo_id, revision) if README in files else (b"", None)
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


def _readme_there(repo_id: str, revision: str | None) -> tuple[bytes, str | None]:
    """Return a branch's README.md, empty if there is none, and the commit that it was read from."""
    reply = get_session().get(
        hf_hub_url(repo_id, README, revision=revision), headers=build_hf_headers()
    )
    commits = (one.headers.get("X-Repo-Commit") for one in (*reply.history, reply))
    commit = next(filter(None, commits), None)
    try:
        hf_raise_for_status(reply)
    except EntryNotFoundError:
        return b"", commit
    return reply.content, commit


def with_retries(action: Callable[[], T], tries: int = TRIES) -> T:
    """Return what ``action`` returns, trying again what may pass by itself.

    Raises:
        Exception: the last one.
    """
    attempt = 1
    while True:
        try:
            return action()
        except Exception as error:
            wait = wait_before_retry(error, attempt)
            if wait is None or attempt == tries:
                raise
        time.sleep(wait)
        attempt += 1


def wait_before_retry(error: BaseException, attempt: int) -> float | None:
    """Return the seconds to wait before another try, or None if there is no sense in one.

    Args:
        error: Of the last try.
        attempt: Its number, from 1.
    """
    for one in _chain(error):
        if isinstance(one, HfHubHTTPError):
            status = one.response.status_code
            if 400 <= status < 500 and status not in MAY_PASS:
                return None
            wait = max(FIRST_WAIT_S * 2 ** (attempt - 1), _wanted_wait(one.response.headers))
            return wait if wait <= LONGEST_WAIT_S else None
        if isinstance(one, OfflineModeIsEnabled):
            return None
        if isinstance(one, ConnectionError | TimeoutError) or _is_of_httpx(one):
            return FIRST_WAIT_S * 2.0 ** (attempt - 1)
    # hf_xet raises RuntimeErrors; files and values do not mend by themselves.
    return FIRST_WAIT_S * 2.0 ** (attempt - 1) if type(error) is RuntimeError else None


def _is_of_httpx(error: BaseException) -> bool:
    """Whether no answer came; the client's library is httpx or httpx2, by its version."""
    return any(kind.__name__ == "TransportError" for kind in type(error).__mro__)


def _wanted_wait(headers: Any) -> float:
    """Return the seconds that a reply's headers ask to wait."""
    limit = parse_ratelimit_headers(headers)
    if limit and limit.remaining == 0:
        return limit.reset_in_seconds + 1.0  # they are rounded down
    after = str(headers.get("Retry-After", ""))
    return float(after) if after.isdigit() else 0.0


def reason(error: BaseException) -> str:
    """Return why, in one line of at most 250 characters, without the token."""
    texts = [" ".join(str(one).split()) or type(one).__name__ for one in _chain(error)]
    line = " <- ".join(dict.fromkeys(texts))
    if (token := get_token()) is not None:
        line = line.replace(token, "***")
    return re.sub(r"hf_\w{20,}", "***", line)[:250]


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


@contextmanager
def request_timeouts(seconds: float) -> Iterator[None]:
    """Give the client's requests a timeout as long as the context lasts; it has none by itself.

    A client factory that the user has set is used, and its timeouts are kept. Contexts of several
    threads may overlap: the shortest timeout holds.
    """
    with _lock:
        if not _timeouts:
            _factories.append(_http._GLOBAL_CLIENT_FACTORY)  # noqa: SLF001 - there is no getter
        _timeouts.append(seconds)
        set_client_factory(_client)  # closes the client that there is
    try:
        yield
    finally:
        with _lock:
            _timeouts.remove(seconds)
            if not _timeouts:
                set_client_factory(_factories.pop())


def _client() -> Any:
    made = _factories[-1]()
    if made.timeout.read is None:
        made.timeout = min(_timeouts)
    return made


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep the client's progress bars out of training's, unless the environment asks for them."""
    if constants.HF_HUB_DISABLE_PROGRESS_BARS is not None or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
