"""Turn records into checked examples, a normalised text with the emoji it stands for, and count.

Without a source, the examples are the emoji table's own names and keywords.
"""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from emoji_gpt2.emoji.descriptions import keyword_split
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.emoji.text import is_valid_unicode, normalize_text, text_hash
from emoji_gpt2.errors import UserError
from emoji_gpt2.files import PATH
from emoji_gpt2.tables.cells import is_broken
from emoji_gpt2.tables.delimited import COMMENT
from emoji_gpt2.tables.source import Chunk

SkinTones = Literal["keep", "drop"]

MAX_UNREAD = 0.05
"""Fraction of a source's records that may be unreadable."""
SHOWN = 3
"""Records that are shown of those dropped for one reason."""
MAX_EMOJI_PER_KEYWORD = 16
"""A keyword of more emoji than this ("face": 162, "flag": 274) is too ambiguous to train on."""


class Example(NamedTuple):
    """A normalised text and its fully-qualified emoji, in order.

    ``probs`` is the soft target of the first emoji: each emoji with its probability, 1 in all. When
    empty, the first of ``emoji`` is the only right answer.
    """

    text: str
    emoji: tuple[str, ...]
    probs: tuple[tuple[str, float], ...] = ()


@dataclass
class Report:
    """Counts of what was read from one source; each dropped record has its reason here.

    Attributes:
        source: The name of the source.
        rows_read: Records read.
        dropped: Records left out, by reason.
        noted: Records that are used although something is odd about them, by what it is.
        unread: How many of the dropped records could not be read at all.
        places: Of each reason, the numbers of the first records.
        cells: Of each reason, the first cells: of a private table, nothing for a model card.
    """

    source: str
    rows_read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)
    unread: int = 0
    places: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    cells: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def drop(self, reason: str, place: str = "", cell: str = "") -> None:
        """Count a record that is left out; the first three of a reason are kept as examples."""
        self.dropped[reason] += 1
        if place and len(self.places[reason]) < SHOWN:
            self.places[reason].append(place)
        if cell and len(self.cells[reason]) < SHOWN:
            self.cells[reason].append(repr(cell))

    def reasons(self) -> str:
        """Return the dropped records by reason, with the numbers of the first ones."""
        parts = []
        for reason, count in self.dropped.most_common():
            places = self.places.get(reason)
            parts.append(f"{count:,} {reason}" + (f" ({', '.join(places)})" if places else ""))
        return ", ".join(parts)

    def samples(self) -> list[str]:
        """Return a line for each reason that cells were dropped for, with the first of them."""
        shown = self.cells.items()
        return [f"{self.source}: {reason}, such as {', '.join(cells)}" for reason, cells in shown]

    def check(self) -> None:
        """Refuse a source of which more than ``MAX_UNREAD`` could not be read.

        Raises:
            UserError: it is one; the line says which records.
        """
        if self.unread > MAX_UNREAD * self.rows_read:
            got = f"{self.source!r}, of whose {self.rows_read:,} rows {self.unread:,} cannot be "
            got += f"read ({self.reasons()})"
            remedy = "mend them, or name the separator with {data.delimiter}"
            raise UserError(PATH, got, f"at most {MAX_UNREAD:.0%}", remedy)

    def summary(self, kept: int, emoji: int) -> str:
        """Return one line: what was read, kept, merged, dropped and noted."""
        merged = self.rows_read - self.dropped.total() - kept
        line = (
            f"{self.source}: {self.rows_read:,} rows read, {emoji:,} emoji kept in {kept:,} "
            f"examples, {merged:,} variants merged"
        )
        noted = [f"{count:,} with {what}" for what, count in self.noted.most_common()]
        if self.dropped:
            line += f"; dropped: {self.reasons()}"
        return line + (f"; {', '.join(noted)}" if noted else "")


