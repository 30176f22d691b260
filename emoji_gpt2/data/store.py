"""Tokenized rows on disk: flat arrays with offsets, written once, then memory-mapped by every rank.

    with StoreWriter(folder) as writer:          # written aside, renamed into place when whole
        writer.add(ids, lengths, prompt_lengths)
        writer.finish({"train": Split(rows), "val": Split(rows, answers)}, report)
    store = Store(folder)
    ids, n_prompt = store.row(7)

A folder holds ``ids.bin`` (token ids of all rows, one after another, little-endian uint16 or 32),
``starts.npy`` (where each row begins), ``lengths.npy`` and ``n_prompt.npy`` (uint16 per row),
``<split>.rows.npy`` (row numbers), for evaluation ``<split>.answers.npy`` with
``<split>.offsets.npy``, the soft targets of the rows ``soft_rows.npy`` in ``soft_tokens.bin`` and
``soft_shares.bin`` (float32) with ``soft_offsets.npy``, and ``meta.json``, which is written last
and names every file's size, so that a truncated or foreign folder is recognised.
"""

import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from filelock import Timeout
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]
from typing_extensions import Self

from emoji_gpt2.batch import SoftTargets
from emoji_gpt2.files import apply_umask

log = logging.getLogger(__name__)

Array = np.ndarray
Dtype = np.dtype | type[np.generic] | str
FORMAT = 4


@dataclass(frozen=True)
class Split:
    """Which rows a split holds, and what counts as right for each.

    Attributes:
        rows: Row numbers, ``[n]``.
        answers: Token ids of the right answers of all rows, one row's after another's; None where
            nothing is ranked (training).
        offsets: Row i's answers are ``answers[offsets[i]:offsets[i + 1]]``, ``[n + 1]``.
    """

    rows: Array
    answers: Array | None = None
    offsets: Array | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def answers_of(self, index: int) -> Array:
        """Return the right answers of the split's row ``index``; none where nothing is ranked."""
        if self.answers is None or self.offsets is None:
            return np.empty(0, dtype=np.int64)
        part: Array = self.answers[self.offsets[index] : self.offsets[index + 1]]
        return part


