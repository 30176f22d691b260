"""Where things are kept, and how what is elsewhere becomes a local file.

An http(s) copy stays in ``<cache_dir>/downloads`` until it is deleted. Files of the Hugging Face
Hub stay in the Hub's own cache, so ``HF_HUB_OFFLINE=1`` and ``HF_HOME`` work. The form of hf://
addresses is HfFileSystem's: ``hf://datasets/user/name[@revision]/path/in/repo.csv``.
"""

import base64
import hashlib
import http.client
import logging
import os
import re
import shutil
import stat
import urllib.error
import urllib.parse
import urllib.request
import uuid
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

from emoji_gpt2.errors import MissingFileError, UserError, one_line

log = logging.getLogger(__name__)

CONFIG, LAST, MODEL = "config.yaml", "last.ckpt", "model"
"""In the folder of a run: its command, where it goes on, and the Transformers folder."""
PATH = "data.path"
TIMEOUT_SECONDS = 60.0  # of silence, not of the whole download
_SPECIAL_REVISION = r"refs/(?:convert/[^/]+|pr/\d+)"
_HF = re.compile(rf"hf://datasets/([^/@]+/[^/@]+)(?:@({_SPECIAL_REVISION}|[^/]+))?/(.+)")
_SECRET = "token|key|sig|secret|pass|auth|credential"  # noqa: S105 - names of parameters
_URL_SAFE = "!#$%&'()*+,/:;=?@[]~"  # reserved by RFC 3986; "%" so that nothing is quoted twice


def default_cache_dir() -> Path:
    """Return where downloads and tokenized rows are kept: below ``XDG_CACHE_HOME`` or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emoji_gpt2"


def file_name(address: str) -> str:
    """The last part of a path or address, without the query of a URL."""
    if "://" not in address:
        return Path(address).name
    try:
        return PurePosixPath(urllib.parse.urlsplit(address).path).name
    except ValueError:  # such as an unclosed [ in the host
        raise UserError(PATH, repr(public(address)), "a valid address", "correct it") from None


def public(address: str) -> str:
    """Return an address without passwords and keys, as it may be shown and stored."""
    if "://" not in address:
        return address
    address = re.sub(r"://[^/@]+@", "://", address)
    return re.sub(rf"(?i)([?&][^=&]*(?:{_SECRET})[^=&]*=)[^&#]+", r"\1***", address)


def without_secrets(value: object) -> object:
    """Return an address, or a list of them, as ``public`` has it; anything else as it is."""
    if isinstance(value, list):
        return [without_secrets(one) for one in value]
    return public(value) if isinstance(value, str) else value


def foreign_content(head: bytes) -> str | None:
    """Return what a file is in place of the one that was meant, such as "a web page"; else None."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return "a web page"
    if start.startswith(b"version https://git-lfs.github.com/spec"):
        return "a Git LFS pointer and not the file (git lfs pull fetches it)"
    return None


def local_copy(address: str, cache_dir: Path) -> Path:
    """The readable local file of an address, downloaded if need be.

    Raises:
        UserError: One line that says what is wrong with the address and what to do.
    """
    scheme = address.partition("://")[0].lower() if "://" in address else ""
    if scheme in ("http", "https"):
        return _downloaded(address, cache_dir / "downloads")
    if scheme == "hf":
        return _from_hub(address)
    if scheme:
        wanted = "a local path, https://… or hf://datasets/…"
        remedy = f"{scheme}:// is not followed, download the file first"
        raise UserError(PATH, repr(public(address)), wanted, remedy)
    return _local(address)


def _local(path: str) -> Path:
    try:
        local = Path(path).expanduser()
        mode = local.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(PATH, repr(path), "a file that exists", "correct the path") from None
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: the home of ~nobody
        remedy = f"correct the path ({one_line(error)})"
        raise UserError(PATH, repr(path), "a readable file", remedy) from None
    if stat.S_ISDIR(mode):
        raise UserError(PATH, f"the folder {path!r}", "a file", "name a file in it")
    if not stat.S_ISREG(mode):  # it is read more than once, which a pipe cannot be
        raise UserError(PATH, repr(path), "a regular file", "write its content to one first")
    return local


# --- http:// and https:// -------------------------------------------------------------------------


def _downloaded(url: str, folder: Path) -> Path:
    name = re.sub(r"[^\w.-]", "_", file_name(url))[-100:]
    target = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name}"
    if target.exists():
        when = datetime.fromtimestamp(target.stat().st_mtime, tz=timezone.utc)
        message = "%s: using the copy of %s at %s; delete it to fetch again"
        log.info(message, public(url), f"{when:%Y-%m-%d %H:%M} UTC", target)
        return target
    aside = folder / f".{target.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _download(url, aside)
        with aside.open("rb") as file:
            if what := foreign_content(file.read(1024)):
                raise _not_downloaded(url, f"it gave {what}")
        aside.replace(target)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the socket
        raise _not_downloaded(url, f"HTTP status {error.code}, {error.reason}") from None
    except UserError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _not_downloaded(url, one_line(getattr(error, "reason", error))) from None
    finally:
        aside.unlink(missing_ok=True)
    log.info("%s: downloaded to %s", public(url), target)
    return target


