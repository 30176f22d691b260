"""Shortcodes: CLDR's names and unambiguous aliases, and how the file of aliases is made."""

import gzip
import json
from pathlib import Path

import pytest

from emoji_gpt2.emoji import build_shortcodes
from emoji_gpt2.emoji.resources import read_text
from emoji_gpt2.emoji.shortcodes import ALIASES, replace_shortcodes
from emoji_gpt2.emoji.table import EmojiTable


@pytest.mark.parametrize(
    ("text", "replaced"),
    [
        ("I love :pizza:", "I love 🍕"),
        (":+1::-1:", "👍👎"),
        (":Face_with_Tears_of_Joy: :joy:", "😂 😂"),
        (":thumbs_up_light_skin_tone:", "👍🏻"),
        (":nobody_knows: 12:30:45 a:b", ":nobody_knows: 12:30:45 a:b"),
        ("::", "::"),
    ],
)
def test_known_shortcodes_become_emoji(text: str, replaced: str) -> None:
    assert replace_shortcodes(text) == replaced


def test_every_name_of_the_table_is_a_shortcode() -> None:
    table = EmojiTable.builtin()
    named = {table.name(emoji): emoji for emoji in table if table.name(emoji).isalpha()}
    assert len(named) > 500
    assert all(replace_shortcodes(f":{name}:") == emoji for name, emoji in named.items())


def test_the_file_holds_aliases_of_one_emoji_that_are_no_names(tmp_path: Path) -> None:
    source, output = tmp_path / "emoji.json", tmp_path / "aliases.tsv.gz"
    entries = {
        "🍕": {"en": ":pizza:", "alias": [":slice:"]},
        "🐶": {"en": ":dog_face:", "alias": [":dog:", ":pet:"]},
        "🐱": {"en": ":cat_face:", "alias": [":pet:"]},
        "no emoji": {"en": ":nothing:"},
    }
    source.write_text(json.dumps(entries), encoding="utf-8")
    build_shortcodes.main([str(source), "--output", str(output)])
    assert gzip.decompress(output.read_bytes()).decode() == "slice\t🍕\n"  # dog is 🐕's name
    shipped = dict(line.split("\t") for line in read_text(ALIASES).splitlines())
    assert len(shipped) == 1278
    assert all(emoji in EmojiTable.builtin() for emoji in shipped.values())