class Column:
    """Numbers that are added at the end without copying those that are there.

    Args:
        dtype: Of the numbers.
    """

    def __init__(self, dtype: Dtype) -> None:
        self._dtype = np.dtype(dtype)
        self._bytes = bytearray()

    def add(self, values: Array) -> None:
        """Append values; no array that ``values`` returned may be in use any more."""
        self._bytes += values.astype(self._dtype).tobytes()

    @property
    def values(self) -> Array:
        """All of them; to be let go before more are added."""
        return np.frombuffer(self._bytes, self._dtype)


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
            the other's, which is equal, is thrown away; ``only_writer`` spares the second its work.
        dtype: Of the token ids: ``<u2`` for vocabularies of up to 65,536 tokens, else ``<u4``.
    """

    def __init__(self, folder: Path, dtype: Dtype = "<u4") -> None:
        self.folder = folder
        self.dtype = np.dtype(dtype)
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        apply_umask(self._aside)
        self._ids = (self._aside / "ids.bin").open("wb")
        self._soft_tokens = (self._aside / "soft_tokens.bin").open("wb")
        self._soft_shares = (self._aside / "soft_shares.bin").open("wb")
        self._soft_rows = Column(np.uint32)
        self._soft_counts = Column(np.uint16)
        self.lengths = Column(np.uint16)
        self.n_prompt = Column(np.uint16)

    def __enter__(self) -> Self:
        return self

    def add(self, ids: Array, lengths: Array, n_prompt: Array) -> None:
        """Append rows: the token ids of all, the length of each, and of each prompt."""
        assert len(ids) == lengths.sum(dtype=np.int64)
        self._ids.write(ids.astype(self.dtype, casting="safe").tobytes())
        self.lengths.add(lengths)
        self.n_prompt.add(n_prompt)

    def add_soft_targets(self, soft: SoftTargets) -> None:
        """Give rows soft targets; they come in the order of the rows."""
        assert len(soft.tokens) == len(soft.shares) == soft.counts.sum(dtype=np.int64)
        self._soft_rows.add(soft.rows)
        self._soft_counts.add(soft.counts)
        self._soft_tokens.write(soft.tokens.astype(self.dtype, casting="safe").tobytes())
        self._soft_shares.write(soft.shares.astype("<f4").tobytes())

    def finish(self, splits: dict[str, Split], report: list[str]) -> None:
        """Write the rest and move the store into place.

        Args:
            splits: By name.
            report: Lines that say what was read, kept and dropped.
        """
        self._save("lengths", self.lengths.values)
        self._save("starts", _offsets(self.lengths.values))
        self._save("n_prompt", self.n_prompt.values)
        self._save("soft_rows", self._soft_rows.values)
        self._save("soft_offsets", _offsets(self._soft_counts.values))
        for name, split in splits.items():
            self._save(f"{name}.rows", split.rows)
            if split.answers is not None and split.offsets is not None:
                self._save(f"{name}.answers", split.answers)
                self._save(f"{name}.offsets", split.offsets)
        self._close()
        sizes = {file.name: file.stat().st_size for file in sorted(self._aside.iterdir())}
        meta = {
            "format": FORMAT,
            "dtype": self.dtype.str,
            "sizes": sizes,
            "splits": list(splits),
            "report": report,
        }
        text = json.dumps(meta, ensure_ascii=False, indent=1)
        (self._aside / "meta.json").write_text(text, encoding="utf-8")
        self._move_into_place()

    def _close(self) -> None:
        for file in (self._ids, self._soft_tokens, self._soft_shares):
            file.close()

    def _save(self, name: str, array: Array) -> None:
        np.save(self._aside / f"{name}.npy", array)

    def _move_into_place(self) -> None:
        if self.folder.exists() and not is_whole(self.folder):
            shutil.rmtree(self.folder)
        try:
            self._aside.replace(self.folder)
        except OSError:
            if not is_whole(self.folder):
                raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()
        shutil.rmtree(self._aside, ignore_errors=True)


def _offsets(counts: Array) -> Array:
    """Return where each of consecutive parts begins, and where the last ends."""
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def _mapped(path: Path, dtype: Dtype) -> Array:
    """Return a file as an array whose pages are read when they are used; none can map no bytes."""
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.empty(0, dtype)


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
    """Read-only rows, memory-mapped: ranks and workers share the pages.

    Args:
        folder: A folder for which ``is_whole`` holds.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self.report: list[str] = meta["report"]
        self._ids = _mapped(folder / "ids.bin", np.dtype(meta["dtype"]))
        self.lengths: Array = self._load("lengths")
        self.n_prompt: Array = self._load("n_prompt")
        self._starts = self._load("starts")
        self._soft_rows = self._load("soft_rows")
        self._soft_offsets = self._load("soft_offsets")
        self._soft_tokens = _mapped(folder / "soft_tokens.bin", np.dtype(meta["dtype"]))
        self._soft_shares = _mapped(folder / "soft_shares.bin", "<f4")
        self.splits = {name: self._load_split(name) for name in meta["splits"]}

    def __reduce__(self) -> tuple[type["Store"], tuple[Path]]:
        """Pickle the address, not the pages: a worker process maps the files itself."""
        return Store, (self.folder,)

    def row(self, number: int) -> tuple[Array, int]:
        """Return the token ids of row ``number`` and how many of them are its prompt."""
        ids = self._ids[self._starts[number] : self._starts[number + 1]]
        return ids, int(self.n_prompt[number])

    def soft_targets(self, numbers: Array) -> SoftTargets:
        """Return the soft targets of rows; ``rows`` are then places in ``numbers``."""
        places = np.searchsorted(self._soft_rows, numbers)
        has = places < len(self._soft_rows)
        has[has] = self._soft_rows[places[has]] == np.asarray(numbers)[has]
        rows = np.flatnonzero(has)
        starts, ends = self._soft_offsets[places[rows]], self._soft_offsets[places[rows] + 1]
        parts = [slice(*pair) for pair in zip(starts, ends, strict=True)]
        return SoftTargets(
            rows,
            ends - starts,
            np.concatenate([self._soft_tokens[:0], *(self._soft_tokens[p] for p in parts)]),
            np.concatenate([self._soft_shares[:0], *(self._soft_shares[p] for p in parts)]),
        )

    def _load(self, name: str) -> Array:
        array: Array = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        return array

    def _load_split(self, name: str) -> Split:
        ranked = (self.folder / f"{name}.answers.npy").exists()
        if not ranked:
            return Split(self._load(f"{name}.rows"))
        loaded = (self._load(f"{name}.{part}") for part in ("rows", "answers", "offsets"))
        return Split(*loaded)
