"""The data files that ship inside the package; ``README.md`` beside them says what made them."""

import gzip
from importlib.resources import files


def read_bytes(name: str) -> bytes:
    """Return the bytes of a file such as ``licenses/LICENSE``, unpacked if it ends in ``.gz``."""
    data = files(__name__).joinpath(name).read_bytes()
    return gzip.decompress(data) if name.endswith(".gz") else data


def read_text(name: str) -> str:
    """Return a file's text (UTF-8, line ends as stored), unpacked as `read_bytes` does."""
    return read_bytes(name).decode("utf-8")
