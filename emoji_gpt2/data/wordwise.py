"""Token ids of many texts, each distinct word tokenized once.

    encode = WordwiseEncoder(tokenizer, np.dtype("<u2"))
    np.frombuffer(encode(["hot pizza", "hot dog"])[0], "<u2")     # [3024, 14256]; "hot" is known

GPT-2's pre-tokenizer begins a new piece at each space, and BPE never merges over pieces: the ids of
a text are those of its words, each but the first with the space in front of it
(https://github.com/openai/gpt-2/blob/master/src/encoder.py, ``pat``). Words repeat, so a look-up
each is several times faster than tokenizing (``tests/benchmarks/bench_prepare.py``).
"""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import numpy as np
from tokenizers import pre_tokenizers
from transformers import GPT2Tokenizer

from emoji_gpt2.tokenizer import encode_texts

MAX_WORDS = 250_000
"""Words remembered at most, about 50 MB; then the memory begins anew."""


class WordwiseEncoder:
    """Callable: texts to their token ids as bytes, for ``numpy.frombuffer``.

    Bytes, since joining them is several times faster than joining lists of numbers.

    Args:
        tokenizer: With a pre-tokenizer other than GPT-2's, nothing is remembered.
        dtype: Of the ids.
    """

    def __init__(self, tokenizer: GPT2Tokenizer, dtype: np.dtype[Any]) -> None:
        self.tokenizer = tokenizer
        self.dtype = dtype
        self._by_words = words_stand_alone(tokenizer)
        self._first: dict[str, bytes] = {}
        self._later: dict[str, bytes] = {}

    def __call__(self, texts: list[str]) -> list[bytes]:
        """Return the ids of normalised texts: their only white space is single spaces within."""
        if not self._by_words:
            return self._encode(texts)
        words = [text.split(" ") for text in texts]
        self._learn(self._first, {of_text[0] for of_text in words}, "{}".format)
        self._learn(self._later, set(chain.from_iterable(w[1:] for w in words)), " {}".format)
        first, later = self._first, self._later
        return [
            b"".join([first[of_text[0]], *[later[word] for word in of_text[1:]]])
            for of_text in words
        ]

    def _learn(self, known: dict[str, bytes], words: set[str], spell: Callable[[str], str]) -> None:
        if len(known) + len(words) > MAX_WORDS:
            known.clear()
        new = list(words - known.keys())
        known.update(zip(new, self._encode(map(spell, new)), strict=True))

    def _encode(self, texts: Iterable[str]) -> list[bytes]:
        return [np.array(ids, self.dtype).tobytes() for ids in encode_texts(self.tokenizer, texts)]


def words_stand_alone(tokenizer: GPT2Tokenizer) -> bool:
    """Tell whether the tokenizer cuts at each space, whatever stands around it."""
    backend: Any = tokenizer.backend_tokenizer
    before = backend.pre_tokenizer
    return (
        backend.normalizer is None
        and isinstance(before, pre_tokenizers.ByteLevel)
        and before.use_regex
        and not any(_reaches_over_spaces(t) for t in backend.get_added_tokens_decoder().values())
    )


def _reaches_over_spaces(added_token: Any) -> bool:
    return added_token.rstrip or len(added_token.content.split()) != 1
