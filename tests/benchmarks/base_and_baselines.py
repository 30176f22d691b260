"""The base beside everything that takes no training, in one run, on a table never trained on.

    python tests/benchmarks/base_and_baselines.py --data google_emoji_translation.csv \
        --bases checkpoints/base older/base --teachers all-MiniLM-L6-v2 all-mpnet-base-v2 \
        --emojilib emoji-en-US.json --goemotions dev.tsv

A text is a hit at k when any of its emoji, tones dropped, is among the first k of all; F1 is of a
method's own answer as a set, of the first three emoji where it only ranks. "Half" are the texts
whose SHA-256 begins with an odd byte: nothing was chosen on them. Semantic search ranks by the
cosine to the mean of name and keywords; "and use" adds how often people use each emoji, as the
teacher does, counted in the other half. A comment of GoEmotions counts when an emoji of one of its
emotions is among the first five. Differences are paired, 95 % by bootstrap of the texts.
"""

import argparse
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from emoji_gpt2 import EmojiGenerator, EmojiTable
from emoji_gpt2.data.english import word_ranks
from emoji_gpt2.data.synthetic import PhraseMaker
from emoji_gpt2.distill.encoders import Encoders
from emoji_gpt2.distill.mood import EMOTIONS, NEUTRAL, goemotions
from emoji_gpt2.distill.teacher import TEMPERATURE, Teacher
from emoji_gpt2.distill.texts import descriptions
from emoji_gpt2.emoji.text import normalize_text
from emoji_gpt2.evaluation.baselines import LexicalMatcher, Weighting
from emoji_gpt2.tables.source import open_source
from emoji_gpt2.tokenizer import builtin_gpt2_tokenizer

Answers = tuple[list[list[str]], list[list[str]]]
"""Of each text its ranking, best first, and the answer that the method gives by itself."""
KS, FIRST, ANSWER = (1, 5, 10), 10, 3
TABLE = EmojiTable.builtin()
UNTONED = [emoji for emoji in TABLE if not TABLE.tones(emoji)]


def by_model(generator: EmojiGenerator, texts: Sequence[str]) -> Answers:
    """Return a model's answers; toned emoji count as their base, and once."""
    ranked = [
        list(dict.fromkeys(TABLE.base(e) for e, _ in best))[:FIRST]
        for best in generator.rank(texts, top_k=20)
    ]
    own = generator.generate(texts, max_emoji=4)
    return ranked, [[TABLE.base(e) for e in TABLE.split(answer)] for answer in own]