def _not_downloaded(url: str, why: str) -> UserError:
    got = f"{public(url)!r}, whose download failed ({why})"
    remedy = "check it, or give the path of a local copy"
    return UserError(PATH, got, "an address that answers", remedy)


def _download(url: str, target: Path) -> None:
    """Write what ``url`` holds to ``target``; a connection cut short is a ConnectionError."""
    parts = urllib.parse.urlsplit(urllib.parse.quote(url, safe=_URL_SAFE))
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    request = urllib.request.Request(plain, headers={"User-Agent": "emoji_gpt2"})  # noqa: S310
    if parts.username:
        user = urllib.parse.unquote(f"{parts.username}:{parts.password or ''}")
        key = base64.b64encode(user.encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {key}")
    with (
        urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer,  # noqa: S310
        target.open("xb") as file,
    ):
        shutil.copyfileobj(answer, file)
        length, size = answer.headers.get("Content-Length"), file.tell()
    if length is not None and int(length) != size:
        raise ConnectionError(f"only {size:,} of {int(length):,} bytes")


# --- hf:// ----------------------------------------------------------------------------------------


def _from_hub(address: str) -> Path:
    match = _HF.fullmatch(address)
    if match is None:
        wanted = "hf://datasets/user/name[@revision]/path/in/repo.csv"
        remedy = "give the address of one file of a data set"
        raise UserError(PATH, repr(public(address)), wanted, remedy)
    repo, revision, name = match.groups()
    from huggingface_hub import errors, hf_hub_download  # noqa: PLC0415 (slow, rarely needed)

    try:
        revision = urllib.parse.unquote(revision) if revision else None
        return Path(hf_hub_download(repo, name, repo_type="dataset", revision=revision))
    except (OSError, ValueError, RuntimeError, errors.EntryNotFoundError) as error:
        raise _hub_refusal(address, repo, error) from None


def data_set_files(repo: str, revision: str | None) -> list[str]:
    """Return the names of a data set's files on the Hub; offline, of those in the Hub's cache."""
    from huggingface_hub import HfApi, constants, errors, snapshot_download  # noqa: PLC0415

    try:
        if not constants.HF_HUB_OFFLINE:
            return HfApi().list_repo_files(repo, repo_type="dataset", revision=revision)
        folder = Path(
            snapshot_download(repo, repo_type="dataset", revision=revision, local_files_only=True)
        )
        return [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    except (OSError, ValueError, RuntimeError, errors.EntryNotFoundError) as error:
        raise _hub_refusal(f"hf://datasets/{repo}", repo, error) from None


def _hub_refusal(address: str, repo: str, error: Exception) -> UserError:
    """Name what the Hub refused; the order matters, for these classes inherit from each other."""
    from huggingface_hub import errors  # noqa: PLC0415

    page = f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}/datasets/{repo}"
    remedies: list[tuple[type[Exception], str, str]] = [
        (errors.GatedRepoError, "a data set open to you", f"ask at {page}, then `hf auth login`"),
        (errors.RevisionNotFoundError, "a revision that exists", f"see {page}"),
        (errors.RepositoryNotFoundError, "a data set that exists", "if private, `hf auth login`"),
        (
            errors.LocalEntryNotFoundError,
            "a file in the Hub's cache or a reachable Hub",
            "check the connection and HF_HUB_OFFLINE, or give a local file",
        ),
        (errors.EntryNotFoundError, "a file of the data set", f"see {page}/tree/main"),
    ]
    for kind, wanted, remedy in remedies:
        if isinstance(error, kind):
            return UserError(PATH, repr(public(address)), wanted, remedy)
    remedy = f"the Hub client said: {one_line(error)}"
    return UserError(PATH, repr(public(address)), "a file that the Hub serves", remedy)


def checkpoint_from_hub(address: str) -> str:
    """Download hf://USER/NAME[@REVISION]/FILE into the local cache and return its path there.

    Raises:
        MissingFileError: the address is none, or the Hub does not give the file.
    """
    match = re.fullmatch(r"hf://([^/@]+/[^/@]+)(?:@([^/]+))?/(.+)", address)
    if not match:
        wanted = "hf://USER/NAME/FILE or hf://USER/NAME@BRANCH/FILE"
        raise MissingFileError("ckpt_path", repr(public(address)), wanted)
    repo_id, revision, file = match.groups()
    from huggingface_hub import hf_hub_download  # noqa: PLC0415

    try:
        return hf_hub_download(repo_id, file, revision=revision)
    except Exception as error:  # noqa: BLE001 - one line for all of them
        got = f"{address!r}, which the Hub did not give ({one_line(error)})"
        remedy = "correct it, or run `hf auth login` if it is private"
        raise MissingFileError("ckpt_path", got, remedy=remedy) from None


# --- the umask ------------------------------------------------------------------------------------


def apply_umask(folder: Path) -> None:
    """Give a folder and all files and folders in it the modes of newly made ones.

    ``tempfile`` makes folders, and safetensors files, that their owner alone may read; a shared
    cache or model would shut everybody else out.
    """
    probe = folder / ".mode"  # os.umask tells the umask only by changing it, for all threads
    probe.mkdir()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.rmdir()
    for path in [folder, *folder.rglob("*")]:
        path.chmod(mode if path.is_dir() else mode & 0o666)
