"""Names and keywords in other languages: the files, the script that makes them, the rows."""

import csv
import gzip
import io
import json
import re

import pytest

from emoji_gpt2 import EmojiDataModule
from emoji_gpt2.emoji import build_languages
from emoji_gpt2.emoji.languages import language_bytes, parse_languages, shipped_languages, table_in
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import UserError
from emoji_gpt2.tokenizer import decode_text
from tests.tiny import ready

PLAIN = {
    "❤": {"default": ["amo", "ruĝa koro"], "tts": ["ruĝa koro"]},
    "🍕": {"default": ["pico", "PICO", "fromaĝo"], "tts": ["pico"]},
    "🧀": {"default": ["fromaĝo", "amo"], "tts": ["fromaĝo peco"]},
    "🥞": {"default": ["pancakes"]},
    "|": {"default": ["|"], "tts": ["streko"]},
}
DERIVED = {"👍🏽": {"default": ["haŭto"], "tts": ["dikfingro: meza haŭto"]}}


@pytest.fixture
def cldr(tmp_path):
    """Two folders of annotations in a made-up language, as the npm packages have them."""
    for kind, entries in (("annotations", PLAIN), ("annotationsDerived", DERIVED)):
        folder = tmp_path / kind / "eo"
        folder.mkdir(parents=True)
        text = json.dumps({kind: {"annotations": entries}})
        (folder / "annotations.json").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def made_file(cldr):
    run(cldr, "eo")
    return cldr / "made" / "eo.csv.gz"


def run(cldr, *languages):
    folders = {"annotations": "annotations", "annotations_derived": "annotationsDerived"}
    options = [part for o, f in folders.items() for part in (f"--{o}", str(cldr / f))]
    build_languages.main([*languages, *options, "--output", str(cldr / "made")])


def test_the_script_writes_a_file_and_where_it_is_from(made_file):
    assert gzip.decompress(made_file.read_bytes()).decode() == (
        "emoji,name,keywords\n"
        "❤️,ruĝa koro,amo | ruĝa koro\n"
        "👍🏽,dikfingro: meza haŭto,\n"
        "🥞,,pancakes\n"
        "🧀,fromaĝo peco,fromaĝo | amo\n"
        "🍕,pico,pico | PICO | fromaĝo\n"
    )
    assert "`eo.csv.gz` | 5 |" in (made_file.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("bad", ["no such language", "not JSON", "no emoji"])
def test_a_bad_source_is_one_line_and_nothing_is_written(cldr, capsys, bad):
    path = cldr / "annotations" / "eo" / "annotations.json"
    if bad == "not JSON":
        path.write_text("{")
    if bad == "no emoji":
        for kind in ("annotations", "annotationsDerived"):
            text = json.dumps({kind: {"annotations": {"a": {"tts": ["a"]}}}})
            (cldr / kind / "eo" / "annotations.json").write_text(text)
    with pytest.raises(SystemExit, match="2"):
        run(cldr, "xx" if bad == "no such language" else "eo")
    assert re.fullmatch(r"error: .*(annotations).*\n", capsys.readouterr().err)
    assert not (cldr / "made").exists()


def test_a_translated_table_knows_tones_and_bases_like_the_english_one():
    german, english = table_in("de"), EmojiTable.builtin()
    assert (german.name("🍕"), english.name("🍕")) == ("Pizza", "pizza")
    assert "Kürbis" in german.keywords("🎃")
    assert list(german) == list(english)
    assert all(german.base(e) == english.base(e) for e in english)
    assert german.with_tone("👍", "dark") == "👍🏿"


def test_the_shipped_files_name_nearly_every_emoji_of_the_table():
    assert shipped_languages() == sorted(build_languages.SHIPPED)
    assert len(shipped_languages()) >= 30
    english = list(EmojiTable.builtin())
    for language in shipped_languages():
        _, *rows = csv.reader(io.StringIO(language_bytes(language).decode()))
        named = {emoji for emoji, _, _ in rows}
        assert [emoji for emoji, _, _ in rows] == [e for e in english if e in named], language
        assert len(rows) >= len(english) - 3, language
        assert all(name and "|" not in name for _, name, _ in rows), language


def test_languages_are_a_list_or_have_commas(made_file):
    assert parse_languages("en, de,en") == parse_languages(["en", "de"]) == ("en", "de")
    assert parse_languages(f"en,{made_file}") == ("en", str(made_file))


@pytest.mark.parametrize("given", ["xx", "en,xx", "", [], "../de", "no/such.csv.gz"])
def test_an_unknown_language_is_an_error_that_lists_the_known_ones(given):
    with pytest.raises(UserError, match=r"^languages: got .* wanted some of en, ar, .*zh"):
        EmojiDataModule(languages=given)


def test_languages_beside_a_path_are_an_error():
    with pytest.raises(UserError, match=r"languages: got en, de with .* as path"):
        EmojiDataModule("emoji_df.csv", languages="en,de")


@pytest.mark.parametrize(
    "content",
    [b"no gzip", gzip.compress(b"emoji,name,keywords\na,b,c\n")],
    ids=["no gzip", "no emoji"],  # a gzip holds the time
)
def test_a_file_of_another_kind_is_an_error(tmp_path, content):
    path = tmp_path / "eo.csv.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"languages: got .*eo\.csv\.gz"):
        table_in(str(path))


def rows_of(data, *splits):
    """The token ids of prompt and answer of each row."""
    rows = [data.store.row(row) for split in splits for row in data.store.splits[split].rows]
    return {(tuple(ids[:n].tolist()), tuple(ids[n:].tolist())) for ids, n in rows}


def test_other_languages_add_rows_and_take_none_away(tmp_path, made_file):
    cache = str(tmp_path.parent / "rows")  # that of all tests
    english = ready(EmojiDataModule(cache_dir=cache))
    both = ready(EmojiDataModule(languages=f"en,{made_file}", cache_dir=cache))
    before, after = (rows_of(data, "train", "val", "test") for data in (english, both))
    # "amo" and "fromaĝo" are keywords of two emoji each; "pico" is a name.
    new = {("ruĝa koro", "❤️"), ("dikfingro: meza haŭto", "👍🏽"), ("amo", "❤️"), ("amo", "🧀"),
           ("pico", "🍕"), ("fromaĝo", "🍕"), ("fromaĝo", "🧀"),
           ("fromaĝo peco", "🧀")}  # fmt: skip
    bpe = both.tokenizer
    added = {(decode_text(bpe, t[:-1]), bpe.decode(e[:-1])) for t, e in after - before}
    assert added == new
    assert before <= after
    assert both.report[1].startswith("built-in names (eo): 5 rows read, 4 emoji kept in 4 ")
    assert "(eo)" not in "".join(english.report)
    held_out = {prompt for prompt, _ in rows_of(both, "val", "test")}
    assert not held_out & {prompt for prompt, _ in rows_of(both, "train")}


def test_what_a_file_holds_counts_not_its_place(made_file):
    tokenizer = EmojiDataModule().tokenizer

    def folder(path):
        data = EmojiDataModule(languages=["en", str(path)])
        return data.config.folder({}, tokenizer, data.cache_dir)

    first = folder(made_file)
    moved = made_file.rename(made_file.parent.parent / "eo.csv.gz")
    assert folder(moved) == first
    moved.write_bytes(gzip.compress("emoji,name,keywords\n🍕,pico,\n".encode()))
    assert folder(moved) != first
