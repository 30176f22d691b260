"""Which column holds the texts and which the emoji: by name, and by what stands in them.

columns = find_columns(table, sample, text=None, emoji=None)
columns.text, columns.emoji             # indices
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
class Columns:
    """The columns of a table by index.

    Attributes:
        text: Of the texts.
        emoji: Of the emoji; None where there is none.
        from_text: Whether the emoji are taken out of the texts.
    """

    text: int
    emoji: int | None = None
    from_text: bool = False


@dataclass(frozen=True)
class Profile:
    """What stands in a column, as fractions of its cells that are not blank.

    Attributes:
        filled: Of all cells, those that are not blank.
        emoji: Emoji and nothing else, also as codes.
        literal: The same without codes.
        named: The same by shortcodes.
        mixed: Words with emoji among them.
        words: Words, maybe with others.
        numbers: Numbers alone.
        distinct: Different cells.
        length: Words per cell on average.
    """

    filled: float
    emoji: float
    literal: float
    named: float
    mixed: float
    words: float
    numbers: float
    distinct: float
    length: float

    @property
    def has_texts(self) -> bool:
        """Return whether this can be a column of texts."""
        return self.filled >= 0.5 and self.words >= 0.5 and self.emoji < 0.5

    @property
    def may_be_texts(self) -> bool:
        """Return whether this can be texts for want of a better column: single letters, say."""
        return self.emoji < 0.5 and self.numbers < 0.9


def profile(cells: Sequence[str], labels: Mapping[str, str] | None = None) -> Profile:
    """Return what stands in the cells of a column."""
    table = EmojiTable.builtin()
    filled = [cell for cell in cells if cell and not cell.isspace()]
    emoji = literal = named = mixed = words = numbers = 0
    for cell in filled:
        decoded = emoji_cell(cell, labels)
        has_emoji = bool(table.split(decoded))
        is_worded = has_words(decoded)
        if has_emoji and not is_worded:
            emoji += 1
            literal += decoded == cell
            named += decoded != cell and not decoded_codes(cell)
        mixed += has_emoji and is_worded
        words += is_worded
        numbers += bool(_NUMBER.fullmatch(cell))
    n = max(1, len(filled))
    return Profile(
        filled=len(filled) / max(1, len(cells)),
        emoji=emoji / n,
        literal=literal / n,
        named=named / n,
        mixed=mixed / n,
        words=words / n,
        numbers=numbers / n,
        distinct=len(set(filled)) / n,
        length=sum(len(cell.split()) for cell in filled) / n,
    )


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
    *,
    shown: str,
    text: str | None = None,
    emoji: str | None = None,
    needs_emoji: bool = True,
    labels: Mapping[str, str] | None = None,
    from_text: bool | None = None,
) -> Columns:
    """Return the columns of a table.

    Args:
        names: Of all columns.
        sample: Some records.
        shown: What to call the table in an error.
        text: The name or number, from 1, of the column of texts; None finds it.
        emoji: The same of the emoji.
        needs_emoji: Whether a table without emoji is refused.
        labels: The emoji of labels.
        from_text: Whether emoji are taken out of the texts; None: if there is no column of emoji.

    Raises:
        UserError: there is none, or more than one is as likely.
    """
    finder = _Finder(names, sample, shown, labels)
    emoji_index, text_index = finder.given(emoji, "emoji"), finder.given(text, "text")
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
        usable = [
            i
            for i, one in enumerate(self.profiles)
            if i != emoji and (one.has_texts or (literal and one.named > 0.5))
        ]
        for index in self._named(TEXT_NAMES):
            if index in usable:
                return index
        scores = {i: self.profiles[i].distinct * self.profiles[i].words for i in usable}
        best = [i for i in usable if scores[i] >= 0.8 * max(scores.values())]
        longest = max((self.profiles[i].length for i in best), default=0.0)
        best = [i for i in best if 2 * self.profiles[i].length > longest]
        found = self._only(best, "text")
        if found is None:
            named = [i for i in self._named(TEXT_NAMES) if i != emoji]
            others = [i for i, one in enumerate(self.profiles) if i != emoji and one.may_be_texts]
            likely = [i for i in named if self.profiles[i].words] or others
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
