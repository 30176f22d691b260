"""From sources to a store: read, check, tokenize, merge, split, write. Once per node, then cached.

The folder's name is a hash of all that decides its content: the sources' bytes, the tokenizer, the
options and the version of this code.
"""

import hashlib
import json
import logging
import math
from collections.abc import Container, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from tqdm import tqdm
from transformers import GPT2Tokenizer

from emoji_gpt2.data.english import word_ranks
from emoji_gpt2.data.examples import (
    Example,
    Report,
    SkinTones,
    keyword_examples,
    name_examples,
    read_examples,
    settle_tones,
)
from emoji_gpt2.data.rows import SPLIT, SYNTHETIC, TEST, TRAIN, VAL, RowCollector, RowEncoder
from emoji_gpt2.data.splits import MAX_HELD_OUT, Array, HashedTexts, Split, TextIndex
from emoji_gpt2.data.store import StoreWriter, is_whole, only_writer
from emoji_gpt2.data.synthetic import PhraseMaker
from emoji_gpt2.emoji.descriptions import trained_descriptions
from emoji_gpt2.emoji.languages import ENGLISH, language_bytes, language_code, table_in
from emoji_gpt2.emoji.resources import read_text
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.emoji.text import is_valid_unicode, normalize_text, text_hash
from emoji_gpt2.errors import UserError, blaming, check
from emoji_gpt2.files import PATH
from emoji_gpt2.tables.columns import Reading
from emoji_gpt2.tables.source import Source, open_source
from emoji_gpt2.tokenizer import N_POSITIONS, tokenizer_to_json

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
ARGUMENTS = {SPLIT: PATH, VAL: "data.val_path", TEST: "data.test_path"}
"""Where the sources of each role come from."""
NAME_OF = "<source {}>"
"""Stands in a stored report for the name of a source: files of equal bytes share their rows."""

VERSION = 6
"""Raise it when the same configuration would give other rows."""


@dataclass(frozen=True)
class DataConfig(Reading):
    """All that decides the rows and splits; the arguments are those of ``EmojiDataModule``.

    A ``frame`` is read instead of the file at ``path``.
    """

    path: list[str] | str | None = None
    val_path: list[str] | str | None = None
    test_path: list[str] | str | None = None
    skin_tones: SkinTones = "keep"
    max_length: int = 128
    val_fraction: float = 0.05
    test_fraction: float = 0.05
    made_up_texts: int = 0
    languages: tuple[str, ...] = (ENGLISH,)
    frame: "pd.DataFrame | None" = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, wanted, fine in (
            ("max_length", f"4 to {N_POSITIONS}", 4 <= self.max_length <= N_POSITIONS),
            ("skin_tones", "keep or drop", self.skin_tones in ("keep", "drop")),
            ("made_up_texts", "0 or more", self.made_up_texts >= 0),
            ("val_fraction", "0 to 0.5", 0 <= self.val_fraction <= 0.5),
            ("test_fraction", "0 to 0.5", 0 <= self.test_fraction <= 0.5),
        ):
            check(f"data.{name}", getattr(self, name), fine=fine, wanted=wanted)
        if self.path is not None and self.languages != (ENGLISH,):
            got = f"{', '.join(self.languages)} with {self.path!r} as path"
            wanted = f"{ENGLISH}: they are of the built-in names and keywords"
            raise UserError("data.languages", got, wanted, "leave one of both out")

    def options(self) -> dict[str, Any]:
        """Return the options without the sources: their content counts, not their names."""
        names = [one.name for one in fields(self) if one.name not in ("frame", "label_names")]
        options = {name: getattr(self, name) for name in names if not name.endswith("path")}
        return options | {"languages": ",".join(map(language_code, self.languages))}

    def sources(self, cache_dir: Path) -> dict[int, Source]:
        """Return the opened sources by the role of their rows."""
        main = self.path if self.frame is None else self.frame
        tables = {SPLIT: main, VAL: self.val_path, TEST: self.test_path}
        found = {}
        for role, table in tables.items():
            reading = self if role == SPLIT else replace(self, labels_path=None)
            if table is not None:
                with blaming(ARGUMENTS[role], PATH):
                    found[role] = open_source(table, reading, cache_dir=cache_dir)
        return found

    def read_texts(self, table: str | list[str], cache_dir: Path) -> tuple[list[str], list[str]]:
        """Return the texts of a table that needs no emoji, as given and as they are read.

        Those without words are left out and counted.
        """
        reading = replace(self, emoji_column=None, labels_path=None)
        with blaming("data.predict_path", PATH):
            source = open_source(table, reading, cache_dir=cache_dir, needs_emoji=False)
        given: list[str] = []
        texts: list[str] = []
        rows = 0
        for chunk in source.chunks():
            rows += len(chunk.texts)
            for cell, text in zip(chunk.given, chunk.texts, strict=True):
                if is_valid_unicode(text) and normalize_text(text):
                    given.append(cell)
                    texts.append(text)
        for line in source.took:
            rank_zero_info(line)
        if len(texts) < rows:
            rank_zero_info(f"{source.name}: {rows - len(texts):,} of {rows:,} rows have no text")
        return given, texts

    def folder(self, sources: dict[int, Source], tokenizer: GPT2Tokenizer, cache_dir: Path) -> Path:
        """Return where the store of this configuration belongs."""
        options = self.options() | {"version": VERSION}
        digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
        digest.update(tokenizer_to_json(tokenizer).encode())
        digest.update(read_text("emoji_table.csv").encode())
        for language in (one for one in self.languages if one != ENGLISH):
            digest.update(language_bytes(language))
        for role, source in sources.items():
            digest.update(f"{role}:{source.digest()}".encode())
        return cache_dir / "rows" / digest.hexdigest()[:32]

    def prepare(self, tokenizer: GPT2Tokenizer, cache_dir: Path) -> Path:
        """Write the store unless it is there whole, and return its folder."""
        sources = self.sources(cache_dir)
        folder = self.folder(sources, tokenizer, cache_dir)
        if is_whole(folder):
            return folder
        encoder = RowEncoder(tokenizer, self.max_length)
        with ExitStack() as stack:
            try:
                stack.enter_context(only_writer(folder))
                if is_whole(folder):  # written by another process meanwhile
                    return folder
                if folder.exists():
                    log.warning("the cache %s is truncated or foreign: it is written again", folder)
                writer = stack.enter_context(StoreWriter(folder, encoder.dtype))
            except OSError as error:
                got, remedy = f"{str(cache_dir)!r}: {error.strerror}", "give a folder to write in"
                raise UserError("data.cache_dir", got, remedy=remedy) from error
            Preparation(self, encoder, RowCollector(writer)).run(sources)
        return folder


