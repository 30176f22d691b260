"""The texts that the student learns from, by kind, and how their rows are made.

The rows and their batches are ``dataset``'s.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader

from emoji_gpt2.data.english import word_ranks
from emoji_gpt2.data.samplers import LengthGroupedSampler
from emoji_gpt2.data.synthetic import PhraseMaker
from emoji_gpt2.distill.dataset import DistillBatch, DistillDataset, Row
from emoji_gpt2.distill.encoders import Encoders
from emoji_gpt2.distill.mood import NEUTRAL, feelings, goemotions, sayings
from emoji_gpt2.distill.teacher import Teacher
from emoji_gpt2.distill.texts import (
    composed,
    descriptions,
    evaluation_hashes,
    sample_texts,
    short_hash,
    things,
    wordnet_texts,
)
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.emoji.text import normalize_text, words
from emoji_gpt2.files import default_cache_dir
from emoji_gpt2.tokenizer import (
    add_emoji_tokens,
    builtin_gpt2_tokenizer,
    candidate_tokens,
    encode_prompts,
)

MAX_TOKENS = 48
MOOD_SHARE = 0.5
"""How much of the probability the emoji of a text's emotions get beside the teacher's."""
ANY_WORD = "feeling"
"""Its vector stands where a mood alone decides."""


class DistillData(LightningDataModule):
    """Texts with the teacher's answers, and the names of all emoji.

    Args:
        teachers: Folders of sentence encoders, all-MiniLM-L6-v2 and all-mpnet-base-v2, or other
            BERT or MPNet whose mean-pooled vectors are compared by their cosine.
        wordnet: Folder dict of WordNet 3, with data.noun and so on.
        emojilib: emojilib's JSON of keywords, which the teacher then knows beside the built-in.
        goemotions: GoEmotions' train.tsv, comments with emotions.
        definitions: How many of WordNet's definitions to read.
        made_up_texts: How many texts to make up from names and keywords.
        composed_texts: How many texts to compose of two or three things.
        sayings: How many texts of a mood about one or two things to make up.
        name_copies: How often the name of each emoji comes in an epoch.
        batch_size: Rows of one batch.
        seed: Decides what is drawn, and the order.
        cache_dir: Where the teacher's vectors are kept; None is ~/.cache/emoji_gpt2/distill.
    """

    def __init__(
        self,
        teachers: list[str],
        wordnet: str,
        emojilib: str | None = None,
        goemotions: str | None = None,
        definitions: int = 65_536,
        made_up_texts: int = 16_384,
        composed_texts: int = 80_000,
        sayings: int = 25_000,
        name_copies: int = 8,
        batch_size: int = 384,
        seed: int = 0,
        cache_dir: str | None = None,
    ) -> None:
        super().__init__()
        self.wordnet = Path(wordnet)
        self.emojilib = Path(emojilib) if emojilib else None
        self.goemotions = Path(goemotions) if goemotions else None
        self.definitions = definitions
        self.made_up_texts = made_up_texts
        self.composed_texts = composed_texts
        self.sayings = sayings
        self.name_copies = name_copies
        self.batch_size = batch_size
        self.seed = seed
        cache = Path(cache_dir) if cache_dir else default_cache_dir() / "distill"
        self.encode = Encoders(teachers, cache)
        self.table = EmojiTable.builtin()
        self.ranks = word_ranks(builtin_gpt2_tokenizer().get_vocab())
        untoned = [emoji for emoji in self.table if not self.table.tones(emoji)]
        self.maker = PhraseMaker(self.table, untoned, self.ranks)
        self.teacher = Teacher(self.encode, descriptions(self.table, self.emojilib), self.maker)

    def texts(self) -> dict[str, list[str]]:
        """Return the texts that are encoded, normalised, by kind: each kind is cached apart."""
        examples, definitions = wordnet_texts(self.wordnet)
        comments = goemotions(self.goemotions) if self.goemotions else []
        keywords = [word for group in self.maker.keywords for word in group]
        made_up = self.maker.examples(self.made_up_texts, self.seed)
        return {
            "English words": sorted(self.ranks),
            "comments": list(dict.fromkeys(text for text, _ in comments)),
            "example sentences": examples,
            "names and keywords": list(dict.fromkeys([*self.maker.names, *keywords])),
            "synthetic texts": [example.text for example in made_up],
            "definitions": sample_texts(definitions, self.definitions, self.seed),
        }

    def rows(self, kinds: dict[str, list[str]]) -> Iterator[Row]:
        """Yield the rows that the teacher answers: the texts, composed texts and moods."""
        comments = dict(goemotions(self.goemotions)) if self.goemotions else {}
        for found in kinds.values():
            for text in found:
                felt = tuple(n for n in comments.get(text, ()) if n != NEUTRAL)
                share = MOOD_SHARE if felt else 0.0
                yield Row(text, (text,), things(text, self.ranks), felt, share)
        named = [text for text in kinds["names and keywords"] if len(words(text)) <= 2]
        for text, parts in composed(named, self.composed_texts, self.seed):
            yield Row(text, parts, parts, most=len(parts))
        for text, parts, emotion in sayings(named, self.sayings, self.seed):
            yield Row(text, parts, parts, (emotion,), MOOD_SHARE, len(parts) + 1)
        if self.sayings:
            for text, emotion in feelings():
                yield Row(text, (ANY_WORD,), (), (emotion,), 1.0, 1)

    def setup(self, stage: str | None = None) -> None:
        """Read the texts and let the teacher encode them, unless the cache has that."""
        kinds = self.texts()
        place = {
            text: i for i, text in enumerate(dict.fromkeys(t for k in kinds.values() for t in k))
        }
        vectors = np.empty((len(place), self.teacher.emoji_ED.shape[1]), np.float16)
        for found in kinds.values():
            vectors[[place[text] for text in found]] = self.encode(found)
        never = evaluation_hashes()
        rows = list(
            {
                row.text: row for row in self.rows(kinds) if short_hash(row.text) not in never
            }.values()
        )
        for kind, found in kinds.items():
            rank_zero_info(f"{len(found):,} {kind}")
        rank_zero_info(f"{len(rows):,} texts in all, composed ones and moods among them")
        tokenizer, _ = add_emoji_tokens(builtin_gpt2_tokenizer())
        names = [normalize_text(self.table.name(emoji)) for emoji in self.table]
        prompts = encode_prompts(tokenizer, [row.text for row in rows], MAX_TOKENS)
        prompts += self.name_copies * encode_prompts(tokenizer, names, MAX_TOKENS)
        self.dataset = DistillDataset(
            prompts,
            rows,
            place,
            vectors,
            self.name_copies * list(range(1, len(names) + 1)),
            self.teacher,
            torch.tensor([i for i, e in enumerate(self.table, 1) if not self.table.tones(e)]),
            candidate_tokens(tokenizer),
        )

    def train_dataloader(self) -> DataLoader[DistillBatch]:
        """Return batches of texts of like length, in another order each epoch."""
        sampler = LengthGroupedSampler(self.dataset.lengths, self.batch_size, self.seed)
        return DataLoader(self.dataset, batch_size=None, sampler=sampler, num_workers=1)
