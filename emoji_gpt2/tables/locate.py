"""From what a user names to local files: patterns, lists, folders, data sets of the Hub."""

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from emoji_gpt2.errors import UserError
from emoji_gpt2.files import PATH, data_set_files, file_name, local_copy, public

TABLES = (".parquet", ".csv", ".tsv", ".jsonl", ".json", ".ndjson", ".tab", ".txt", ".xlsx")
_DATA_SET = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@([^/]+))?/?")


def local_files(
    given: "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]", cache_dir: Path
) -> tuple[str, list[tuple[str, Path]]]:
    """Return a name for the whole, and the name and local path of each file.

    Raises:
        UserError: there is no such file.
    """
    if not isinstance(given, str | os.PathLike):
        files = [file for one in given for file in local_files(one, cache_dir)[1]]
        if not files:
            raise UserError(PATH, "an empty list", "at least one file", "give one")
        name, more = files[0][0], len(files) - 1
        return f"{name} and {more} more" if more else name, files
    address = os.fspath(given)
    if found := _DATA_SET.fullmatch(address):
        addresses = _training_files(address, data_set_files(found[1], found[2]))
    elif "://" in address:
        addresses = [address]
    else:
        addresses = _expanded(address)
    files = [(file_name(one), local_copy(one, cache_dir)) for one in addresses]
    return file_name(public(address).rstrip("/")), files


def _expanded(path: str) -> list[str]:
    """Return the files of a pattern, or the one table of a folder."""
    local = Path(path).expanduser()
    if not local.exists() and glob.has_magic(path):
        found = sorted(glob.glob(str(local)))  # noqa: PTH207 - a pattern may be absolute
        if not found:
            raise UserError(PATH, repr(path), "a pattern that some file fits", "correct it")
        return found
    if local.is_dir():
        inside = sorted(str(file) for file in local.iterdir() if _kind(file.name) in TABLES)
        if len(inside) != 1:
            got = f"the folder {path!r} with {len(inside)} tables"
            remedy = "name a file in it, or a pattern such as 'FOLDER/*.csv'"
            raise UserError(PATH, got, "one table", remedy)
        return inside
    return [path]


def _kind(name: str) -> str:
    path = PurePosixPath(name.lower())
    return PurePosixPath(path.stem).suffix if path.suffix in (".gz", ".bz2", ".xz") else path.suffix


def _training_files(address: str, names: Sequence[str]) -> list[str]:
    """Return the addresses of a data set's training files, all of one format and configuration."""
    tables = [name for name in names if _kind(name) in TABLES]
    training = [name for name in tables if _split_of(name) == "train"]
    training = training or [name for name in tables if _split_of(name) is None]
    kinds = {_kind(name): None for name in sorted(training, key=lambda n: TABLES.index(_kind(n)))}
    chosen = [name for name in training if _kind(name) == next(iter(kinds), None)]
    folders = sorted({str(PurePosixPath(name).parent) for name in chosen})
    if len(folders) != 1:
        got = f"{address!r}, whose training files are in {', '.join(folders) or 'no folder'}"
        remedy = f"name one, as in {address.rstrip('/')}/{(chosen or ['train.csv'])[0]}"
        raise UserError(PATH, got, "one table", remedy)
    return [f"{address.rstrip('/')}/{name}" for name in sorted(chosen)]


def _split_of(name: str) -> str | None:
    """Return the split that a word of a file's path names, such as test in data/test-0.csv."""
    word = r"(?:^|[/_.-])(train|test|validation|valid|val|dev)(?:ing)?(?=[/_.-])"
    found = re.search(word, name.lower())
    return found[1] if found else None
