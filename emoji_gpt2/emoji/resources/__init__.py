"""The data files that ship inside the package, and how to read them.

Use::

    read_text("emoji_table.csv")        # as it lies there
    read_text("gpt2_merges.txt.gz")     # unpacked

Where each file comes from, and how to make them anew, stands in ``README.md`` in this folder;
``python -m emoji_gpt2.emoji.build`` makes them.
"""

import gzip
from importlib.resources import files


def read_bytes(name: str) -> bytes:
    """Return a resource's bytes, unpacked when its name ends in ``.gz``.

    Args:
        name: A file of this folder, such as ``gpt2_merges.txt.gz``, or ``licenses/LICENSE``.

    Raises:
        FileNotFoundError: When there is no such resource.
    """
    data = files(__name__).joinpath(name).read_bytes()
    return gzip.decompress(data) if name.endswith(".gz") else data


def read_text(name: str) -> str:
    """Return a resource's text (UTF-8, line ends as stored), unpacked as `read_bytes` does."""
    return read_bytes(name).decode("utf-8")
