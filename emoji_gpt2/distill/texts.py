r"""The texts that the student reads: dictionary text, and synthetic ones from the emoji table.

    examples, definitions = wordnet_texts(Path("wordnet/dict"))

WordNet's data files have a line per set of synonyms, ``offset ... n_words word id ... | gloss``;
the gloss is a definition and quoted examples (https://wordnet.princeton.edu/documentation/wndb5wn).
"""

import hashlib
import json
import random
import re
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.emoji.text import normalize_text, words
from emoji_gpt2.errors import MissingFileError, UserError

PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
NO_THINGS = frozenset(
    """
    i you he she it we they a an the and or but of to in on at for with from by is are was were be
    been am my your his her its our their this that these those as so not no do does did have has
    had will would can could just too very me him them us what who when where how why there here
    if than then s t m re ve ll d up out about into over all some any more most only
    """.split()  # noqa: SIM905 - a text is easier to read
)
"""Words that say no thing of their own."""
JOINTS = (" and ", " and ", ", ", " with ", " with my ", " in the ", " after ", " for ", " & ", " ")
STARTS = ("", "", "", "", "my ", "the ", "a ", "we had ", "time for ", "i want ", "today ")
MAX_WORDS = 25
"""A longer gloss is left out: people's texts are short."""


def wordnet_texts(folder: Path) -> tuple[list[str], list[str]]:
    """Return WordNet's example sentences and its definitions, normalised, each once.

    Args:
        folder: With data.noun, data.verb, data.adj and data.adv of WordNet 3.

    Raises:
        UserError: a file is missing, or not one of WordNet's.
    """
    examples, definitions = [], []
    for line in _synsets(folder):
        _, bar, gloss = line.partition("|")
        if not bar:
            got = f"the line {line[:40]!r}"
            raise UserError("data.wordnet", got, "one of WordNet's data files")
        examples += re.findall(r'"([^"]+)"', gloss)
        first = re.sub(r'"[^"]*"', "", gloss).partition(";")[0].strip()
        definitions.append(re.sub(r"^\([^)]*\)\s*", "", first))
    return _readable(examples, 3), _readable(definitions, 2)


def _synsets(folder: Path) -> Iterator[str]:
    for part in PARTS_OF_SPEECH:
        path = folder / f"data.{part}"
        if not path.is_file():
            wanted = f"WordNet's folder dict with data.{part}"
            raise MissingFileError("data.wordnet", repr(str(folder)), wanted, "give it")
        with path.open(encoding="utf-8") as file:
            yield from (line for line in file if not line.startswith("  "))  # the licence


def _readable(texts: list[str], min_words: int) -> list[str]:
    normal = dict.fromkeys(map(normalize_text, texts))
    return [text for text in normal if min_words <= len(words(text)) <= MAX_WORDS]


def evaluation_hashes() -> frozenset[str]:
    """Return the hashes, by ``short_hash``, of the texts that the base is evaluated on."""
    path = Path(__file__).with_name("evaluation_hashes.txt")
    return frozenset(path.read_text(encoding="ascii").split())


def short_hash(text: str) -> str:
    """Return eight hexadecimal digits of the SHA-256 of a normalised text."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def sample_texts(texts: list[str], count: int, seed: int) -> list[str]:
    """Return ``count`` of the texts, or all, the same for the same seed."""
    return random.Random(seed).sample(texts, min(count, len(texts)))  # noqa: S311 - no secret


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


def things(text: str, known: Container[str]) -> tuple[str, ...]:
    """Return the words of a text that say a thing, in the order of mention, each once."""
    found = (word for word in words(text) if word in known and word not in NO_THINGS)
    return tuple(dict.fromkeys(found))


def composed(parts: Sequence[str], count: int, seed: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield texts of two or three parts, "pizza and beer", and the parts."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(count):
        chosen = rng.sample(parts, rng.choice((2, 2, 3)))
        text = rng.choice(STARTS) + chosen[0]
        for part in chosen[1:]:
            text += rng.choice(JOINTS) + part
        yield text, tuple(chosen)
