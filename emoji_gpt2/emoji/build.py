"""Make the package's data files from the files that Unicode and OpenAI publish.

    python -m emoji_gpt2.emoji.build --emoji_test emoji-test.txt \
        --annotations cldr-en-annotations.json \
        --annotations_derived cldr-en-annotations-derived.json \
        --merges gpt2-merges.txt [--output DIR]

It writes ``emoji_table.csv``, ``gpt2_merges.txt.gz`` and ``README.md``, the same bytes each time.
emoji-test.txt (https://www.unicode.org/Public/) describes itself; the annotations are
``annotations/en/annotations.json`` of the npm packages cldr-annotations-full and
cldr-annotations-derived-full; the merges are GPT-2's ``vocab.bpe``.
"""

import argparse
import csv
import gzip
import hashlib
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from emoji_gpt2.emoji.table import KEYWORD_SEPARATOR, VARIATION_SELECTOR_16, Emoji, EmojiTable
from emoji_gpt2.errors import UserError, flag, one_line_errors

TABLE = "emoji_table.csv"
MERGES = "gpt2_merges.txt.gz"
MERGES_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"

# 1F44B 1F3FB   ; fully-qualified     # 👋🏻 E1.0 waving hand: light skin tone
_LINE = re.compile(r"([0-9A-F]+(?: [0-9A-F]+)*) *; fully-qualified *# \S+ E[\d.]+ (.+)")
_HEADER = re.compile(r"# (group|subgroup): (.+)")

Annotation = tuple[str, tuple[str, ...]]
"""A short name and keywords."""

_README = """\
# Data files of emoji_gpt2

Made by `emoji_gpt2/emoji/build.py`; do not edit them by hand.

| file | made from | sha256 of the source | licence |
|---|---|---|---|
{rows}

emoji-test.txt is Unicode's list of emoji (https://www.unicode.org/Public/). The annotations
are CLDR's English keywords: `annotations/en/annotations.json` of the npm packages
cldr-annotations-full and cldr-annotations-derived-full. The merges are those of GPT-2's tokenizer
(`vocab.bpe`). `licenses/LICENSE` is this package's own. `languages/` has a README.md of its
own.

To make the files anew, with the files of a newer version of Unicode say:

    python -m emoji_gpt2.emoji.build --emoji_test {emoji_test} \\
        --annotations {annotations} \\
        --annotations_derived {annotations_derived} \\
        --merges {merges}
"""


def read_emoji_test(path: Path, keywords: dict[str, tuple[str, ...]]) -> EmojiTable:
    """Return the fully-qualified emoji of an emoji-test.txt with keywords, by emoji sans U+FE0F."""
    rows, heading = [], {"group": "", "subgroup": ""}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if header := _HEADER.fullmatch(line):
            heading[header[1]] = header[2]
        elif match := _LINE.fullmatch(line):
            codepoints, name = match.groups()
            emoji = "".join(chr(int(code, 16)) for code in codepoints.split())
            found = keywords.get(emoji.replace(VARIATION_SELECTOR_16, ""), ())
            headings = heading["group"], heading["subgroup"]
            rows.append(Emoji(emoji, name, *headings, codepoints, _name_flag(name, found)))
    if not rows:
        got = f"{path}, which has no fully-qualified emoji"
        raise UserError("emoji_test", got, remedy="give emoji-test.txt")
    return EmojiTable(rows)


def _name_flag(name: str, keywords: tuple[str, ...]) -> tuple[str, ...]:
    """CLDR has "flag" alone for each of some 260 flags: add the place's name."""
    _, _, place = name.partition("flag: ")
    return (*keywords, place) if place and keywords == ("flag",) else keywords


def read_annotations(path: Path) -> dict[str, Annotation]:
    """Return names and keywords in CLDR's annotations.json, by emoji without U+FE0F."""
    data = path.read_bytes()
    try:
        (root,) = json.loads(data).values()  # {"annotations" or "annotationsDerived": {…}}
        return {
            text.replace(VARIATION_SELECTOR_16, ""): (
                "".join(entry.get("tts", ())),
                tuple(entry.get("default", ())),
            )
            for text, entry in root["annotations"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError("annotations", f"{path}", f"CLDR's annotations.json ({error!r})") from error


def joined(keywords: tuple[str, ...], emoji: str) -> str:
    """Return keywords as one cell."""
    if "|" in "".join(keywords):
        raise UserError("annotations", f"{emoji} with a '|' in {keywords}")
    return KEYWORD_SEPARATOR.join(keywords)


def csv_bytes(rows: Iterable[Iterable[str]]) -> bytes:
    """Return rows as CSV, LF at the end of each."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


def pack(data: bytes) -> bytes:
    """Return `data` as gzip without name and time, so that the same data gives the same bytes."""
    out = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0) as file:
        file.write(data)
    return out.getvalue()


def readme(sources: dict[str, Path]) -> str:
    """Return README.md for the sources, named by option: what is made from what."""
    unicode = "`licenses/UNICODE-LICENSE-V3.txt`"
    made = dict.fromkeys(sources, (f"`{TABLE}`", unicode))
    made["merges"] = (f"`{MERGES}`", "`licenses/GPT2-LICENSE.txt`")
    rows = []
    for option, path in sources.items():
        file, licence = made[option]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append(f"| {file} | `{path.name}` | `{digest}` | {licence} |")
    names = {option: path.name for option, path in sources.items()}
    return _README.format(rows="\n".join(rows), **names)


def build(sources: dict[str, Path], output: Path) -> EmojiTable:
    """Check all `sources`, named by option, then write files into `output`; return the table."""
    annotations: dict[str, Annotation] = {}
    for option in ("annotations_derived", "annotations"):
        annotations |= read_annotations(sources[option])
    table = read_emoji_test(
        sources["emoji_test"], {text: words for text, (_, words) in annotations.items()}
    )
    cells = [
        (e.emoji, e.name, e.group, e.sub_group, e.codepoints, joined(e.keywords, e.emoji))
        for e in table.values()
    ]
    merges = sources["merges"].read_bytes()
    if (found := hashlib.sha256(merges).hexdigest()) != MERGES_SHA256:
        wanted = f"{MERGES_SHA256[:8]}…, GPT-2's merges (vocab.bpe, 50,000 of them)"
        raise UserError("merges", f"{sources['merges']} with sha256 {found[:8]}…", wanted)
    output.mkdir(parents=True, exist_ok=True)
    header = [field.name for field in fields(Emoji)]
    (output / TABLE).write_bytes(csv_bytes([header, *cells]))
    (output / MERGES).write_bytes(pack(merges))
    (output / "README.md").write_text(readme(sources), encoding="utf-8")
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Make the data files of emoji_gpt2.")
    parser.add_argument("--emoji_test", type=Path, required=True, help="Unicode's emoji-test.txt")
    parser.add_argument("--annotations", type=Path, required=True, help="CLDR's, in English")
    parser.add_argument("--annotations_derived", type=Path, required=True, help="the derived ones")
    parser.add_argument("--merges", type=Path, required=True, help="GPT-2's merges.txt")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "resources", help="a folder"
    )
    sources = vars(parser.parse_args(arguments))
    output = sources.pop("output")
    with one_line_errors(flag):
        table = build(sources, output)
        bare = sum(not row.keywords for row in table.values())
        print(f"{output / TABLE}: {len(table)} emoji, {bare} without keywords")


if __name__ == "__main__":
    main()