class Preparation:
    """One writing of a store."""

    def __init__(self, config: DataConfig, encoder: RowEncoder, rows: RowCollector) -> None:
        self.config = config
        self.encoder = encoder
        self.rows = rows
        self.tables = [(language_code(one), table_in(one)) for one in config.languages]
        self.reports: dict[int, Report] = {}

    def run(self, sources: dict[int, Source]) -> None:
        """Read all sources, split the rows and finish the store."""
        report = [] if SPLIT in sources else self._add_builtin()
        for role, source in sources.items():
            self._add_source(role, source)
        training = self.rows.index(TRAIN, SPLIT)
        held_out = self._hold_out(training, sources)
        if held_out is None:
            self._add_held_out_keywords(training, sources)
            held_out = dict.fromkeys((VAL, TEST), np.empty(0, np.int64))
        splits = {"train": training.training_split(np.concatenate(list(held_out.values())))}
        hashes = []
        for role, name in ((VAL, "val"), (TEST, "test")):
            given = self.rows.index(role)
            self._note_known_texts(role, given, training)
            index, texts = training, held_out[role]
            if len(given.rows):
                index, texts = given, np.arange(len(given.hashes))
            splits[name] = index.evaluation_split(texts)
            hashes.append(index.hashes[texts])
        if self.config.made_up_texts:
            synthetic = self._add_synthetic_texts(HashedTexts(np.concatenate(hashes)))
            splits["train"] = Split(np.concatenate([splits["train"].rows, synthetic]))
        report += [self._summary(role) for role in self.reports]
        counts = ", ".join(f"{name} {len(split):,}" for name, split in splits.items())
        samples = [line for one in self.reports.values() for line in one.samples()]
        self.rows.finish(splits, [*report, f"rows by split: {counts}"], samples)

    def _add(self, role: int, examples: list[Example], report: Report) -> None:
        self.rows.add(role, self.encoder.encode(examples, report))

    def _add_source(self, role: int, source: Source) -> None:
        report = self.reports[role] = Report(NAME_OF.format(role))
        table, tones = EmojiTable.builtin(), self.config.skin_tones
        title, held = f"preparing {source.name}", list[Example]()
        with tqdm(desc=title, unit=" rows", unit_scale=True, delay=1, disable=None) as bar:
            for chunk in source.chunks():
                examples = read_examples(chunk, table, tones, report, source.unit, held)
                self._add(role, examples, report)
                bar.update(len(chunk.texts))
        if held:
            known = set(self.rows.hashes_of(role).tolist())
            self._add(role, settle_tones(held, known, report), report)
        with blaming(ARGUMENTS[role], PATH):
            replace(report, source=source.name).check()
        if not self.rows.count(role):
            got = f"{source.name!r}, none of whose {report.rows_read:,} rows has a text and an "
            got += f"emoji ({report.reasons()})"
            remedy = "name the columns with {data.text_column} and {data.emoji_column}"
            raise UserError(ARGUMENTS[role], got, "at least one", remedy)

    def _add_builtin(self) -> list[str]:
        """Train on names in all languages, and on keywords that are no name in any; report it."""
        all_names: set[str] = set()
        lines = []
        for what in ("names", "keywords"):
            for language, table in self.tables:
                of = "" if language == ENGLISH else f" ({language})"
                report = Report(f"built-in {what}{of}")
                if what == "names":
                    examples = name_examples(table, self.config.skin_tones, report)
                    all_names |= {example.text for example in examples}
                else:
                    examples = keyword_examples(table, table, all_names, "train", report)
                self._add(TRAIN, examples, report)
                n_emoji = len({example.emoji for example in examples})
                lines.append(report.summary(len(set(examples)), n_emoji))
        return lines

    def _hold_out(self, training: TextIndex, sources: dict[int, Source]) -> dict[int, Array] | None:
        """Return the held-out texts by role, or None if the source has too few to spare.

        Embeddings are initialised from the built-in names and keywords: such a text is not new.
        """
        if SPLIT not in sources:
            return None
        wanted = dict.fromkeys((VAL, TEST), 0)
        for role, fraction in self._fractions():
            if fraction and role not in sources:
                share = max(1, round(fraction * len(training.hashes)))
                wanted[role] = min(MAX_HELD_OUT, share)
        total = sum(wanted.values())
        found = training.hold_out(total, ~np.isin(training.hashes, _described()))
        if 2 * len(found) < total:
            return None
        n_val = math.ceil(len(found) * wanted[VAL] / max(1, total))
        return {VAL: found[:n_val], TEST: found[n_val:]}

    def _fractions(self) -> Iterable[tuple[int, float]]:
        return (VAL, self.config.val_fraction), (TEST, self.config.test_fraction)

    def _note_known_texts(self, role: int, given: TextIndex, training: TextIndex) -> None:
        """Count validation texts of a source of their own that the model knows beforehand."""
        for what, known in (
            ("text that is also trained on", training.hashes),
            ("text that embeddings begin with, a built-in name or keyword", _described()),
        ):
            if repeated := int(np.isin(given.hashes, known).sum()):
                self.reports[role].noted[what] += repeated

    def _add_held_out_keywords(self, training: TextIndex, sources: dict[int, Source]) -> None:
        """Validate on built-in keywords of the trained emoji, all of them new texts."""
        trained = set(np.unique(training.pair_token).tolist())
        texts = HashedTexts(np.union1d(training.hashes, _described()))
        for role, fraction in self._fractions():
            if role in sources or not fraction:
                continue
            split: Literal["val", "test"] = "val" if role == VAL else "test"
            report = Report(f"built-in keywords for {'validation' if role == VAL else 'test'}")
            for _, table in self.tables:
                emoji = [e for e in table if self.encoder.emoji_ids[e] in trained]
                self._add(role, keyword_examples(table, emoji, texts, split, report), report)
            if self.rows.count(role):
                self.reports[role] = report

    def _add_synthetic_texts(self, held_out: Container[str]) -> Array:
        """Add synthetic texts of the built-in names and keywords and return their rows.

        Their emoji have no skin tones, as those of keywords: a text that names no tone would
        otherwise have a toned answer in a quarter of all cases.
        """
        table = EmojiTable.builtin()
        emoji = [e for e in table if not table.tones(e)]
        ranks = word_ranks(self.encoder.tokenizer.get_vocab())
        maker = PhraseMaker(table, emoji, ranks, held_out)
        examples = list(maker.examples(self.config.made_up_texts, seed=0))
        report = self.reports[SYNTHETIC] = Report("synthetic texts", len(examples))
        before = self.rows.n_rows
        self._add(SYNTHETIC, examples, report)
        return np.arange(before, self.rows.n_rows, dtype=np.uint32)

    def _summary(self, role: int) -> str:
        kept = self.rows.index(role)
        # A synthetic text that occurs twice is trained on twice.
        rows = self.rows.count(role) if role == SYNTHETIC else len(kept.rows)
        return self.reports[role].summary(rows, len(np.unique(kept.pair_token)))


@cache
def _described() -> Array:
    """Return the hashes of all texts that embeddings are initialised from."""
    return np.array([text_hash(text) for text in trained_descriptions()], np.uint64)
