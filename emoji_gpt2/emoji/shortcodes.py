"""Emoji written as shortcodes, such as ``:pizza:`` or ``:+1:``, as chats and GitHub write them.

    replace_shortcodes("I love :pizza:")            # "I love 🍕"

Names are CLDR's with underscores, and the aliases of ``resources/shortcodes`` (gemoji's among them)
that mean one emoji; ``build_shortcodes`` makes that file.
"""

import re
from collections.abc import Mapping
from functools import cache

from emoji_gpt2.emoji.resources import read_text
from emoji_gpt2.emoji.table import EmojiTable

ALIASES = "shortcodes/aliases.tsv.gz"
_CODE = re.compile(r":([\w+’'()&.-]+):")


def replace_shortcodes(text: str) -> str:
    """Return the text with emoji instead of those shortcodes that are known."""
    if text.count(":") < 2:
        return text
    known = _shortcodes()
    return _CODE.sub(lambda found: known.get(folded_name(found[1]), found[0]), text)


@cache
def _shortcodes() -> Mapping[str, str]:
    table = EmojiTable.builtin()
    lines = read_text(ALIASES).splitlines()
    aliases = dict(line.split("\t") for line in lines)
    return aliases | {folded_name(table.name(one)): one for one in table}


def folded_name(name: str) -> str:
    """Return a name in lower case, with one underscore for all that is neither letter nor digit."""
    folded = re.sub(r"[^\w+-]+|_+", "_", name.lower()).strip("_")
    return folded if folded in ("+1", "-1") else folded.replace("-", "_")
