r"""The texts that the student reads: dictionary text, and synthetic ones from the emoji table.

    examples, definitions, words = wordnet_texts(Path("wordnet/dict"))

WordNet's data files have a line per set of synonyms, ``offset ... n_words word id ... | gloss``;
the gloss is a definition and quoted examples (https://wordnet.princeton.edu/documentation/wndb5wn).
"""

import json
import random
import re
from collections.abc import Container, Iterator
from pathlib import Path

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.emoji.text import normalize_text, words
from emoji_gpt2.errors import MissingFileError, UserError

PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
MAX_WORDS = 25
"""A longer gloss is left out: people's texts are short."""


def wordnet_texts(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Return WordNet's example sentences, its definitions and its words, normalised, each once.

    Args:
        folder: With data.noun, data.verb, data.adj and data.adv of WordNet 3.

    Raises:
        UserError: a file is missing, or not one of WordNet's.
    """
    examples, definitions, lemmas = [], [], []
    for line in _synsets(folder):
        head, _, gloss = line.partition("|")
        lemmas += _lemmas(head)
        examples += re.findall(r'"([^"]+)"', gloss)
        first = re.sub(r'"[^"]*"', "", gloss).partition(";")[0].strip()
        definitions.append(re.sub(r"^\([^)]*\)\s*", "", first))
    return _readable(examples, 3), _readable(definitions, 2), _readable(lemmas, 1)


def _synsets(folder: Path) -> Iterator[str]:
    for part in PARTS_OF_SPEECH:
        path = folder / f"data.{part}"
        if not path.is_file():
            wanted = f"WordNet's folder dict with data.{part}"
            raise MissingFileError("data.wordnet", repr(str(folder)), wanted, "give it")
        with path.open(encoding="utf-8") as file:
            yield from (line for line in file if not line.startswith("  "))  # the licence


def _lemmas(head: str) -> list[str]:
    fields = head.split()
    try:
        count = int(fields[3], 16)
    except (IndexError, ValueError) as error:
        got = f"the line {head[:40]!r}"
        raise UserError("data.wordnet", got, "one of WordNet's data files") from error
    found = fields[4 : 4 + 2 * count : 2]
    return [re.sub(r"\(\w+\)$", "", lemma).replace("_", " ") for lemma in found]


def _readable(texts: list[str], min_words: int) -> list[str]:
    normal = dict.fromkeys(map(normalize_text, texts))
    return [text for text in normal if min_words <= len(words(text)) <= MAX_WORDS]


def sample_texts(texts: list[str], count: int, seed: int) -> list[str]:
    """Return ``count`` of the texts, or all, the same for the same seed."""
    return random.Random(seed).sample(texts, min(count, len(texts)))  # noqa: S311 - no secret


def made_of(texts: list[str], known: Container[str]) -> list[str]:
    """Return the texts whose words are all in ``known``."""
    return [text for text in texts if all(word in known for word in words(text))]


def descriptions(table: EmojiTable, emojilib: Path | None = None) -> list[list[str]]:
    """Return each untoned emoji's name and keywords, normalised, in table order.

    Args:
        table: The emoji.
        emojilib: A JSON file of further keywords by emoji, https://github.com/muan/emojilib; a
            keyword in both stands twice, and so counts twice.
    """
    more = _read_emojilib(emojilib) if emojilib else {}
    return [
        [
            text
            for text in map(
                normalize_text,
                (table.name(e), *table.keywords(e), *more.get(_bare(e), ())),
            )
            if text
        ]
        for e in table
        if not table.tones(e)
    ]


def _read_emojilib(path: Path) -> dict[str, list[str]]:
    if not path.is_file():
        raise MissingFileError("data.emojilib", repr(str(path)), "a file that is there")
    content: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    return {_bare(e): [k.replace("_", " ") for k in keywords] for e, keywords in content.items()}


def _bare(emoji: str) -> str:
    return emoji.replace("\ufe0f", "")
