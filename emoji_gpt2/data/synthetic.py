"""Synthetic texts: words of an emoji's name and keywords, inflected, among other English words.

    maker = PhraseMaker(table, emoji, word_ranks(tokenizer.get_vocab()))
    for text, emoji, probs in maker.examples(40_000, seed=0):
        ...     # "halloween scary establish!", ("🧟",), (("🧟", 0.61), ("🎃", 0.17), ...)

A text is 1 to 4 words of one emoji (or its name) with 0 to 8 English words in between. Its soft
target is the posterior of the emoji given all words of the text; the emoji of the row is drawn from
it. A word w of an emoji's description has the probability P(w | emoji), in English it has P(w), so
its evidence for an emoji is log(1 + P(w | emoji) / (NOISE P(w))), the language-model form of tf-idf
(Hiemstra 2000, https://doi.org/10.1007/s007999900025). P(w) follows Zipf's law over the order of
GPT-2's BPE vocabulary, which is that of frequency: "back" is weaker evidence than "pizza", although
few emoji have either. What each part contributes is measured in ``tests/benchmarks/results``.
"""

from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from emoji_gpt2.data.english import families
from emoji_gpt2.data.examples import Example
from emoji_gpt2.emoji.descriptions import held_out_keywords
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.emoji.text import normalize_text, words

Floats = NDArray[np.float32]

NOISE = 30.0
"""How much likelier an English word is than a word of the description; higher is less certain."""
ZIPF_OFFSET = 100
UNKNOWN_RANK = 50_000
INFLECTED = 0.7
"""The weight of an inflected form of a word; the word itself has 1."""
MANY_KEYWORDS, EARLY = 0.5, 0.1
"""Exponents of the prior: emoji with many keywords and early in the table are used more."""
MAX_ANSWERS = 32
"""How many of the likeliest emoji are in a soft target."""
MAX_WORDS, MAX_FILLERS = 4, 8
P_NAME, P_INFLECT, P_STOP, P_COMMA = 0.1, 0.3, 0.3, 0.15


def _keywords(table: EmojiTable, emoji: str) -> list[str]:
    keywords = dict.fromkeys(map(normalize_text, table.keywords(emoji)))
    return [keyword for keyword in keywords if keyword not in held_out_keywords()]


class PhraseMaker:
    """Makes synthetic texts and their soft targets, of the given ``emoji`` alone.

    ``ranks`` are English words by frequency, from ``word_ranks``; normalised texts in ``held_out``
    are not made, nor are held-out keywords.
    """

    def __init__(
        self,
        table: EmojiTable,
        emoji: Sequence[str],
        ranks: Mapping[str, int],
        held_out: Container[str] = (),
    ) -> None:
        self.emoji = list(emoji)
        self.held_out = held_out
        self.names = [normalize_text(table.name(one)) for one in emoji]
        self.keywords = [_keywords(table, one) for one in emoji]
        self.counts = [
            Counter(word for text in (name, *own) for word in words(text))
            for name, own in zip(self.names, self.keywords, strict=True)
        ]
        self.family = families({word for counts in self.counts for word in counts}, ranks)
        indices = np.arange(len(self.emoji))
        n_texts = np.array([1 + len(own) for own in self.keywords])
        self.prior: Floats = (
            MANY_KEYWORDS * np.log(n_texts) - EARLY * np.log(indices + 20)
        ).astype(np.float32)
        self.fillers = sorted(ranks, key=lambda word: ranks[word])
        zipf = np.array([1 / (ranks[word] + ZIPF_OFFSET) for word in self.fillers])
        self.filler_shares = np.cumsum(zipf) / zipf.sum()
        self.evidence = self._evidence(ranks, float(zipf.sum()))

    def _evidence(self, ranks: Mapping[str, int], total: float) -> dict[str, Floats]:
        """Return the evidence of each word for each emoji, in nats."""
        probs: dict[str, Floats] = defaultdict(lambda: np.zeros(len(self.emoji), np.float32))
        for index, counts in enumerate(self.counts):
            for word, count in counts.items():
                for form in self.family[word]:
                    weight = 1.0 if form == word else INFLECTED
                    probs[form][index] += weight * count / counts.total()
        evidence = {}
        for word, prob in probs.items():
            rank = min(ranks.get(form, UNKNOWN_RANK) for form in self.family[word])
            evidence[word] = np.log1p(prob * (rank + ZIPF_OFFSET) * total / NOISE)
        return evidence

    def posterior(self, text: str) -> tuple[NDArray[np.intp], Floats]:
        """Return the indices into ``emoji`` of the likeliest ones and their probabilities, falling.

        The probabilities of the ``MAX_ANSWERS`` returned sum to 1.
        """
        known = [
            self.evidence[word] for word in dict.fromkeys(words(text)) if word in self.evidence
        ]
        scores = np.sum([self.prior, *known], axis=0)
        best = np.argsort(-scores, kind="stable")[:MAX_ANSWERS]
        probs = np.exp(scores[best] - scores[best[0]])
        return best, probs / probs.sum()

    def examples(self, count: int, seed: int) -> Iterator[Example]:
        """Yield ``count`` synthetic texts, the same for the same seed, none of them held out."""
        rng = np.random.default_rng(seed)
        made = 0
        while made < count:
            text = self._text(rng)
            if text not in self.held_out and text not in held_out_keywords():
                best, probs = self.posterior(text)
                answers = [self.emoji[index] for index in best]
                drawn = np.searchsorted(np.cumsum(probs), rng.random() * probs.sum())
                one = answers[min(drawn, len(best) - 1)]
                yield Example(text, (one,), tuple(zip(answers, probs.tolist(), strict=True)))
                made += 1

    def _text(self, rng: np.random.Generator) -> str:
        index = int(rng.integers(len(self.emoji)))
        if rng.random() < P_NAME:
            chosen = words(self.names[index])
        else:
            counts = self.counts[index]
            p = np.array(list(counts.values())) / counts.total()
            size = min(len(counts), int(rng.integers(1, MAX_WORDS + 1)))
            chosen = list(rng.choice(list(counts), size, replace=False, p=p))
        chosen = [rng.choice(self.family[w]) if rng.random() < P_INFLECT else w for w in chosen]
        n_fillers = int(rng.integers(MAX_FILLERS + 1))
        for filler in np.searchsorted(self.filler_shares, rng.random(n_fillers)):
            chosen.insert(int(rng.integers(len(chosen) + 1)), self.fillers[filler])
        text = " ".join(chosen)
        if n_fillers and rng.random() < P_COMMA:
            text = text.replace(" ", ", ", 1)
        return text + (str(rng.choice(list(".!?"))) if rng.random() < P_STOP else "")
