"""Tokenized rows on disk: flat arrays with offsets, written once, then memory-mapped by every rank.

A folder holds ``ids.bin`` (token ids of all rows, one after another), arrays that ``numpy.load``
reads, and ``meta.json``, which is written last and names every file's size, so that a truncated or
foreign folder is recognised.
"""

import json
import logging
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from filelock import Timeout
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]
from typing_extensions import Self

from emoji_gpt2.batch import SoftTargets
from emoji_gpt2.data.splits import Array, Split

log = logging.getLogger(__name__)

FORMAT = 6


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Let one process at a time write the store, and delete what a killed one left unfinished.

    The lock is the operating system's: it ends with its process, however that ends.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.parent / f".{folder.name}.lock"
    with ExitStack() as stack:
        try:
            stack.enter_context(WeakFileLock(path, timeout=1))
        except Timeout:
            log.info("another process prepares the same rows: waiting for it")
            stack.enter_context(WeakFileLock(path))
        for unfinished in folder.parent.glob(f".{folder.name}-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        yield


class StoreWriter:
    """Write a store beside its place and move it there when it is whole.

    Args:
        folder: Where the store shall be. If two processes write the same one, the first wins and
            the other's, which is equal, is thrown away.
        dtype: Of the token ids: ``<u2`` for vocabularies of up to 65,536 tokens, else ``<u4``.
    """

    def __init__(self, folder: Path, dtype: np.dtype | str = "<u4") -> None:
        self.folder = folder
        self.dtype = np.dtype(dtype)
        self._aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
        self._aside.mkdir(parents=True)
        self._ids = (self._aside / "ids.bin").open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._ids.close()
        shutil.rmtree(self._aside, ignore_errors=True)

    def add(self, ids: Array) -> None:
        """Append the token ids of some rows."""
        self._ids.write(ids.astype(self.dtype, casting="safe").tobytes())

    def finish(
        self,
        lengths: Array,
        n_prompt: Array,
        soft: SoftTargets,
        splits: dict[str, Split],
        report: list[str],
        samples: list[str] | None = None,
    ) -> Path:
        """Write the rest, move the store into place and return its folder.

        ``report`` says what was read, kept and dropped, ``samples`` shows cells that were dropped.
        """
        self._ids.close()
        arrays = {"lengths": lengths, "n_prompt": n_prompt, "starts": _offsets(lengths)}
        arrays |= {"soft_rows": soft.rows, "soft_offsets": _offsets(soft.counts)}
        arrays |= {"soft_tokens": soft.tokens, "soft_probs": soft.probs}
        for name, split in splits.items():
            arrays |= {f"{name}.{part}": array for part, array in split.arrays().items()}
        for name, array in arrays.items():
            np.save(self._aside / f"{name}.npy", array)
        sizes = {file.name: file.stat().st_size for file in sorted(self._aside.iterdir())}
        meta = {"format": FORMAT, "dtype": self.dtype.str, "sizes": sizes, "splits": list(splits)}
        meta |= {"report": report, "samples": samples or []}
        text = json.dumps(meta, ensure_ascii=False, indent=1)
        (self._aside / "meta.json").write_text(text, encoding="utf-8")
        if self.folder.exists() and not is_whole(self.folder):
            shutil.rmtree(self.folder)
        try:
            self._aside.replace(self.folder)
        except OSError:
            if not is_whole(self.folder):
                raise
        return self.folder


def _offsets(counts: Array) -> Array:
    """Return where each of consecutive parts begins, and where the last ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def is_whole(folder: Path) -> bool:
    """Tell whether ``folder`` holds a store of this format with every file in full length."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        return meta["format"] == FORMAT and all(
            (folder / name).stat().st_size == size for name, size in meta["sizes"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


class Store:
    """Read-only rows of a whole folder, memory-mapped: ranks and workers share the pages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        arrays = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
        self.report: list[str] = meta["report"]
        self.samples: list[str] = meta["samples"]
        self.lengths: Array = arrays["lengths"]
        self.n_prompt: Array = arrays["n_prompt"]
        self._starts = arrays["starts"]
        dtype = np.dtype(meta["dtype"])  # an empty file cannot be mapped
        self._ids = np.memmap(folder / "ids.bin", dtype, "r") if self._starts[-1] else np.empty(0)
        self._soft_rows, self._soft_offsets = arrays["soft_rows"], arrays["soft_offsets"]
        self._soft_tokens, self._soft_probs = arrays["soft_tokens"], arrays["soft_probs"]
        parts = ("rows", "answers", "offsets")
        self.splits = {
            name: Split(*(arrays.get(f"{name}.{part}") for part in parts))  # type: ignore[arg-type]
            for name in meta["splits"]
        }

    def __reduce__(self) -> tuple[type["Store"], tuple[Path]]:
        """Pickle the address, not the pages: a worker process maps the files itself."""
        return Store, (self.folder,)

    def row(self, number: int) -> tuple[Array, int]:
        """Return the token ids of row ``number`` and how many of them are its prompt."""
        ids = self._ids[self._starts[number] : self._starts[number + 1]]
        return ids, int(self.n_prompt[number])

    def soft_targets(self, numbers: Array) -> SoftTargets:
        """Return the soft targets of rows; ``rows`` are then indices into ``numbers``."""
        found = np.searchsorted(self._soft_rows, numbers)
        has = found < len(self._soft_rows)
        has[has] = self._soft_rows[found[has]] == np.asarray(numbers)[has]
        rows = np.flatnonzero(has)
        starts, ends = self._soft_offsets[found[rows]], self._soft_offsets[found[rows] + 1]
        parts = [slice(*pair) for pair in zip(starts, ends, strict=True)]
        return SoftTargets(
            rows,
            ends - starts,
            np.concatenate([self._soft_tokens[:0], *(self._soft_tokens[p] for p in parts)]),
            np.concatenate([self._soft_probs[:0], *(self._soft_probs[p] for p in parts)]),
        )