def by_scores(scores: np.ndarray, emoji: Sequence[str]) -> Answers:
    """Return the answers of scores, ``[texts, emoji]``."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :FIRST]
    ranked = [[emoji[i] for i in row] for row in best]
    return ranked, [row[:ANSWER] for row in ranked]


def measures(answers: Answers, wanted: list[set[str]]) -> np.ndarray:
    """Return hits at each k and F1 of each text, ``[texts, 4]``."""
    rows = []
    for ranked, own, right in zip(*answers, wanted, strict=True):
        hits = [bool(right & set(ranked[:k])) for k in KS]
        rows.append([*hits, 2 * len(right & set(own)) / (len(right) + len(set(own)))])
    return np.array(rows, float)


def interval(differences: np.ndarray) -> str:
    """Return the mean and its 95 % interval by bootstrap."""
    rng = np.random.default_rng(0)
    n = len(differences)
    means = [differences[rng.integers(n, size=n)].mean() for _ in range(2000)]
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{differences.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def read(path: str) -> tuple[list[str], list[set[str]]]:
    """Return the texts of a table and the set of emoji of each."""
    pairs = [
        (text, {TABLE.base(e) for e in TABLE.split(cell)})
        for chunk in open_source(path, cache_dir=Path(".cache")).chunks()
        for text, cell in zip(chunk.texts, chunk.emoji or [], strict=True)
    ]
    return [text for text, wanted in pairs if wanted], [w for _, w in pairs if w]


def teachers(folders: list[str], emojilib: str | None) -> dict[str, Callable[[list[str]], Answers]]:
    """Return semantic search with each encoder and with all, and the teacher."""
    maker = PhraseMaker(TABLE, UNTONED, word_ranks(builtin_gpt2_tokenizer().get_vocab()))
    cache = Path(".cache")
    every = Encoders(folders, cache)
    methods: dict[str, Callable[[list[str]], Answers]] = {}

    def search(encode: Encoders, texts: list[str], *, use: bool = False) -> Answers:
        plain = Teacher(encode, descriptions(TABLE), maker)
        vectors = torch.from_numpy(encode([normalize_text(text) for text in texts])).float()
        scores = vectors @ plain.emoji_ED.T / TEMPERATURE + use * plain.use_E
        return by_scores(scores.numpy(), UNTONED)

    def whole(texts: list[str]) -> Answers:
        lib = Path(emojilib) if emojilib else None
        teacher = Teacher(every, descriptions(TABLE, lib), maker)
        normal = [normalize_text(text) for text in texts]
        vectors = torch.from_numpy(every(normal)).float()
        known = [teacher.known_words(text) for text in normal]
        return by_scores(teacher.scores(vectors, known).numpy(), UNTONED)

    for chosen in [[folder] for folder in folders] + [folders]:
        name = " + ".join(Path(folder).name for folder in chosen)
        encode = Encoders(chosen, cache)
        methods[f"semantic search, {name}"] = lambda texts, encode=encode: search(encode, texts)
    methods["semantic search, all, and use"] = lambda texts: search(every, texts, use=True)
    methods["the teacher, without things"] = whole
    return methods


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--bases", nargs="+", default=["checkpoints/base"])
    parser.add_argument("--teachers", nargs="*", default=[])
    parser.add_argument("--emojilib", help="further keywords of the teacher")
    parser.add_argument("--goemotions", help="GoEmotions' dev.tsv")
    options = parser.parse_args()
    texts, wanted = read(options.data)
    methods: dict[str, Callable[[list[str]], Answers]] = {
        "always ✨🎉😊": lambda texts: ([["✨", "🎉", "😊"]] * len(texts),) * 2
    }
    for weighting in get_args(Weighting):
        matcher = LexicalMatcher(TABLE, weighting, toned=False)
        methods[f"lexical matcher, {weighting} of idf"] = lambda texts, matcher=matcher: by_scores(
            np.stack([matcher.rank(text) for text in texts]), list(TABLE)
        )
    if options.teachers:
        methods |= teachers(options.teachers, options.emojilib)
    bases = {path: EmojiGenerator.from_pretrained(path) for path in options.bases}
    for path, generator in bases.items():
        methods[path] = lambda texts, generator=generator: by_model(generator, texts)
    odd = np.array([hashlib.sha256(normalize_text(t).encode()).digest()[0] % 2 == 1 for t in texts])
    print(f"{len(texts):,} texts, half of them {odd.sum():,}\n")
    print("| half / all | hit@1 | hit@5 | hit@10 | set-F1 |\n| --- | --- | --- | --- | --- |")
    found = {}
    for name, method in methods.items():
        found[name] = measures(method(texts), wanted)
        cells = zip(found[name][odd].mean(0), found[name].mean(0), strict=True)
        print(f"| {name} | {' | '.join(f'{a:.3f} / {b:.3f}' for a, b in cells)} |", flush=True)
    new = options.bases[0]
    print(f"\n{new} less the other, half:")
    for name, rows in found.items():
        if name != new:
            one, five, _, f1 = (found[new] - rows)[odd].T
            print(f"| {name} | {interval(one)} | {interval(five)} | {interval(f1)} |")
    for path, generator in bases.items():
        names = by_model(generator, [TABLE.name(emoji) for emoji in UNTONED])
        hits = measures(names, [{emoji} for emoji in UNTONED]).mean(0)
        lengths = np.mean([len(own) for own in by_model(generator, texts)[1]])
        print(f"{path}: names {hits[0]:.4f}, F1 {hits[3]:.4f}; {lengths:.2f} emoji a sentence")
    if options.goemotions:
        emoji = [set(TABLE.split(fitting)) for fitting in EMOTIONS.values()]
        felt = [
            (text, set().union(*(emoji[n] for n in numbers)))
            for text, numbers in goemotions(Path(options.goemotions))
            if NEUTRAL not in numbers
        ]
        for path, generator in bases.items():
            hits = measures(by_model(generator, [t for t, _ in felt]), [w for _, w in felt])
            right = hits.mean(0)[1]
            print(f"{path}: {len(felt):,} comments, right emotion within five {right:.4f}")


if __name__ == "__main__":
    main()
