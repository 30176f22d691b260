"""Make ``resources/shortcodes/aliases.tsv.gz`` from the ``emoji.json`` of the PyPI package emoji.

python -m emoji_gpt2.emoji.build_shortcodes emoji.json
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from emoji_gpt2.emoji.build import pack
from emoji_gpt2.emoji.shortcodes import ALIASES, folded_name
from emoji_gpt2.emoji.table import EmojiTable


def aliases_of(path: Path) -> dict[str, str]:
    """Return the aliases in ``emoji.json`` that mean one emoji and are no emoji's name."""
    table = EmojiTable.builtin()
    names = {folded_name(table.name(one)) for one in table}
    meant: dict[str, set[str]] = defaultdict(set)
    for text, entry in json.loads(path.read_text(encoding="utf-8")).items():
        if emoji := table.canonical(text):
            for alias in (entry["en"], *entry.get("alias", ())):
                meant[folded_name(alias.strip(":"))].add(emoji)
    return {a: e.pop() for a, e in sorted(meant.items()) if len(e) == 1 and a not in names}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Make the aliases of shortcodes.")
    parser.add_argument("source", type=Path, help="emoji.json of the PyPI package emoji")
    target = Path(__file__).parent / "resources" / ALIASES
    parser.add_argument("--output", type=Path, default=target, help="default: in the package")
    options = parser.parse_args(arguments)
    made = aliases_of(options.source)
    text = "".join(f"{alias}\t{emoji}\n" for alias, emoji in made.items())
    options.output.write_bytes(pack(text.encode()))


if __name__ == "__main__":
    main()
