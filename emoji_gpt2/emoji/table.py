"""The emoji table: what is an emoji, its one canonical spelling, name, keywords and skin tones.

Use::

    table = EmojiTable.builtin()               # the 3,944 emoji of Unicode Emoji 17.0
    table.canonical("❤")                       # "❤️", the fully-qualified spelling
    table.split("so good 🍕👍🏽!")              # ["🍕", "👍🏽"]
    table.residue("so good 🍕👍🏽!")            # "so good !"
    table.base("👍🏽"), table.tones("👍🏽")      # "👍", ("medium",)
    table["🍕"].keywords                       # ("cheese", "food", …)

The spellings of an emoji differ only in where U+FE0F (emoji presentation) stands, and no two emoji
are the same without it: so the spelling without any U+FE0F is the key of everything here.
Sources: emoji-test.txt and its terms (fully-qualified, …), https://www.unicode.org/reports/tr51;
keywords, https://cldr.unicode.org; pairs of regional indicators, rules GB12 and GB13 of
https://www.unicode.org/reports/tr29.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property

from emoji_gpt2.emoji.resources import read_text
from emoji_gpt2.errors import UserError

VARIATION_SELECTOR_15 = "\ufe0e"  # asks for text presentation: what precedes it is no emoji
VARIATION_SELECTOR_16 = "\ufe0f"  # asks for emoji presentation
SKIN_TONES = {
    "light": "🏻",
    "medium-light": "🏼",
    "medium": "🏽",
    "medium-dark": "🏾",
    "dark": "🏿",
}
KEYWORD_SEPARATOR = " | "  # CLDR's own, between the keywords of one emoji

_TONE_NAMES = {modifier: tone for tone, modifier in SKIN_TONES.items()}
_TAGS = re.compile("[\U000e0020-\U000e007f]+")
_REGIONAL_INDICATORS = frozenset(map(chr, range(0x1F1E6, 0x1F200)))  # two make a flag


@dataclass(frozen=True, slots=True)
class Emoji:
    """One row of the table; the fields are the columns of ``emoji_table.csv``, in order.

    Attributes:
        emoji: The fully-qualified string.
        name: Unicode's English short name, such as ``waving hand: light skin tone``.
        codepoints: Of `emoji`, in hexadecimal: ``1F44B 1F3FB``.
        keywords: CLDR's English search keywords, in CLDR's order.
    """

    emoji: str
    name: str
    group: str
    sub_group: str
    codepoints: str
    keywords: tuple[str, ...]


class EmojiTable(Mapping[str, Emoji]):
    """Emoji in table order, found by any of their spellings; iterating yields canonical strings.

    Raises:
        UserError: When two rows differ in U+FE0F only, or a row's emoji is empty.
    """

    def __init__(self, rows: Iterable[Emoji]) -> None:
        self._rows: dict[str, Emoji] = {}  # by key: the emoji without U+FE0F
        lengths: dict[str, set[int]] = {}
        for row in rows:
            key = _key(row.emoji)
            if not key or key in self._rows:
                got = f"{row.emoji!r} ({row.name}) twice or empty"
                raise UserError("rows", got, remedy="keep one")
            self._rows[key] = row
            lengths.setdefault(key[0], set()).add(len(key))
        # The lengths of the keys that begin with a character, the longest first.
        self._lengths = {start: sorted(found, reverse=True) for start, found in lengths.items()}

    @classmethod
    @cache
    def builtin(cls) -> "EmojiTable":
        """Return the table that ships with the package, the same object each time.

        Its names and keywords are English; ``languages.table_in("de")`` has others.
        """
        rows = csv.reader(io.StringIO(read_text("emoji_table.csv"), newline=""))
        next(rows)  # the header
        return cls(
            Emoji(emoji, name, group, sub_group, codepoints, split_keywords(joined))
            for emoji, name, group, sub_group, codepoints, joined in rows
        )

    def translated(self, words: Mapping[str, tuple[str, tuple[str, ...]]]) -> "EmojiTable":
        """Return the table of those emoji, with other names, maybe empty, and keywords.

        Raises:
            KeyError: When an emoji is not in this table.
        """
        new = {self[one].emoji: words[one] for one in words}
        table = EmojiTable(
            replace(self[one], name=new[one][0], keywords=new[one][1]) for one in self if one in new
        )
        # Bases are found by English names.
        table._bases = {
            toned: base for toned, base in self._bases.items() if {toned, base} <= new.keys()
        }
        return table

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        return (row.emoji for row in self._rows.values())

    def __contains__(self, emoji: object) -> bool:
        return isinstance(emoji, str) and _key(emoji) in self._rows

    def __getitem__(self, emoji: str) -> Emoji:
        try:
            return self._rows[_key(emoji)]
        except KeyError:
            raise KeyError(emoji) from None

    def canonical(self, emoji: str) -> str | None:
        """Return the fully-qualified spelling of one emoji, or None when it is not in the table."""
        row = self._rows.get(_key(emoji))
        return row.emoji if row else None

    def split(self, text: str) -> list[str]:
        """Return every emoji in `text`, canonical and in order; all else is skipped.

        The longest match wins; a sequence that is not in the table falls apart into those of its
        parts that are. A character followed by U+FE0E (text presentation) is no emoji.
        """
        key = _key(text)
        if row := self._rows.get(key):
            return [row.emoji]
        return [self._rows[key[start:end]].emoji for start, end in self._spans(key)]

    def residue(self, text: str) -> str:
        """Return what `split` skips, white space collapsed, U+FE0F left out; ``""`` if nothing."""
        key, skipped, last = _key(text), [], 0
        for start, end in self._spans(key):
            skipped.append(key[last:start])
            last = end
        return " ".join(" ".join([*skipped, key[last:]]).split())

    def name(self, emoji: str) -> str:
        """Return Unicode's English short name; KeyError for a string that is not in the table."""
        return self[emoji].name

    def keywords(self, emoji: str) -> tuple[str, ...]:
        """Return CLDR's English keywords; KeyError for a string that is not in the table."""
        return self[emoji].keywords

    def group(self, emoji: str) -> str:
        """Return the group, such as ``Flags``; KeyError for a string that is not in the table."""
        return self[emoji].group

    def base(self, emoji: str) -> str:
        """Return the emoji without skin tones: 👍 for 👍🏽, 👫 for 👩🏻‍🤝‍👨🏿.

        An emoji without tones is its own base; so is one whose base this table lacks.
        """
        emoji = self[emoji].emoji
        return self._bases.get(emoji, emoji)

    def tones(self, emoji: str) -> tuple[str, ...]:
        """Return the names (as in `SKIN_TONES`) of the tones of each person in order, or ``()``."""
        return tuple(_TONE_NAMES[char] for char in self[emoji].emoji if char in _TONE_NAMES)

    def with_tone(self, emoji: str, tone: str | None) -> str:
        """Return the emoji with `tone` for every person in it, instead of the tones that it has.

        An emoji that cannot carry a tone stays; None takes tones away.

        Raises:
            UserError: When there is no such tone.
            KeyError: When the emoji is not in the table.
        """
        if tone is not None and tone not in SKIN_TONES:
            raise UserError("tone", repr(tone), f"one of {', '.join(SKIN_TONES)} or None")
        base = self.base(emoji)
        return base if tone is None else self._toned.get((base, tone), self[emoji].emoji)

    @cached_property
    def _bases(self) -> dict[str, str]:
        """Toned emoji to its base.

        Found by name, for some emoji's code points change with tones: 🫱🏻‍🫲🏿, named
        "handshake: light skin tone, dark skin tone", is 🤝, "handshake". Two names gain more than
        tones: 💏 "kiss" and 💑 "couple with heart" turn into "kiss: person, person, light skin …".
        """
        named = {row.name: row.emoji for row in self._rows.values()}
        bases = {}
        for emoji in filter(self.tones, self):
            name = _without_tones(self.name(emoji))
            base = named.get(name) or named.get(name.removesuffix(": person, person"))
            if base:
                bases[emoji] = base
        return bases

    @cached_property
    def _toned(self) -> dict[tuple[str, str], str]:
        """Base and tone to the emoji in which everyone has that tone."""
        toned = {}
        for emoji, base in self._bases.items():
            tone, *others = self.tones(emoji)
            if all(other == tone for other in others):
                toned[base, tone] = emoji
        return toned

    def _spans(self, key: str) -> Iterator[tuple[int, int]]:
        """Yield start and end of each emoji in a text without U+FE0F, from left to right."""
        seen = 0
        for start, char in enumerate(key):
            if start < seen or char not in self._lengths:
                continue
            end = self._match(key, start)
            if end and char == "🏴" and (tags := _TAGS.match(key, end)):  # of an unknown region
                seen = tags.end()
                continue
            if end:
                yield start, end
            seen = end or start + 1 + _is_flag(key, start)

    def _match(self, key: str, start: int) -> int:
        """Return the end of the longest emoji at `start`, 0 when there is none."""
        for length in self._lengths.get(key[start], ()):
            end = start + length
            if key[start:end] in self._rows and key[end : end + 1] != VARIATION_SELECTOR_15:
                return end
        return 0


def _key(text: str) -> str:
    return text.replace(VARIATION_SELECTOR_16, "")


def split_keywords(joined: str) -> tuple[str, ...]:
    """Return the keywords of a cell."""
    return tuple(joined.split(KEYWORD_SEPARATOR)) if joined else ()


def _without_tones(name: str) -> str:
    """Return ``man: red hair`` for ``man: light skin tone, red hair``."""
    head, _, details = name.partition(": ")
    kept = [part for part in details.split(", ") if part and not part.endswith(" skin tone")]
    return f"{head}: {', '.join(kept)}" if kept else head


def _is_flag(key: str, start: int) -> bool:
    """Whether a pair of regional indicators stands here; an unknown one is skipped whole."""
    return key[start] in _REGIONAL_INDICATORS and key[start + 1 : start + 2] in _REGIONAL_INDICATORS
