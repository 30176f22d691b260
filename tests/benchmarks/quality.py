"""How good are a model's answers: on the table's own names, and on any table of texts and emoji.

    python tests/benchmarks/quality.py --model checkpoints/quickstart/model [--data sentences.csv]

Prints hit@1 and hit@5 of exact emoji among all 3,944, tones of the table left out of the texts, and
for ``--data`` beside them the lexical baseline in its two weightings: the emoji whose name and
keywords share the most words with the text, each word weighted by its rarity.
"""

import argparse
from pathlib import Path
from typing import get_args

import numpy as np

from emoji_gpt2 import EmojiGenerator, EmojiTable
from emoji_gpt2.baselines import LexicalMatcher, Weighting
from emoji_gpt2.sources import open_source

Pair = tuple[str, set[str]]
EXAMPLES = ("pizza", "rocket", "broken heart", "birthday cake", "snowman", "I love pizza")


def hits(ranked: list[list[str]], pairs: list[Pair]) -> str:
    """Return hit@1 and hit@5 in words."""
    share = {
        k: sum(
            bool(wanted & set(best[:k])) for best, (_, wanted) in zip(ranked, pairs, strict=True)
        )
        / len(pairs)
        for k in (1, 5)
    }
    return f"hit@1 {share[1]:.3f}  hit@5 {share[5]:.3f}"


def lexical(pairs: list[Pair], table: EmojiTable, weighting: Weighting) -> list[list[str]]:
    """Rank untoned emoji by the words that text and description share."""
    matcher, emoji = LexicalMatcher(table, weighting, toned=False), list(table)
    scores = (matcher.rank(text) for text, _ in pairs)
    return [[emoji[i] for i in np.argsort(-s, kind="stable")[:5]] for s in scores]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", help="table of texts and emoji; several emoji are all right")
    options = parser.parse_args()
    table = EmojiTable.builtin()
    generator = EmojiGenerator.from_pretrained(options.model)

    def ranked(pairs: list[Pair]) -> list[list[str]]:
        return [[e for e, _ in best] for best in generator.rank([text for text, _ in pairs])]

    names = [(table.name(e), {e}) for e in table if not table.tones(e)]
    print(f"{len(names):,} untoned names: {hits(ranked(names), names)}")
    for text, [(emoji, share), *_] in zip(EXAMPLES, generator.rank(EXAMPLES), strict=True):
        print(f"  {text}: {emoji} {share:.3f}")
    if options.data:
        source = open_source(options.data, cache_dir=Path(".cache"))
        pairs = [
            (text, {table.base(e) for e in table.split(cell)})
            for chunk in source.chunks()
            for text, cell in zip(chunk.texts, chunk.emoji or [], strict=True)
        ]
        pairs = [(text, wanted) for text, wanted in pairs if wanted]
        print(f"{len(pairs):,} texts of {source.path.name}: {hits(ranked(pairs), pairs)}")
        for weighting in get_args(Weighting):
            found = hits(lexical(pairs, table, weighting), pairs)
            print(f"  lexical baseline, {weighting} of idf: {found}")


if __name__ == "__main__":
    main()
