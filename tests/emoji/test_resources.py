"""The shipped data files agree with each other and their licences; the script that makes them."""

import csv
import gzip
import hashlib
import io
import json
from importlib.resources import files

import pytest

from emoji_gpt2.emoji import build
from emoji_gpt2.emoji.resources import read_bytes, read_text
from emoji_gpt2.emoji.table import EmojiTable

APACHE_2_SHA256 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
# RFC 1952: magic, deflate, no flags (so no name), time 0, best compression, unknown system
NAMELESS_GZIP = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
EMOJI_TEST = """\
# emoji-test.txt
# group: Smileys & Emotion
# subgroup: heart
2764 FE0F    ; fully-qualified     # ❤️ E0.6 red heart
2764         ; unqualified         # ❤ E0.6 red heart

# group: People & Body
# subgroup: person
1F468 1F3FB 200D 1F9B0  ; fully-qualified     # 👨🏻‍🦰 E11.0 man: light skin tone, red hair
# group: Component
# subgroup: skin-tone
1F3FB        ; component           # 🏻 E1.0 light skin tone
# group: Flags
# subgroup: country-flag
1F1E8 1F1EE  ; fully-qualified     # 🇨🇮 E2.0 flag: Côte d’Ivoire
1F1EB 1F1F7  ; fully-qualified     # 🇫🇷 E2.0 flag: France
1F3C1        ; fully-qualified     # 🏁 E0.6 chequered flag
"""
ANNOTATIONS = {
    "❤": {"default": ["love", "red heart"], "tts": ["red heart"]},
    "🇫🇷": {"default": ["flag", "tricolore"], "tts": ["flag: France"]},
    "|": {"default": ["pipe", "|"], "tts": ["vertical line"]},
}
DERIVED = {
    "👨🏻\u200d🦰": {"default": ["adult", "light skin tone"], "tts": ["man"]},
    "🇨🇮": {"default": ["flag"]},
}
WANTED_CSV = """\
emoji,name,group,sub_group,codepoints,keywords
❤️,red heart,Smileys & Emotion,heart,2764 FE0F,love | red heart
👨🏻‍🦰,"man: light skin tone, red hair",People & Body,person,1F468 1F3FB 200D 1F9B0,adult | light skin tone
🇨🇮,flag: Côte d’Ivoire,Flags,country-flag,1F1E8 1F1EE,flag | Côte d’Ivoire
🇫🇷,flag: France,Flags,country-flag,1F1EB 1F1F7,flag | tricolore
🏁,chequered flag,Flags,country-flag,1F3C1,
"""  # noqa: E501


@pytest.fixture
def sources(tmp_path):
    """Small sources and the real merges, by option."""
    given = {
        "emoji_test": EMOJI_TEST.encode(),
        "annotations": json.dumps({"annotations": {"annotations": ANNOTATIONS}}).encode(),
        "annotations_derived": json.dumps(
            {"annotationsDerived": {"annotations": DERIVED}}
        ).encode(),
        "merges": read_bytes("gpt2_merges.txt.gz"),
    }
    paths = {option: tmp_path / option for option in given}
    for option, data in given.items():
        paths[option].write_bytes(data)
    return paths


def run(sources, output):
    options = [part for option, path in sources.items() for part in (f"--{option}", str(path))]
    build.main([*options, "--output", str(output)])


def test_build_writes_table_merges_and_readme(sources, tmp_path, capsys):
    run(sources, tmp_path / "made")
    assert capsys.readouterr().out.endswith("emoji_table.csv: 5 emoji, 1 without keywords\n")
    made = {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    assert set(made) == {"emoji_table.csv", "gpt2_merges.txt.gz", "README.md"}
    assert made["emoji_table.csv"].decode() == WANTED_CSV
    assert gzip.decompress(made["gpt2_merges.txt.gz"]) == sources["merges"].read_bytes()
    assert made["gpt2_merges.txt.gz"].startswith(NAMELESS_GZIP)
    for path in sources.values():
        assert hashlib.sha256(path.read_bytes()).hexdigest() in made["README.md"].decode()
    run(sources, tmp_path / "again")
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == made


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (("emoji_test", None), "No such file"),
        (("emoji_test", b"# nothing\n"), "has no fully-qualified emoji"),
        (("emoji_test", b"\xff\xfe"), "has no fully-qualified emoji"),
        (("annotations", b"not JSON"), "--annotations: got "),
        (("annotations", b'{"annotations": {}}'), "wanted CLDR's annotations.json"),
        (("annotations_derived", b"[]"), "wanted CLDR's annotations.json"),
        (("annotations", b'{"a": {"annotations": {"\xe2\x9d\xa4": {"default": ["a|b"]}}}}'), "'|'"),
        (("merges", b"#version: 0.2\n"), "wanted 1ce16647…, GPT-2's merges"),
    ],
)
def test_a_bad_source_is_one_line_and_nothing_is_written(sources, tmp_path, capsys, bad, message):
    option, data = bad
    sources[option].unlink()
    if data is not None:
        sources[option].write_bytes(data)
    with pytest.raises(SystemExit, match="2"):
        run(sources, tmp_path / "made")
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "made").exists()


def test_shipped_table_is_whole():
    text = read_text("emoji_table.csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len({row["emoji"] for row in rows}) == 3944
    assert len({row["name"] for row in rows}) == 3944
    assert len({row["group"] for row in rows}) == 9
    assert "\r" not in text
    for row in rows:
        assert " ".join(f"{ord(char):04X}" for char in row["emoji"]) == row["codepoints"]
        keywords = row["keywords"].split(" | ")
        assert all(word and word == word.strip() and "|" not in word for word in keywords)
        assert None not in row
        assert all(row.values())


def test_each_flag_has_its_places_name():
    flags = [row for row in EmojiTable.builtin().values() if row.name.startswith("flag: ")]
    assert len(flags) == 262
    assert all(row.keywords == ("flag", row.name.removeprefix("flag: ")) for row in flags)


def test_shipped_merges_are_gpt2s():
    lines = read_text("gpt2_merges.txt.gz").splitlines()
    assert lines[0] == "#version: 0.2"
    assert len(lines) == 50_001
    assert lines[1] == "Ġ t"
    digest = hashlib.sha256(read_bytes("gpt2_merges.txt.gz")).hexdigest()
    assert digest.startswith("1ce16647")
    assert digest in read_text("README.md")
    packed = files("emoji_gpt2.emoji.resources").joinpath("gpt2_merges.txt.gz").read_bytes()
    assert packed.startswith(NAMELESS_GZIP)


def test_licences_lie_beside_the_data():
    assert hashlib.sha256(read_bytes("licenses/LICENSE")).hexdigest() == APACHE_2_SHA256
    assert read_text("licenses/UNICODE-LICENSE-V3.txt").startswith("UNICODE LICENSE V3\n")
    assert "Copyright (c) 2019 OpenAI" in read_text("licenses/GPT2-LICENSE.txt")