def read_examples(
    chunk: Chunk,
    table: EmojiTable,
    skin_tones: SkinTones,
    report: Report,
    unit: str = "line",
    held: list[Example] | None = None,
) -> list[Example]:
    """Return the usable examples of a chunk and count what was read and dropped in ``report``.

    ``unit`` is what the numbers of unread records count. ``held`` gets the examples whose emoji
    lost a tone that their text may name after a colon, in any language: ``settle_tones`` decides on
    them when all others are known.
    """
    examples = []
    report.rows_read += len(chunk.texts) + len(chunk.unread)
    report.unread += sum(reason != COMMENT for _, reason in chunk.unread)
    if chunk.mended:
        report.noted["mojibake (mended)"] += chunk.mended
    for number, reason in chunk.unread:
        report.drop(reason, f"{unit} {number:,}")
    for text, cell in zip(chunk.texts, chunk.emoji, strict=True):
        given = table.split(cell)
        emoji = [table.base(one) for one in given] if skin_tones == "drop" else given
        example = Example(normalize_text(text), tuple(emoji))
        if dropped := _reason_to_drop(example, text, cell, skin_tones):
            report.drop(dropped, cell=f"{cell:.30}" if "emoji" in dropped else "")
            continue
        if "".join(emoji) != cell and table.residue(cell):
            report.noted["text or unknown emoji beside the emoji (ignored)"] += 1
        if not text.isascii() and not set(emoji).isdisjoint(table.split(text)):
            report.noted["text that holds its own emoji"] += 1
        if "\n" in text.strip():
            report.noted["text of several lines"] += 1
        if held is not None and emoji != given and ":" in example.text:
            held.append(example)
        else:
            examples.append(example)
    return examples


def settle_tones(held: list[Example], known: Container[int], report: Report) -> list[Example]:
    """Return those examples whose text is not that of a known one with a tone's name after it.

    ``known`` has ``example_hash`` of the others.
    """
    kept = []
    for example in held:
        without = example._replace(text=example.text.partition(":")[0].strip())
        if example_hash(without) in known:
            report.drop("text names a skin tone")
        else:
            report.noted["emoji without the tone that it had, the text unchanged"] += 1
            kept.append(example)
    return kept


def example_hash(example: Example) -> int:
    """Return 64 bits that stand for a text with its emoji."""
    return text_hash("\0".join((example.text, *example.emoji)))


def _reason_to_drop(example: Example, text: str, cell: str, skin_tones: SkinTones) -> str | None:
    if not (is_valid_unicode(text) and (example.emoji or is_valid_unicode(cell))):
        return "text with broken characters"
    if not example.text:
        return "empty text"
    if is_broken(cell):
        return "mojibake that cannot be mended"
    if not example.emoji:
        known_script = all(ord(c) < 0x2190 for c in cell)
        return "no emoji in the row" if known_script else "emoji not in the table"
    if skin_tones == "drop" and "skin tone" in example.text:
        return "text names a skin tone"
    return None


def name_examples(table: EmojiTable, skin_tones: SkinTones, report: Report) -> list[Example]:
    """Return each emoji of the table with its name, if it has one."""
    emoji = [e for e in table if skin_tones == "keep" or not table.tones(e)]
    report.rows_read += len(table)
    if len(emoji) < len(table):
        report.dropped["text names a skin tone"] += len(table) - len(emoji)
    named = [e for e in emoji if table.name(e)]
    if len(named) < len(emoji):
        report.dropped["emoji without a name"] += len(emoji) - len(named)
    return [Example(normalize_text(table.name(e)), (e,)) for e in named]


def keyword_examples(
    table: EmojiTable,
    emoji: Iterable[str],
    known_texts: Container[str],
    split: Literal["train", "val", "test"],
    report: Report,
) -> list[Example]:
    """Return each keyword of ``keyword_split`` with each of its emoji, tones left out.

    A keyword among ``known_texts``, such as another emoji's name, is not used, nor is one of more
    than ``MAX_EMOJI_PER_KEYWORD`` emoji.
    """
    emoji_of: dict[str, list[str]] = defaultdict(list)
    for one in emoji:
        if not table.tones(one):
            for keyword in dict.fromkeys(map(normalize_text, table.keywords(one))):
                emoji_of[keyword].append(one)
    examples = []
    for keyword, all_of_it in emoji_of.items():
        if keyword_split(keyword) != split:
            continue
        report.rows_read += len(all_of_it)
        if keyword in known_texts:
            report.dropped["keyword that is also a name or text"] += len(all_of_it)
        elif len(all_of_it) > MAX_EMOJI_PER_KEYWORD:
            reason = f"keyword of more than {MAX_EMOJI_PER_KEYWORD} emoji"
            report.dropped[reason] += len(all_of_it)
        else:
            examples += [Example(keyword, (one,)) for one in all_of_it]
    return examples
