"""Which column holds the texts and which the emoji: by name, and by what stands in them."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NoReturn

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import UserError
from emoji_gpt2.files import PATH
from emoji_gpt2.tables.cells import decoded_codes, emoji_cell, text_cell

TEXT_NAMES = (
    "text", "prompt", "description", "sentence", "tweet", "content", "message", "caption",
    "comment", "input", "instruction", "question", "query", "phrase", "short_name", "name", "title",
    "tts", "label", "key", "keywords", "keyword", "words", "word", "annotation", "tags",
)  # fmt: skip
EMOJI_NAMES = (
    "emoji", "emojis", "completion", "label", "labels", "target", "output", "response", "answer",
    "symbol", "char", "character", "codepoints", "codepoint", "unicode",
)  # fmt: skip
"""Names of columns in order of preference; case, white space and hyphens do not matter."""
_LETTERS = re.compile(r"[^\W\d_]{2}|[^\x00-\x7f\W\d_]")
_IDENTIFIER = re.compile(
    r"https?://|\S+\.(png|svg|jpe?g|gif|webp)$|(?=\S*\d)[0-9a-f-]{8,}$|\w+:\d{4,}$"
)
_NUMBER = re.compile(r"[-+\d.,\s]*\d[-+\d.,\s]*")


@dataclass(frozen=True)
class Reading:
    """How tables are read; the fields are those arguments of ``EmojiDataModule``."""

    text_column: str | None = None
    emoji_column: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    labels_path: str | None = None
    label_names: str | None = None
    emoji_from_text: bool | None = None


@dataclass(frozen=True)
class Columns:
    """The columns of texts and emoji by index; without one of emoji, they may be in the texts."""

    text: int
    emoji: int | None = None
    from_text: bool = False


@dataclass(frozen=True)
class Profile:
    """What stands in a column, as fractions of its cells that are not blank."""

    filled: float  # of all cells
    emoji: float  # emoji and nothing else, also as codes
    literal: float  # the same without codes
    named: float  # the same by shortcodes
    mixed: float  # words with emoji among them
    words: float  # words, maybe with others
    numbers: float
    distinct: float
    length: float  # words per cell on average


def profile(cells: Sequence[str], labels: Mapping[str, str] | None = None) -> Profile:
    """Return what stands in the cells of a column."""
    table = EmojiTable.builtin()
    filled = [cell for cell in cells if cell and not cell.isspace()]
    n = max(1, len(filled))
    shares: Counter[str] = Counter()
    for cell in filled:
        decoded = emoji_cell(cell, labels)
        has_emoji = bool(table.split(decoded))
        is_worded = has_words(decoded)
        if has_emoji and not is_worded:
            shares["emoji"] += 1
            shares["literal"] += decoded == cell
            shares["named"] += decoded != cell and not decoded_codes(cell)
        shares["mixed"] += has_emoji and is_worded
        shares["words"] += is_worded
        shares["numbers"] += bool(_NUMBER.fullmatch(cell))
    shares["distinct"] = len(set(filled))
    shares["length"] = sum(len(cell.split()) for cell in filled)
    parts = (shares[one.name] / n for one in fields(Profile)[1:])
    return Profile(len(filled) / max(1, len(cells)), *parts)


def has_words(cell: str) -> bool:
    """Return whether a cell holds words, and is no address or identifier."""
    rest = EmojiTable.builtin().residue(cell) if not cell.isascii() else cell
    return bool(_LETTERS.search(rest)) and not _IDENTIFIER.match(rest.strip().lower())


def is_known(name: str) -> str | None:
    """Return "text" or "emoji" for a known name of such a column."""
    folded = _folded(name)
    return "emoji" if folded in EMOJI_NAMES else "text" if folded in TEXT_NAMES else None


def _folded(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().casefold())


def looks_like_header(first: Sequence[str], others: Sequence[Sequence[str]]) -> bool:
    """Return whether a first record names the columns: its cells are of another kind than below."""
    if not any(first) or any(EmojiTable.builtin().split(emoji_cell(name)) for name in first):
        return False
    if any(map(is_known, first)):
        return True
    for index, name in enumerate(first):
        below = profile([cells[index] for cells in others[:200] if index < len(cells)])
        if max(below.emoji, below.numbers) > 0.9:
            return not name.strip().isdigit()
    names = [name for name in first if name]
    return len(names) > 1 and all(_LETTERS.search(name) and len(name) < 40 for name in names)


def find_columns(
    names: Sequence[str],
    sample: Sequence[Sequence[str]],
    reading: Reading,
    *,
    shown: str,
    needs_emoji: bool = True,
    labels: Mapping[str, str] | None = None,
) -> Columns:
    """Return the columns of a table by their names, some records and the emoji of labels.

    Raises:
        UserError: there is none, or more than one is as likely; it calls the table ``shown``.
    """
    finder = _Finder(names, sample, shown, labels)
    from_text = reading.emoji_from_text
    emoji_index = finder.given(reading.emoji_column, "emoji")
    text_index = finder.given(reading.text_column, "text")
    if emoji_index is None and needs_emoji and not from_text:
        emoji_index = finder.emoji_column(text_index)
    if text_index is None:
        text_index = finder.text_column(emoji_index)
    if text_index == emoji_index:
        got = f"the column {names[text_index]!r} of {shown} for the texts and the emoji"
        raise UserError(PATH, got, "two columns", "name {data.text_column} and {data.emoji_column}")
    if from_text or (emoji_index is None and needs_emoji):
        if from_text is not False and (from_text or finder.profiles[text_index].mixed >= 0.5):
            return Columns(text_index, None, from_text=True)
        finder.refuse_without_emoji(text_index)
    return Columns(text_index, emoji_index)


class _Finder:
    def __init__(
        self,
        names: Sequence[str],
        sample: Sequence[Sequence[str]],
        shown: str,
        labels: Mapping[str, str] | None,
    ) -> None:
        self.names, self.sample, self.shown = names, sample, shown
        self.profiles = [profile([row[i] for row in sample], labels) for i in range(len(names))]

    def given(self, name: str | None, role: str) -> int | None:
        """Return the index of a column that the user named, by name or by number."""
        if name is None:
            return None
        same = [i for i, one in enumerate(self.names) if one == name]
        same = same or [i for i, one in enumerate(self.names) if _folded(one) == _folded(name)]
        if len(same) > 1:
            got = f"{len(same)} columns named {name!r} in {self.shown}"
            raise UserError(PATH, got, "each name once", "give the number of the column, from 1")
        if same:
            return same[0]
        if name.isdigit() and 1 <= int(name) <= len(self.names):
            return int(name) - 1
        wanted = f"a column of {self.shown}, which has {self._columns()}"
        remedy = "give one of these names, or its number from 1"
        raise UserError(f"data.{role}_column", repr(name), wanted, remedy)

    def emoji_column(self, text: int | None) -> int | None:
        """Return the column of emoji: known by name, or else by content."""
        likely = (one.emoji >= 0.5 and one.filled >= 0.5 for one in self.profiles)
        found = [i for i, fits in enumerate(likely) if fits and i != text]
        for index in (i for i in self._named(EMOJI_NAMES) if i != text):
            some = self.profiles[index].literal + self.profiles[index].mixed
            if index in found or (some > 0.1 and not found):
                return index
        if len(found) > 1:
            best = max(self.profiles[i].literal for i in found)
            found = [i for i in found if self.profiles[i].literal >= best - 0.1]
        if len(found) > 1 and all(self._agrees(row, found) for row in self.sample[:100]):
            return found[0]
        return self._only(found, "emoji")

    def _agrees(self, row: Sequence[str], columns: Sequence[int]) -> bool:
        """Return whether columns have the same emoji, where they have some."""
        table = EmojiTable.builtin()
        cells = (table.split(emoji_cell(row[index])) for index in columns)
        return len({frozenset(cell) for cell in cells if cell}) < 2

    def text_column(self, emoji: int | None) -> int:
        """Return the column of texts: known by name if it holds words, or else by content."""
        literal = emoji is not None and self.profiles[emoji].literal >= 0.5
        others = {i: one for i, one in enumerate(self.profiles) if i != emoji}
        usable = {
            i: one
            for i, one in others.items()
            if (one.filled >= 0.5 and one.words >= 0.5 and one.emoji < 0.5)
            or (literal and one.named > 0.5)
        }
        for index in self._named(TEXT_NAMES):
            if index in usable:
                return index
        scores = {i: one.distinct * one.words for i, one in usable.items()}
        best = [i for i in usable if scores[i] >= 0.8 * max(scores.values())]
        longest = max((usable[i].length for i in best), default=0.0)
        found = self._only([i for i in best if 2 * usable[i].length > longest], "text")
        if found is None:  # single letters, say
            named = [i for i in self._named(TEXT_NAMES) if i in others and others[i].words]
            no_words = [i for i, one in others.items() if one.emoji < 0.5 and one.numbers < 0.9]
            likely = named or no_words
            if len(likely) != 1:
                self._refuse("text", "a column of words")
            return likely[0]
        return found

    def _named(self, known: tuple[str, ...]) -> list[int]:
        folded = [_folded(name) for name in self.names]
        return [folded.index(name) for name in known if name in folded]

    def _only(self, found: list[int], role: str) -> int | None:
        if len(found) < 2:
            return found[0] if found else None
        shown = " and ".join(f"{self.names[i]!r} (such as {self._cell(i)!r})" for i in found[:3])
        got = f"{len(found)} columns of {self.shown} that may hold the {role}: {shown}"
        raise UserError(PATH, got, "one", f"name it with {{data.{role}_column}}")

    def _cell(self, index: int) -> str:
        cells = (text_cell(row[index]) for row in self.sample if row[index].strip())
        return f"{next(cells, ''):.40}"

    def _columns(self) -> str:
        names = ", ".join(
            repr(name if len(name) <= 40 else name[:39] + "…") for name in self.names[:20]
        )
        return names + (", …" if len(self.names) > 20 else "")

    def _refuse(self, role: str, wanted: str) -> NoReturn:
        got = f"the columns {self._columns()} in {self.shown}"
        raise UserError(PATH, got, wanted, f"name it with {{data.{role}_column}}")

    def refuse_without_emoji(self, text: int) -> NoReturn:
        """Say what the table has instead of emoji, and which option may help."""
        numbers = [i for i, one in enumerate(self.profiles) if one.numbers > 0.9 and i != text]
        for index in [*self._named(EMOJI_NAMES), *numbers]:
            got = f"{self.shown}, whose column {self.names[index]!r} has no emoji, such as "
            got += repr(self._cell(index))
            remedy = "map labels to emoji with {data.label_names}, or name an {data.emoji_column}"
            raise UserError(PATH, got, "emoji", remedy)
        if len(self.names) == 1:
            got, wanted = f"{self.shown}, a list of texts without emoji", "texts with emoji"
            remedy = "give the file of their labels with {data.labels_path}"
            raise UserError(PATH, got, wanted, remedy)
        if self.profiles[text].mixed > 0:
            got = f"{self.shown}, which has emoji only within its texts, and in few of them"
            remedy = "give {data.emoji_from_text} true to train on these"
            raise UserError(PATH, got, "a column of emoji", remedy)
        self._refuse("emoji", "a column of emoji")
