"""Emoji written as shortcodes, such as ``:pizza:`` or ``:+1:``, as chats and GitHub write them.

    replace_shortcodes("I love :pizza:")            # "I love 🍕"

Names are CLDR's with underscores, and the aliases of ``resources/shortcodes`` (gemoji's among them)
that mean one emoji. To make that file anew, from the ``emoji.json`` of the PyPI package emoji::

    python -m emoji_gpt2.emoji.shortcodes emoji.json
"""

import gzip
import json
import re
import sys
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from emoji_gpt2.emoji.resources import read_text
from emoji_gpt2.emoji.table import EmojiTable

ALIASES = "shortcodes/aliases.tsv.gz"
_CODE = re.compile(r":([\w+’'()&.-]+):")


def replace_shortcodes(text: str) -> str:
    """Return the text with emoji instead of those shortcodes that are known."""
    if text.count(":") < 2:
        return text
    known = _shortcodes()
    return _CODE.sub(lambda found: known.get(_folded(found[1]), found[0]), text)


@cache
def _shortcodes() -> Mapping[str, str]:
    table = EmojiTable.builtin()
    lines = read_text(ALIASES).splitlines()
    aliases = dict(line.split("\t") for line in lines)
    return aliases | {_folded(table.name(one)): one for one in table}


def _folded(name: str) -> str:
    """Return a name in lower case, with one underscore for all that is neither letter nor digit."""
    folded = re.sub(r"[^\w+-]+|_+", "_", name.lower()).strip("_")
    return folded if folded in ("+1", "-1") else folded.replace("-", "_")


def aliases_of(path: Path) -> dict[str, str]:
    """Return the aliases in ``emoji.json`` that mean one emoji and are not its name."""
    table = EmojiTable.builtin()
    names = {_folded(table.name(one)) for one in table}
    meant: dict[str, set[str]] = defaultdict(set)
    for text, entry in json.loads(path.read_text(encoding="utf-8")).items():
        if emoji := table.canonical(text):
            for alias in (entry["en"], *entry.get("alias", ())):
                meant[_folded(alias.strip(":"))].add(emoji)
    return {a: e.pop() for a, e in sorted(meant.items()) if len(e) == 1 and a not in names}


if __name__ == "__main__":
    made = aliases_of(Path(sys.argv[1]))
    text = "".join(f"{alias}\t{emoji}\n" for alias, emoji in made.items())
    target = Path(__file__).parent / "resources" / ALIASES
    target.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{target}: {len(made)} aliases")
