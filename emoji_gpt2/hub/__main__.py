"""Push a folder to the Hub by hand.

python -m emoji_gpt2.hub push checkpoints/quickstart --repo_id USER/NAME [--revision BRANCH]

Prints the repository's address and exits with 0, or one line on standard error and 2.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from emoji_gpt2.errors import OneLineParser, UserError, one_line_errors
from emoji_gpt2.files import LAST, MODEL
from emoji_gpt2.hub.client import check_access, commit_files, files_of, reason, with_retries

log = logging.getLogger(__name__)


def push(
    folder: Path, repo_id: str, revision: str | None = None, private: bool | None = None
) -> str:
    """Push a Transformers folder, or a run's model/ and last.ckpt; return the address.

    Raises:
        UserError: the folder is neither, the repository cannot be written, or the push failed.
    """
    inside, last = folder / MODEL, folder / LAST
    model = inside if (inside / "config.json").is_file() else folder
    files = files_of(model) if (model / "config.json").is_file() else {}
    if last.is_file():
        files[LAST] = last
    if not files:
        wanted = f"a Transformers folder or that of a run, with {MODEL}/ or {LAST}"
        raise UserError("DIR", repr(str(folder)), wanted, "give another")
    repo_id = check_access(repo_id, private, revision)
    try:
        address, note = with_retries(lambda: commit_files(files, repo_id, revision))
    except Exception as error:  # noqa: BLE001 - one line for all of them
        got = f"{repo_id!r}, to which the push failed ({reason(error)})"
        raise UserError("hub.repo_id", got, remedy="try again") from None
    if note:
        log.warning(note)
    return address


def main(words: Sequence[str] | None = None) -> None:
    """Run ``push``; a user's mistake is one line on standard error and exit status 2."""
    parser = OneLineParser(
        prog="python -m emoji_gpt2.hub", description="Push to the Hub.", allow_abbrev=False
    )
    parser.add_argument("command", choices=["push"], help="push a folder in one commit")
    parser.add_argument("folder", metavar="DIR", type=Path, help="Transformers or run folder")
    parser.add_argument("--repo_id", required=True, metavar="USER/NAME", help="made if missing")
    parser.add_argument("--revision", help="branch, made if missing (default: main)")
    parser.add_argument("--private", action="store_true", default=None, help="if it is made")
    given = parser.parse_args(words)
    with one_line_errors():
        print(push(given.folder.expanduser(), given.repo_id, given.revision, given.private))


if __name__ == "__main__":
    main()
