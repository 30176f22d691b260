"""Unicode's own lists, emoji-test.txt and emoji-sequences.txt: code points; kind; name or # name.

1F600 ; fully-qualified     # 😀 E1.0 grinning face
1F9DD 1F3FB ; RGI_Emoji_Modifier_Sequence ; elf: light skin tone # E5.0 [1] (🧝🏻)

The formats are described in the files, https://www.unicode.org/Public/emoji/.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from emoji_gpt2.tables.decode import open_text
from emoji_gpt2.tables.delimited import Row

_LINE = re.compile(
    r"(?P<codes>[0-9A-F]{4,6}(?: [0-9A-F]{4,6})*)\s*;\s*[\w-]+\s*"
    r"(?:;\s*(?P<name>[^#]+?)\s*#|#\s*\S+(?: E[\d.]+)? (?P<comment>.+))"
)


def is_unicode_data(head: str) -> bool:
    """Return whether most lines of a file are of this format."""
    lines = [line for line in head.splitlines() if line.strip() and not line.startswith("#")]
    return 2 * sum(bool(_LINE.match(line)) for line in lines[:100]) > len(lines[:100])


class UnicodeData:
    """A list of Unicode's; headings and ranges of code points are left out."""

    unit = "line"
    has_header = True
    what = "a list of Unicode's"

    def __init__(self, path: Path, encoding: str | None) -> None:
        self.path, self._encoding = path, encoding
        self.names = ["name", "emoji"]

    def rows(self) -> Iterator[Row]:
        """Yield the name and the emoji of each line."""
        with open_text(self.path, self._encoding) as file:
            for number, line in enumerate(file.lines, 1):
                if found := _LINE.match(line):
                    codes = (chr(int(code, 16)) for code in found["codes"].split())
                    yield number, [(found["name"] or found["comment"]).strip(), "".join(codes)]
