"""The data module: any table of texts and emoji, tokenized once, in length-grouped batches."""

import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import BatchSizeFinder
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader
from transformers import GPT2Tokenizer

from emoji_gpt2.data.examples import SkinTones
from emoji_gpt2.data.loader import PromptDataset, RowDataset, RowLoader, TrainingLoader
from emoji_gpt2.data.prepare import NAME_OF, DataConfig
from emoji_gpt2.data.samplers import EvaluationSampler, LengthGroupedSampler
from emoji_gpt2.data.store import Store, is_whole
from emoji_gpt2.emoji.languages import ENGLISH, parse_languages
from emoji_gpt2.errors import UserError, check
from emoji_gpt2.files import default_cache_dir, without_secrets
from emoji_gpt2.gpt2_files import load_gpt2_tokenizer
from emoji_gpt2.tables.source import Source
from emoji_gpt2.tokenizer import add_emoji_tokens, encode_prompts, eos_id, fingerprint

if TYPE_CHECKING:
    import pandas as pd

SOURCES = frozenset(("path", "val_path", "test_path", "predict_path", "labels_path", "label_names"))
"""Arguments that may be addresses."""
EVALUATION_ROWS = 64
"""The most rows of an evaluation batch on one device."""


class EmojiDataModule(LightningDataModule):
    """Texts and their emoji for training and evaluation of ``EmojiGPT2``.

    Args:
        path: Texts and emoji: a file (CSV and its kin, JSON, Parquet, plain text; maybe
            compressed), a pattern such as "part-*.csv", https://..., hf://datasets/user/name with
            or without a file, or a list of these. None trains on the built-in emoji table: the name
            and keywords of every emoji.
        batch_size: Rows of one micro-batch over all devices together, so that a run means the same
            on any number of devices.
        max_length: The most tokens of a row, emoji included; longer texts are cut and counted.
        skin_tones: "keep" them, or "drop": 👍🏽 becomes 👍, and texts naming a tone are left out.
        val_path: A source to validate on, instead of texts held out of ``path``.
        test_path: A source to test on, instead of texts held out of ``path``.
        predict_path: A source of texts to predict emoji for; it needs no emoji column.
        text_column: The column of the texts, by name or by number from 1; None finds it by name,
            and by what stands in it.
        emoji_column: The column of the emoji, likewise.
        encoding: How the sources' characters are encoded; None finds it.
        delimiter: What separates the cells of a line; None finds it.
        labels_path: The labels of the texts in ``path``, one a line. None takes the file of labels
            beside a file of texts, such as train_labels.txt beside train_text.txt.
        label_names: A file with the emoji of each label: label, tab, emoji.
        emoji_from_text: Take the emoji out of the texts; None does so if there is no column of
            emoji and most texts hold some.
        val_fraction: Share of the distinct texts that is held out for validation, at most 10,000
            texts; 0 turns validation off. If the source has only one text per emoji, validation
            uses built-in keywords of its emoji instead. These keywords, about 5 % of all, are
            never trained on (``emoji/descriptions.py``).
        test_fraction: The same for testing.
        made_up_texts: Number of synthetic English training texts, made of the built-in names and
            keywords, such as "halloween scary establish!" for 🧟 and 🎃. They help the model to
            understand sentences. Each has a soft target of up to 32 emoji
            (``Batch.soft_tokens_M``).
        languages: The languages of the built-in names and keywords, used without ``path`` only:
            en,de,es or a list. The error of an unknown code lists those in the package;
            emoji_gpt2.emoji.build_languages makes files of others, such as
            en,my_languages/eu.csv.gz.
        seed: The order of training rows depends on it and on the epoch.
        num_workers: Processes per device that collate batches. 0 collates in the training process,
            which is fast enough unless steps take a few milliseconds.
        pin_memory: Use page-locked memory for batches; None means yes if there is a GPU.
        tokenizer: Name or folder of the GPT-2 whose tokenizer to extend: the model's
            ``pretrained``. None is the built-in GPT-2 BPE.
        cache_dir: Where tokenized rows and downloads are kept; None is ~/.cache/emoji_gpt2.
        allow_other_data: Continue from a checkpoint although the rows or their order differ from
            those of its run.

    Raises:
        UserError: an argument is out of range, or the source cannot be read; one line says why.
    """

    _tokenizer: GPT2Tokenizer | None = None
    _store: Store | None = None
    _prompts: PromptDataset | None = None
    _order: LengthGroupedSampler | None = None
    _loader: TrainingLoader | None = None

    def __init__(
        self,
        path: list[str] | str | None = None,
        batch_size: int = 256,
        max_length: int = 128,
        skin_tones: SkinTones = "keep",
        val_path: list[str] | str | None = None,
        test_path: list[str] | str | None = None,
        predict_path: list[str] | str | None = None,
        text_column: str | None = None,
        emoji_column: str | None = None,
        encoding: str | None = None,
        delimiter: str | None = None,
        labels_path: str | None = None,
        label_names: str | None = None,
        emoji_from_text: bool | None = None,
        val_fraction: float = 0.05,
        test_fraction: float = 0.05,
        made_up_texts: int = 0,
        languages: list[str] | str = ENGLISH,
        seed: int = 0,
        num_workers: int = 0,
        pin_memory: bool | None = None,
        tokenizer: str | None = None,
        cache_dir: str | None = None,
        allow_other_data: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self._hide_secrets()
        check("data.batch_size", batch_size, fine=batch_size >= 1, wanted="at least 1")
        check("data.num_workers", num_workers, fine=num_workers >= 0, wanted="0 or more")
        check("data.seed", seed, fine=seed >= 0, wanted="0 or more")
        self.config = DataConfig(
            path=path,
            val_path=val_path,
            test_path=test_path,
            text_column=text_column,
            emoji_column=emoji_column,
            encoding=encoding,
            delimiter=delimiter,
            labels_path=labels_path,
            label_names=label_names,
            emoji_from_text=emoji_from_text,
            skin_tones=skin_tones,
            max_length=max_length,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            made_up_texts=made_up_texts,
            languages=parse_languages(languages),
        )
        self.batch_size = batch_size
        self.predict_path = predict_path
        self.seed = seed
        self.num_workers = num_workers
        self.pin_memory = torch.cuda.is_available() if pin_memory is None else pin_memory
        self.tokenizer_name = tokenizer
        self.cache_dir = Path(cache_dir).expanduser() if cache_dir else default_cache_dir()
        self.allow_other_data = allow_other_data
        self._sources: dict[int, Source] = {}

    def _hide_secrets(self) -> None:
        """Let checkpoints, and loggers, which get the first copy, have no key of an address."""
        first: dict[str, Any] = self._hparams_initial  # type: ignore[attr-defined]
        for kept in (self.hparams, first):
            for name in SOURCES & kept.keys():
                kept[name] = without_secrets(kept[name])

    @classmethod
    def from_frame(cls, frame: "pd.DataFrame", **arguments: Any) -> "EmojiDataModule":
        """Return a data module for a DataFrame; ``arguments`` are the class's but ``path``."""
        data = cls(path="DataFrame", **arguments)
        data.config = replace(data.config, frame=frame.copy(deep=False))
        return data

    @property
    def tokenizer(self) -> GPT2Tokenizer:
        """The tokenizer of the rows, with emoji tokens."""
        if self._tokenizer is None:
            self._tokenizer, _ = add_emoji_tokens(load_gpt2_tokenizer(self.tokenizer_name))
        return self._tokenizer

    @property
    def store(self) -> Store:
        """The prepared rows; available after ``setup``."""
        if self._store is None:
            remedy = "call prepare_data() and setup() first"
            raise UserError("EmojiDataModule", "no rows yet", remedy=remedy)
        return self._store

    @property
    def report(self) -> list[str]:
        """Lines of text: how many rows were read, kept, merged and dropped; no cell is shown."""
        return self._named(self.store.report)

    def _named(self, lines: list[str]) -> list[str]:
        """Return stored lines with the names of the sources of this run."""
        names = {NAME_OF.format(role): source.name for role, source in self._sources.items()}
        pattern = re.compile("|".join(map(re.escape, names)) or "$^")
        return [pattern.sub(lambda found: names[found[0]], line) for line in lines]

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.tokenizer)

    def prepare_data(self) -> None:
        """Read, check, tokenize and cache the sources, unless the cache has them. Once per node."""
        if self.trainer is None or self.trainer.state.fn != "predict":
            self.config.prepare(self.tokenizer, self.cache_dir)

    def setup(self, stage: str | None = None) -> None:
        """Map the prepared rows into memory and print the report."""
        if stage in ("predict", None) and self.predict_path is not None:
            given, read = self.config.read_texts(self.predict_path, self.cache_dir)
            prompts = encode_prompts(self.tokenizer, read, self.config.max_length - 1)
            self._prompts = PromptDataset(given, prompts, eos_id(self.tokenizer), self._fingerprint)
        if stage != "predict" and self._store is None:
            self._sources = self.config.sources(self.cache_dir)
            folder = self.config.folder(self._sources, self.tokenizer, self.cache_dir)
            if not is_whole(folder):
                remedy = "call prepare_data() first"
                raise UserError("EmojiDataModule", f"no rows in {folder}", remedy=remedy)
            self._store = Store(folder)
            took = [line for source in self._sources.values() for line in source.took]
            for line in [*took, *self.report, *self._named(self._store.samples)]:
                rank_zero_info(line)

    def train_dataloader(self) -> TrainingLoader:
        """Return this rank's training batches; each iteration is the next epoch.

        A loader that is made anew, as in a loop over epochs, continues with the next epoch.
        """
        self._order = self._next_order(self._order)
        self._loader = TrainingLoader(
            self._dataset("train"),
            self._order,
            self.trainer,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
        )
        return self._loader

    def _next_order(self, previous: LengthGroupedSampler | None = None) -> LengthGroupedSampler:
        lengths = self._dataset("train").lengths
        accumulate = self.trainer.accumulate_grad_batches if self.trainer else 1
        order = LengthGroupedSampler(lengths, self.batch_size, self.seed, accumulate)
        if previous is not None:
            order.follow(previous)
        return order

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the training data and the options of its order.

        Lightning 2.6 restores a loader's own state in the middle of an epoch only; it always
        restores the state of a data module.
        """
        if self._order is None:
            return {}
        position = self._order.state_dict()
        if self._loader and (self._loader.order is self._order or self._loader.order.given):
            position = self._loader.state_dict()
        if self.trainer and position["batches"] >= self.trainer.num_training_batches:
            position = {"epoch": position["epoch"] + 1, "batches": 0}
        return position | {"rows": self.store.folder.name, "options": self._options_of_order()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the next training loader continue at this position.

        Raises:
            UserError: the rows, or an option that decides their order, are not those of the
                checkpoint, and ``allow_other_data`` is not set.
        """
        if not state_dict or self._store is None:  # load_from_checkpoint needs the arguments only
            return
        if self.trainer and self.trainer.state.fn != "fit":
            return
        changes = self._changes_since(state_dict)
        if changes and not self.allow_other_data:
            raise UserError(
                "ckpt_path",
                f"a checkpoint of a run on other data ({'; '.join(changes)})",
                "the same, so that the run goes on as if it had not stopped",
                "undo that, or give {data.allow_other_data} true",
            )
        for change in changes:
            rank_zero_info(f"going on with other data: {change}")
        rows = state_dict["batches"] * state_dict["options"]["batch_size"]
        position = {"epoch": state_dict["epoch"], "batches": rows // self.batch_size}
        self._order = self._next_order()
        self._order.load_state_dict(position)
        if self._loader is not None:
            self._loader.order.given = 0  # forget the trial steps of a BatchSizeFinder

    def _options_of_order(self) -> dict[str, Any]:
        """Return the options that decide which rows are in which batch, without the sources."""
        window = self.trainer.accumulate_grad_batches if self.trainer else 1
        if self._order is not None:
            window = self._order.accumulate  # callbacks may change the trainer's
        order = {"batch_size": self.batch_size, "seed": self.seed}
        return self.config.options() | order | {"accumulate_grad_batches": window}

    def _changes_since(self, state_dict: dict[str, Any]) -> list[str]:
        ours, theirs = self._options_of_order(), state_dict["options"]
        callbacks = getattr(self.trainer, "callbacks", [])
        if any(isinstance(callback, BatchSizeFinder) for callback in callbacks):
            ours["batch_size"] = theirs["batch_size"]  # the finder searches for it again
        changes = [
            f"{name} was {theirs.get(name)!r} and is {ours.get(name)!r}"
            for name in sorted(ours | theirs)
            if ours.get(name) != theirs.get(name)
        ]
        if not changes and state_dict["rows"] != self.store.folder.name:
            changes = ["the sources, the tokenizer or the version of emoji_gpt2 have changed"]
        return changes

    def val_dataloader(self) -> RowLoader | list[RowLoader]:
        """Return this rank's share of the validation rows, each row on one rank."""
        return self._evaluation_loader("val")

    def test_dataloader(self) -> RowLoader | list[RowLoader]:
        """Return this rank's share of the test rows, each row on one rank."""
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return the texts of ``predict_path``, in their order."""
        if self.predict_path is None:
            raise UserError("data.predict_path", "none", "a table of texts", "give its path")
        if self._prompts is None:
            raise UserError("EmojiDataModule", "no texts yet", remedy="call setup('predict') first")
        size = min(self.batch_size, EVALUATION_ROWS)
        return DataLoader(self._prompts, batch_size=size, collate_fn=self._prompts.collate)

    def _evaluation_loader(self, split: str) -> RowLoader | list[RowLoader]:
        dataset = self._dataset(split)
        if not len(dataset):
            return []
        order = EvaluationSampler(dataset.lengths, min(self.batch_size, EVALUATION_ROWS))
        return RowLoader(dataset, order, num_workers=self.num_workers, pin_memory=self.pin_memory)

    def _dataset(self, split: str) -> RowDataset:
        pad_id = eos_id(self.tokenizer)
        return RowDataset(self.store, self.store.splits[split], pad_id, self._fingerprint)
