"""The baselines of an evaluation as rankers: texts in, scores of all emoji out.

    ranker = LexicalRanker(EmojiTable.builtin(), "cosine")
    for scores_BV in ranker.batches(["a slice of pizza"]): ...

Shapes: B texts of a batch, V emoji in table order, D dimensions of a sentence embedding.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import UserError
from emoji_gpt2.evaluation.baselines import LexicalMatcher, Weighting

Array = np.ndarray
BATCH = 64


class Ranker(Protocol):
    """What can be evaluated.

    Attributes:
        name: Of its column in the results.
        note: What a reader of the results has to know of it.
        log_probabilities: Whether the scores are such.
    """

    name: str
    note: str
    log_probabilities: bool

    def batches(self, texts: Sequence[str]) -> Iterator[Array]:
        """Yield the scores of all emoji, ``[B, V]``; -inf for those that are not ranked."""
        ...


class ConstantRanker:
    """The most frequent emoji first, whatever the text, with their frequencies as probabilities.

    One is added to each count (Laplace), and a little less along the table, so that equal counts
    stand in table order.

    Args:
        table: The emoji.
        counts: How often each was counted.
        note: Where.
    """

    name = "most frequent"
    log_probabilities = True

    def __init__(self, table: EmojiTable, counts: Mapping[str, int], note: str) -> None:
        self.note = note
        prior_V = 1 - 1e-6 * np.arange(len(table)) / len(table)
        scores_V = np.array([counts.get(emoji, 0) for emoji in table]) + prior_V
        self._scores_V = np.log(scores_V / scores_V.sum())

    def batches(self, texts: Sequence[str]) -> Iterator[Array]:
        """Yield the same scores for each text."""
        for start in range(0, len(texts), BATCH):
            yield np.tile(self._scores_V, (len(texts[start : start + BATCH]), 1))


class LexicalRanker:
    """The emoji whose names and keywords share the most words with the text, rare ones above all.

    Args:
        table: The emoji.
        weighting: As ``LexicalMatcher`` has it. Equal scores stand in table order.
    """

    log_probabilities = False

    def __init__(self, table: EmojiTable, weighting: Weighting) -> None:
        self.name = {"sum": "lexical, sum", "cosine": "lexical, cosine"}[weighting]
        words = {"sum": "sum of the idf", "cosine": "cosine of the tf-idf vectors"}[weighting]
        self.note = f"{words} of the words shared with an emoji's name and keywords"
        self._matcher = LexicalMatcher(table, weighting)
        self._order_V = 1e-9 * np.arange(len(table))

    def batches(self, texts: Sequence[str]) -> Iterator[Array]:
        """Yield scores; none above 0 for emoji that share no word."""
        for start in range(0, len(texts), BATCH):
            part = texts[start : start + BATCH]
            yield np.stack([self._matcher.rank(text) - self._order_V for text in part])


class SemanticRanker:
    """The cosine of the text's sentence embedding and each untoned emoji's.

    An emoji's is the mean of those of its name and keywords: a name that is a keyword, too, counts
    twice, which ranked better (hit@1 of 2,522 English sentences 0.284 against 0.261).

    Args:
        table: The emoji.
        model: Name or folder of a sentence-transformers model.

    Raises:
        UserError: sentence-transformers is not installed, or cannot load the model.
    """

    name = "semantic"
    log_probabilities = False

    def __init__(self, table: EmojiTable, model: str) -> None:
        if find_spec("sentence_transformers") is None:
            raise UserError(
                f"--semantic_model: got {model!r}, wanted sentence-transformers to be installed; "
                "install it with pip install sentence-transformers"
            )
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - not a dependency

        try:
            self._model = SentenceTransformer(model)
        except Exception as error:  # noqa: BLE001 - one line for all that can be wrong with it
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"--semantic_model: got {model!r}, wanted the name or folder of a "
                f"sentence-transformers model ({reason})"
            ) from None
        self.note = f"{Path(model).name}, mean of the vectors of an emoji's name and keywords"
        self._toned_V = np.array([bool(table.tones(emoji)) for emoji in table])
        self._emoji_VD = self._embed_emoji(table)

    def _embed_emoji(self, table: EmojiTable) -> Array:
        described = [
            [table.name(e), *table.keywords(e)] if not table.tones(e) else [] for e in table
        ]
        phrases = list(dict.fromkeys(phrase for own in described for phrase in own))
        row_of = {phrase: row for row, phrase in enumerate(phrases)}
        vectors_PD = self._embed(phrases)
        emoji_VD = np.zeros((len(described), vectors_PD.shape[1]))
        for row, own in enumerate(described):
            if own:
                mean_D = vectors_PD[[row_of[phrase] for phrase in own]].mean(0)
                emoji_VD[row] = mean_D / np.linalg.norm(mean_D)
        return emoji_VD

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
