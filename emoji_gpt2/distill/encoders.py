"""Sentence encoders, several as one, whose vectors are kept on disk.

    encode = Encoders(["all-MiniLM-L6-v2", "all-mpnet-base-v2"], cache_dir)
    encode(["i love pizza"])                                        # [1, 384 + 768]

Shapes: B texts, T tokens, D the width of the encoders' vectors together.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from emoji_gpt2.errors import UserError

BATCH, CHUNK = 256, 8192
"""Texts of one forward pass, and of one file of the cache."""
MAX_TOKENS = 64


class Encoder:
    """Mean-pooled, normalised vectors, as sentence-transformers computes them, kept on disk.

    Args:
        folder: With a BERT or MPNet and its tokenizer in Transformers format.
        cache_dir: Where vectors are kept, by a hash of weights and texts, ``CHUNK`` texts a file:
            a run that was stopped goes on.

    Raises:
        UserError: the folder holds no such model.
    """

    def __init__(self, folder: str | Path, cache_dir: Path) -> None:
        weights = Path(folder) / "model.safetensors"
        if not weights.is_file():
            wanted = (
                "folders of sentence encoders with model.safetensors, config.json and tokenizer"
            )
            remedy = "give those of all-MiniLM-L6-v2 and all-mpnet-base-v2"
            raise UserError("data.teachers", repr(str(folder)), wanted, remedy)
        self._key = hashlib.sha256(weights.read_bytes()).digest()
        self._cache_dir = cache_dir
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32)
        self.model.train(mode=False)

    def __call__(self, texts: list[str]) -> NDArray[np.float16]:
        """Return one vector of length 1 per text, ``[B, D]``."""
        chunks = [texts[i : i + CHUNK] for i in range(0, len(texts), CHUNK)]
        return np.concatenate([self._kept(chunk) for chunk in chunks])

    def _kept(self, texts: list[str]) -> NDArray[np.float16]:
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


class Encoders:
    """Several encoders as one, whose inner product is the mean of their cosines.

    Args:
        folders: As of ``Encoder``.
        cache_dir: As of ``Encoder``.
    """

    def __init__(self, folders: Sequence[str | Path], cache_dir: Path) -> None:
        self.encoders = [Encoder(folder, cache_dir) for folder in folders]

    def __call__(self, texts: list[str]) -> NDArray[np.float16]:
        """Return one vector of length 1 per text, ``[B, D]``."""
        vectors = np.concatenate([encode(texts) for encode in self.encoders], axis=1)
        scaled: NDArray[np.float16] = np.divide(
            vectors, len(self.encoders) ** 0.5, dtype=np.float16
        )
        return scaled

    def unit(self, vectors_BD: Tensor) -> Tensor:
        """Return sums of vectors with each encoder's part at the length that it has in one."""
        widths = [encode.model.config.hidden_size for encode in self.encoders]
        parts = [torch.nn.functional.normalize(part) for part in torch.split(vectors_BD, widths, 1)]
        return torch.cat(parts, 1).div(len(parts) ** 0.5)
