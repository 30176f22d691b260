"""The teacher: a sentence-embedding model and the lexical matcher together rank all untoned emoji.

    encode = Encoder("all-MiniLM-L6-v2", cache_dir)
    teacher = Teacher(encode, descriptions, maker)
    teacher.scores(encode(["i love pizza"]), ["i love pizza"])       # [1, E] in nats

An emoji's vector is the mean of those of its name and keywords; a text's score for it is their
cosine / TEMPERATURE, plus LEXICAL times what the text's words say by ``PhraseMaker.evidence``, plus
PRIOR times the maker's prior against rare symbols. The three weights were chosen on
google_emoji_translation.csv; the figures are in ``tests/benchmarks/results``.

Shapes: B texts, E untoned emoji, D the width of the teacher's vectors.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoTokenizer, BertModel

from emoji_gpt2.data.synthetic import PhraseMaker
from emoji_gpt2.emoji.text import words
from emoji_gpt2.errors import UserError

TEMPERATURE, LEXICAL, PRIOR = 0.05, 0.3, 0.5
BATCH = 256
MAX_TOKENS = 64


class Encoder:
    """Mean-pooled, normalised BERT vectors, as sentence-transformers computes them, kept on disk.

    Args:
        folder: With a BertModel and its tokenizer in Transformers format.
        cache_dir: Where vectors are kept, by a hash of weights and texts.

    Raises:
        UserError: the folder holds no such model.
    """

    def __init__(self, folder: str | Path, cache_dir: Path) -> None:
        weights = Path(folder) / "model.safetensors"
        if not weights.is_file():
            wanted = "a folder with a BERT's model.safetensors, config.json and tokenizer"
            remedy = "give that of all-MiniLM-L6-v2"
            raise UserError("data.teacher", repr(str(folder)), wanted, remedy)
        self._key = hashlib.sha256(weights.read_bytes()).digest()
        self._cache_dir = cache_dir
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = BertModel.from_pretrained(folder, add_pooling_layer=False)
        self.model.train(mode=False)

    def __call__(self, texts: list[str]) -> NDArray[np.float16]:
        """Return one vector of length 1 per text, ``[B, D]``."""
        key = hashlib.sha256(self._key + "\n".join(texts).encode()).hexdigest()[:32]
        path = self._cache_dir / f"{key}.npy"
        if not path.is_file():
            self._cache_dir.mkdir(parents=True, exist_ok=True)
            aside = path.with_suffix(".part.npy")
            np.save(aside, self._encode(texts))
            aside.replace(path)
        vectors: NDArray[np.float16] = np.load(path)
        return vectors

    @torch.inference_mode()
    def _encode(self, texts: list[str]) -> NDArray[np.float16]:
        ids = self.tokenizer(texts, truncation=True, max_length=MAX_TOKENS)["input_ids"]
        order = sorted(range(len(texts)), key=lambda i: len(ids[i]))
        vectors = np.empty((len(texts), self.model.config.hidden_size), np.float16)
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            batch = self.tokenizer.pad({"input_ids": [ids[i] for i in part]}, return_tensors="pt")
            with torch.autocast("cpu", torch.bfloat16):
                hidden_BTD = self.model(**batch).last_hidden_state
            mask_BT1 = batch["attention_mask"].unsqueeze(2).float()
            sums_BD = (hidden_BTD.float() * mask_BT1).sum(1)  # normalised, a sum is the mean
            vectors[part] = torch.nn.functional.normalize(sums_BD).numpy()
        return vectors


class Teacher:
    """Scores of all untoned emoji for a text.

    Args:
        encode: Gives the vectors of texts.
        descriptions: The name and keywords of each emoji, as ``texts.descriptions`` gives.
        maker: Over the same emoji; says what words speak for which.
    """

    def __init__(self, encode: Encoder, descriptions: list[list[str]], maker: PhraseMaker) -> None:
        flat = sorted({text for group in descriptions for text in group})
        place = {text: i for i, text in enumerate(flat)}
        vectors = torch.from_numpy(encode(flat)).float()
        means = [vectors[[place[text] for text in group]].mean(0) for group in descriptions]
        self.emoji_ED = torch.nn.functional.normalize(torch.stack(means))
        self.evidence = {word: i for i, word in enumerate(maker.evidence)}
        self._evidence_WE = torch.from_numpy(np.stack(list(maker.evidence.values()))).float()
        self._prior_E = torch.from_numpy(maker.prior)

    def known_words(self, text: str) -> list[int]:
        """Return the numbers of the words that speak for some emoji."""
        return [self.evidence[word] for word in dict.fromkeys(words(text)) if word in self.evidence]

    def scores(self, vectors_BD: Tensor, known: list[list[int]]) -> Tensor:
        """Return the score of each emoji in nats, up to a constant, ``[B, E]``.

        Args:
            vectors_BD: Of the texts.
            known: ``known_words`` of each text.
        """
        offsets = np.cumsum([0, *map(len, known)])[:-1]
        numbers = [number for group in known for number in group]
        lexical_BE = torch.nn.functional.embedding_bag(
            torch.tensor(numbers, dtype=torch.long),
            self._evidence_WE,
            torch.from_numpy(offsets).long(),
            mode="sum",
        )
        cosine_BE = vectors_BD.float() @ self.emoji_ED.T
        return cosine_BE / TEMPERATURE + LEXICAL * lexical_BE + PRIOR * self._prior_E
