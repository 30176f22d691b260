"""Make the files of emoji names and keywords in languages other than English.

    npm pack cldr-annotations-full@48.2.0 cldr-annotations-derived-full@48.2.0
    tar xzf cldr-annotations-full-48.2.0.tgz --one-top-level=full
    tar xzf cldr-annotations-derived-full-48.2.0.tgz --one-top-level=derived
    python -m emoji_gpt2.emoji.build_languages eu gl --annotations full/package/annotations \
        --annotations_derived derived/package/annotationsDerived --output my_languages
    python -m emoji_gpt2.fit --data.languages en,my_languages/eu.csv.gz

It writes ``eu.csv.gz``, … and a ``README.md``, the same bytes each time; without ``--output`` the
package's own files, and without languages those in ``SHIPPED``. Keywords of emoji with skin tones
are left out, since nothing uses them.
"""

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

from emoji_gpt2.emoji.build import csv_bytes, joined, pack, read_annotations
from emoji_gpt2.emoji.languages import COLUMNS, FOLDER, SUFFIX
from emoji_gpt2.emoji.table import VARIATION_SELECTOR_16, EmojiTable
from emoji_gpt2.errors import UserError, flag, one_line_errors

# fmt: off
SHIPPED = [
    "ar", "bn", "cs", "de", "el", "es", "fa", "fil", "fr", "he", "hi", "hu", "id", "it", "ja", "ko",
    "mr", "nl", "pl", "pt", "ro", "ru", "sv", "sw", "ta", "te", "th", "tr", "uk", "ur", "vi", "zh",
]
# fmt: on
"""The languages in the package: the most spoken ones for which CLDR names every emoji."""

_README = """\
# Emoji names and keywords in other languages

Made by `emoji_gpt2/emoji/build_languages.py` from `annotations/*/annotations.json` of the npm
packages cldr-annotations-full and cldr-annotations-derived-full; do not edit them by hand. The
licence is Unicode-3.0, as of CLDR itself (`UNICODE-LICENSE-V3.txt` of emoji_gpt2). The sums are
those of the two sources, one after the other.

| file | emoji | sha256 of the sources |
|---|---|---|
{rows}
"""


def sources_of(language: str, annotations: Path, derived: Path) -> list[Path]:
    """Return the two files of a language, derived names first."""
    return [folder / language / "annotations.json" for folder in (derived, annotations)]


def read_language(language: str, annotations: Path, derived: Path) -> list[tuple[str, str, str]]:
    """Return emoji, name and joined keywords in a language such as ``pt-PT``, in table order."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for path in sources_of(language, annotations, derived):
        found |= read_annotations(path)
    table, rows = EmojiTable.builtin(), []
    for emoji in table:
        name, keywords = found.get(emoji.replace(VARIATION_SELECTOR_16, ""), ("", ()))
        cell = "" if table.tones(emoji) else joined(keywords, emoji)
        if name or cell:
            rows.append((emoji, name, cell))
    if not rows:
        got = f"{annotations / language}, which names no emoji"
        raise UserError("annotations", got, remedy="take another")
    return rows


def build(languages: Sequence[str], annotations: Path, derived: Path, output: Path) -> None:
    """Read all ``languages``, then write their files and a README.md into ``output``."""
    tables = {one: read_language(one, annotations, derived) for one in languages}
    lines = []
    for one, rows in tables.items():
        sources = sources_of(one, annotations, derived)
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
        lines.append(f"| `{one}{SUFFIX}` | {len(rows):,} | `{digest}` |")
    output.mkdir(parents=True, exist_ok=True)
    for one, rows in tables.items():
        (output / f"{one}{SUFFIX}").write_bytes(pack(csv_bytes([COLUMNS, *rows])))
    text = _README.format(rows="\n".join(lines))
    (output / "README.md").write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Make emoji names and keywords of languages.")
    parser.add_argument("languages", nargs="*", help="CLDR's codes; none: those of the package")
    parser.add_argument("--annotations", type=Path, required=True, help="cldr-annotations-full's")
    parser.add_argument("--annotations_derived", type=Path, required=True, help="the derived ones")
    default = Path(__file__).parent / "resources" / FOLDER
    parser.add_argument("--output", type=Path, default=default, help="a folder")
    given = parser.parse_args(arguments)
    languages = given.languages or SHIPPED
    with one_line_errors(flag):
        build(languages, given.annotations, given.annotations_derived, given.output)
        print(f"{given.output}: {', '.join(languages)}")


if __name__ == "__main__":
    main()
