"""What can be evaluated: rankers take texts and give scores of all emoji.

    ranker = ConstantRanker(EmojiTable.builtin(), {"😂": 12}, "counted in the training data")
    for scores_BV in ranker.batches(["a slice of pizza"]): ...

``baselines.LexicalMatcher`` is one too.
Shapes: B texts of a batch, V emoji in table order, P phrases, D dimensions of an embedding.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import UserError, one_line
from emoji_gpt2.evaluation.baselines import BATCH, Array, most_frequent

if TYPE_CHECKING:
    from emoji_gpt2.generation.generator import EmojiGenerator


class Ranker(Protocol):
    """A model or a baseline."""

    name: str  # of its column in the results
    note: str  # what a reader of the results has to know about it
    log_probabilities: bool  # whether the scores are such

    def batches(self, texts: Sequence[str]) -> Iterator[Array]:
        """Yield the scores of all emoji, ``[B, V]``; -inf for those that are not ranked."""
        ...


class ModelRanker:
    """A generator's log-probabilities."""

    name = "model"
    log_probabilities = True

    def __init__(self, generator: "EmojiGenerator", note: str, batch_size: int) -> None:
        self.note = note
        self._generator, self._batch_size = generator, batch_size

    def batches(self, texts: Sequence[str]) -> Iterator[Array]:
        """Yield log-probabilities, ``[B, V]``."""
        for scores_BV in self._generator.log_probabilities(texts, self._batch_size):
            yield scores_BV.cpu().numpy()

    def generate(self, texts: Sequence[str], max_emoji: int) -> list[str]:
        """Return the model's own answers."""
        return self._generator.generate(texts, max_emoji, batch_size=self._batch_size)


class ConstantRanker:
    """The most frequent emoji first, whatever the text, with their frequencies as probabilities."""

    name = "most frequent"
    log_probabilities = True

    def __init__(self, table: EmojiTable, counts: Mapping[str, int], note: str) -> None:
        self.note = note
        self._scores_V = most_frequent(np.array([counts.get(emoji, 0) for emoji in table]))

    def batches(self, texts: Sequence[str]) -> Iterator[Array]:
        """Yield the same scores for each text."""
        for start in range(0, len(texts), BATCH):
            yield np.tile(self._scores_V, (len(texts[start : start + BATCH]), 1))


class SemanticRanker:
    """The cosine of the text's sentence embedding and that of each emoji without skin tone.

    An emoji's embedding is the mean of those of its name and keywords. A name that is also a
    keyword counts twice, which ranks better than counting it once.

    Raises:
        UserError: sentence-transformers is not installed, or cannot load the model.
    """

    name = "semantic"
    log_probabilities = False

    def __init__(self, table: EmojiTable, model: str) -> None:
        self._model = _sentence_transformer(model)
        self.note = f"{Path(model).name}, mean of the vectors of an emoji's name and keywords"
        self._toned_V = np.array([bool(table.tones(emoji)) for emoji in table])
        phrases_V = [[table.name(e), *table.keywords(e)] for e in map(table.base, table)]
        phrases = list(dict.fromkeys(phrase for own in phrases_V for phrase in own))
        vector_of = dict(zip(phrases, self._embed(phrases), strict=True))
        emoji_VD = np.stack([np.mean([vector_of[p] for p in own], 0) for own in phrases_V])
        self._emoji_VD = emoji_VD / np.linalg.norm(emoji_VD, axis=1, keepdims=True)

    def _embed(self, texts: Sequence[str]) -> Array:
        vectors_BD: Array = self._model.encode(
            list(texts), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False
        )
        return vectors_BD

    def batches(self, texts: Sequence[str]) -> Iterator[Array]:
        """Yield cosines; -inf for emoji with skin tones."""
        for start in range(0, len(texts), BATCH):
            scores_BV = self._embed(texts[start : start + BATCH]) @ self._emoji_VD.T
            scores_BV[:, self._toned_V] = -np.inf
            yield scores_BV


def _sentence_transformer(model: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - not a dependency

        return SentenceTransformer(model)
    except Exception as error:  # noqa: BLE001 - one line for all that can be wrong with it
        wanted = f"the name or folder of a sentence-transformers model ({one_line(error)})"
        remedy = "correct it, or pip install sentence-transformers"
        raise UserError("semantic_model", repr(model), wanted, remedy) from None
