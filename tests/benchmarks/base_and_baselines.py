"""The base beside everything that takes no training, in one run, on a table never trained on.

    python tests/benchmarks/base_and_baselines.py --data google_emoji_translation.csv \
        [--teacher all-MiniLM-L6-v2 [--emojilib emoji-en-US.json]]

A text is a hit at k when any of its emoji, tones dropped, is among the first k of all. Semantic
search ranks by the cosine of the text's vector and the mean of those of name and keywords, the
teacher as ``emoji_gpt2.distill.teacher`` says; both need ``--teacher``.
"""

import argparse
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from emoji_gpt2 import EmojiGenerator, EmojiTable
from emoji_gpt2.data.english import word_ranks
from emoji_gpt2.data.synthetic import PhraseMaker
from emoji_gpt2.distill.teacher import Encoder, Teacher
from emoji_gpt2.distill.texts import descriptions
from emoji_gpt2.emoji.text import normalize_text
from emoji_gpt2.evaluation.baselines import LexicalMatcher, Weighting
from emoji_gpt2.tables.source import open_source
from emoji_gpt2.tokenizer import builtin_gpt2_tokenizer

Pair = tuple[str, set[str]]
KS = (1, 5, 10)


def show(name: str, ranked: list[list[str]], pairs: list[Pair]) -> None:
    """Print a row of the table."""
    hits = [
        np.mean([bool(w & set(best[:k])) for best, (_, w) in zip(ranked, pairs, strict=True)])
        for k in KS
    ]
    print(f"| {name} | {' | '.join(f'{share:.4f}' for share in hits)} |", flush=True)


def by_model(generator: EmojiGenerator, pairs: list[Pair]) -> list[list[str]]:
    """Rank by a model; toned emoji count as their base, and once."""
    base = generator.table.base
    found = generator.rank([text for text, _ in pairs], top_k=20)
    return [list(dict.fromkeys(base(e) for e, _ in best))[: KS[-1]] for best in found]


def by_scores(scores: np.ndarray, emoji: list[str]) -> list[list[str]]:
    """Rank by scores, ``[texts, emoji]``."""
    return [[emoji[i] for i in np.argsort(-row, kind="stable")[: KS[-1]]] for row in scores]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--base", default="checkpoints/base")
    parser.add_argument("--teacher", help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--emojilib", help="further keywords of the teacher")
    options = parser.parse_args()
    table = EmojiTable.builtin()
    untoned = [emoji for emoji in table if not table.tones(emoji)]
    source = open_source(options.data, cache_dir=Path(".cache"))
    pairs = [
        (text, {table.base(e) for e in table.split(cell)})
        for chunk in source.chunks()
        for text, cell in zip(chunk.texts, chunk.emoji or [], strict=True)
    ]
    pairs = [(text, wanted) for text, wanted in pairs if wanted]
    print(f"{len(pairs):,} texts\n\n| | hit@1 | hit@5 | hit@10 |\n| --- | --- | --- | --- |")
    show("always ✨", [["✨"]] * len(pairs), pairs)
    for weighting in get_args(Weighting):
        matcher = LexicalMatcher(table, weighting, toned=False)
        scores = np.stack([matcher.rank(text) for text, _ in pairs])
        show(f"lexical matcher, {weighting} of idf", by_scores(scores, list(table)), pairs)
    if options.teacher:
        encode = Encoder(options.teacher, Path(".cache"))
        maker = PhraseMaker(table, untoned, word_ranks(builtin_gpt2_tokenizer().get_vocab()))
        texts = [normalize_text(text) for text, _ in pairs]
        vectors = torch.from_numpy(encode(texts))
        plain = Teacher(encode, descriptions(table), maker)
        cosine = (vectors.float() @ plain.emoji_ED.T).numpy()
        show("semantic search", by_scores(cosine, untoned), pairs)
        lib = Path(options.emojilib) if options.emojilib else None
        teacher = Teacher(encode, descriptions(table, lib), maker)
        blend = teacher.scores(vectors, [teacher.known_words(text) for text in texts])
        show("the teacher", by_scores(blend.numpy(), untoned), pairs)
    generator = EmojiGenerator.from_pretrained(options.base)
    show("the base", by_model(generator, pairs), pairs)
    names = [(table.name(emoji), {emoji}) for emoji in untoned]
    show(f"the base, {len(names):,} untoned names", by_model(generator, names), names)


if __name__ == "__main__":
    main()
