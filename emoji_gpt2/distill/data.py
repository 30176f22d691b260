"""Batches for distillation: texts with the teacher's whole ranking, and names with their emoji.

The ranking is computed for each batch anew, from the text's stored vector: 384 numbers a text
instead of 1,914. A name of an emoji, toned or not, has one right answer.

Shapes as in ``batches``, and V candidates: end of text, then all emoji in table order.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from emoji_gpt2.batch import collate
from emoji_gpt2.data.english import word_ranks
from emoji_gpt2.data.samplers import Array, LengthGroupedSampler
from emoji_gpt2.data.synthetic import PhraseMaker
from emoji_gpt2.distill.teacher import Encoder, Teacher
from emoji_gpt2.distill.texts import descriptions, made_of, sample_texts, wordnet_texts
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.emoji.text import normalize_text
from emoji_gpt2.files import default_cache_dir
from emoji_gpt2.tokenizer import (
    add_emoji_tokens,
    builtin_gpt2_tokenizer,
    candidate_tokens,
    encode_prompts,
)

MAX_TOKENS = 48


class DistillBatch(NamedTuple):
    """A ``Batch``, and ``targets_BV``: how likely each candidate should be as first emoji."""

    ids_BT: Tensor
    positions_N: Tensor
    labels_N: Tensor
    first_B: Tensor
    answers_BK: Tensor
    targets_BV: Tensor
    step_tokens: int | None = None
    step_batches: int = 1
    tokenizer: str | None = None


@dataclass
class DistillDataset(Dataset[DistillBatch]):
    """Texts that the teacher answers, then names, whose answers are known.

    Attributes:
        prompts: Token ids of all of them, ``<|emoji|>`` at the end.
        vectors: The teacher's vectors of the texts that it answers.
        known: ``Teacher.known_words`` of these.
        right: The candidate that each name means.
        teacher: What answers.
        untoned: Which of the candidates the teacher's emoji are.
        candidates: The token of each candidate, end of text first.
    """

    prompts: list[list[int]]
    vectors: Array
    known: list[list[int]]
    right: list[int]
    teacher: Teacher
    untoned: Tensor
    candidates: list[int]

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def lengths(self) -> Array:
        """Token count of each prompt."""
        return np.array([len(ids) for ids in self.prompts])

    def __getitem__(self, rows: Array) -> DistillBatch:
        rows = np.sort(rows)  # those that the teacher answers first
        n_taught = int(np.searchsorted(rows, len(self.vectors)))
        targets_BV = torch.zeros(len(rows), len(self.candidates))
        taught = rows[:n_taught].tolist()
        scores_BE = self.teacher.scores(
            torch.from_numpy(self.vectors[taught]), [self.known[i] for i in taught]
        )
        targets_BV[:n_taught, self.untoned] = scores_BE.softmax(1)
        for place, row in enumerate(rows[n_taught:].tolist(), n_taught):
            targets_BV[place, self.right[row - len(self.vectors)]] = 1.0
        drawn = torch.multinomial(targets_BV, 1).flatten().tolist()
        end, nothing = self.candidates[0], np.empty(0, np.int64)
        batch = collate(
            [
                (np.array([*prompt, self.candidates[emoji], end]), len(prompt), nothing)
                for prompt, emoji in zip((self.prompts[r] for r in rows), drawn, strict=True)
            ],
            end,
        )
        return DistillBatch(*batch[:5], targets_BV)


class DistillData(LightningDataModule):
    """WordNet's texts and synthetic ones with the teacher's answers, and the names of all emoji.

    Args:
        teacher: Folder of all-MiniLM-L6-v2, or another BERT whose mean-pooled vectors are compared
            by their cosine.
        wordnet: Folder dict of WordNet 3, with data.noun and so on.
        emojilib: emojilib's JSON of keywords, which the teacher then knows beside the built-in.
        definitions: How many of WordNet's definitions to read.
        made_up_texts: How many texts to make up from names and keywords.
        name_copies: How often the name of each emoji comes in an epoch.
        batch_size: Rows of one batch.
        seed: Decides what is drawn, and the order.
        cache_dir: Where the teacher's vectors are kept; None is ~/.cache/emoji_gpt2/distill.
    """

    def __init__(
        self,
        teacher: str,
        wordnet: str,
        emojilib: str | None = None,
        definitions: int = 60_000,
        made_up_texts: int = 70_000,
        name_copies: int = 8,
        batch_size: int = 384,
        seed: int = 0,
        cache_dir: str | None = None,
    ) -> None:
        super().__init__()
        self.wordnet = Path(wordnet)
        self.emojilib = Path(emojilib) if emojilib else None
        self.definitions = definitions
        self.made_up_texts = made_up_texts
        self.name_copies = name_copies
        self.batch_size = batch_size
        self.seed = seed
        cache = Path(cache_dir) if cache_dir else default_cache_dir() / "distill"
        self.encode = Encoder(teacher, cache)
        self.table = EmojiTable.builtin()
        self.ranks = word_ranks(builtin_gpt2_tokenizer().get_vocab())
        untoned = [emoji for emoji in self.table if not self.table.tones(emoji)]
        self.maker = PhraseMaker(self.table, untoned, self.ranks)
        self.teacher = Teacher(self.encode, descriptions(self.table, self.emojilib), self.maker)

    def texts(self) -> list[str]:
        """Return all that the teacher answers, normalised, each once."""
        examples, definitions, lemmas = wordnet_texts(self.wordnet)
        made_up = [example.text for example in self.maker.examples(self.made_up_texts, self.seed)]
        keywords = [word for words in self.maker.keywords for word in words]
        kinds = {
            "example sentences": examples,
            "definitions": sample_texts(definitions, self.definitions, self.seed),
            "words": made_of(lemmas, self.ranks),
            "synthetic texts": made_up,
            "names and keywords": [*self.maker.names, *keywords],
        }
        for kind, found in kinds.items():
            rank_zero_info(f"{len(set(found)):,} {kind}")
        return list(dict.fromkeys(text for found in kinds.values() for text in found))

    def setup(self, stage: str | None = None) -> None:
        """Read the texts and let the teacher encode them, unless the cache has that."""
        tokenizer, _ = add_emoji_tokens(builtin_gpt2_tokenizer())
        texts = self.texts()
        names = [normalize_text(self.table.name(emoji)) for emoji in self.table]
        prompts = encode_prompts(tokenizer, texts, MAX_TOKENS)
        prompts += self.name_copies * encode_prompts(tokenizer, names, MAX_TOKENS)
        self.dataset = DistillDataset(
            prompts,
            self.encode(texts),
            [self.teacher.known_words(text) for text in texts],
            self.name_copies * list(range(1, len(names) + 1)),
            self.teacher,
            torch.tensor([i for i, e in enumerate(self.table, 1) if not self.table.tones(e)]),
            candidate_tokens(tokenizer),
        )

    def train_dataloader(self) -> DataLoader[DistillBatch]:
        """Return batches of texts of like length, in another order each epoch."""
        sampler = LengthGroupedSampler(self.dataset.lengths, self.batch_size, self.seed)
        return DataLoader(self.dataset, batch_size=None, sampler=sampler)
