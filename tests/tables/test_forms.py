"""Every form of table in ``forms/``: the exact rows, without an option, and what the run says.

``tests/README.md`` has these forms as a table; the files are made up.
"""

from pathlib import Path

import pytest

from emoji_gpt2.data.examples import Report, read_examples
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import UserError
from emoji_gpt2.tables.columns import Reading
from emoji_gpt2.tables.source import open_source

FORMS = Path(__file__).parent / "forms"
PIZZA_DOG = [("pizza", "🍕"), ("dog", "🐶")]
RAGGED = [(f"word {c}", "🍕") for c in "abcdefghijklmnopqrstuvwxyz"] + [("last", "🐶")]
READ: dict[str, tuple[list[tuple[str, str]], str]] = {
    "semicolon.csv": (
        [("pizza", "🍕"), ("a dog, barking", "🐶"), ("rain", "🌧️")],
        "separated by ';', utf-8; texts: 'text', emoji: 'emoji'",
    ),
    "semicolon_quoted.csv": ([("pizza", "🍕"), ("so; much", "🐶")], "separated by ';'"),
    "pipe.csv": (PIZZA_DOG, "separated by '|'"),
    "tab_in_csv.csv": ([("pizza, hot", "🍕"), ("dog", "🐶")], "separated by tab"),
    "comma_in_tsv.tsv": (PIZZA_DOG, "separated by ','"),
    "sep_line.csv": (PIZZA_DOG, "separated by ';'"),
    "comments.csv": (PIZZA_DOG, "dropped: 3 comments (line 1, line 2, line 5)"),
    "kaggle.csv": (
        [("grinning face", "😀"), ("keycap: #", "#️⃣"), ("shinto shrine", "⛩️")],
        "texts: 'name', emoji: 'emoji' (4 other columns are not used)",
    ),
    "no_header.csv": (
        [("pizza", "🍕"), ("dog", "🐶"), ("rain", "🌧️")],
        "no header; texts: column 2, emoji: column 1",
    ),
    "no_header_numbers.tsv": (
        [("pizza time", "🍕"), ("good dog", "🐶"), ("more rain", "🌧️")],
        "no header; texts: column 2, emoji: column 3",
    ),
    "tweets.tsv": (
        [('"so" they said', "😀"), ('"hello there', "👋"), ("rain, again", "🌧️"),
         ('the "end" of it"', "🔚")],
        "separated by tab, utf-8, no header",
    ),
    "tweets_with_header.tsv": (
        [('"hello there', "😀"), ("rain", "🌧️"), ("pizza", "🍕"), ('end of it"', "👋"),
         ("last", "🔚")],
        "5 rows read",
    ),
    "quoted_tweet.csv": (
        [('"so" they said', "😀"), ("rain", "🌧️"), ("one, two", "🍕")], "3 rows read"
    ),
    "multi_line.csv": (
        [("first line, second, line", "😀"), ('a "quoted" word', "🗨️"), ("rain", "🌧️")],
        "1 with text of several lines",
    ),
    "ragged.csv": (RAGGED, "dropped: 1 more cells than the others (line 28)"),
    "broken_byte.csv": (
        [("pizza", "🍕"), ("dog", "🐶"), ("rain", "🌧️")],
        "dropped: 1 text with broken characters",
    ),
    "utf16.csv": (PIZZA_DOG, "utf-16"),
    "byte_order_mark.csv": (PIZZA_DOG, "utf-8-sig"),
    "windows_1252.csv": (
        [("café au lait", "☕"), ("déjà vu", "👀"), ("un chat", "🐈"), ("le soleil", "☀️")],
        "separated by ';', cp1252",
    ),
    "gb18030.csv": ([("披萨", "🍕"), ("小狗", "🐶")], "gb18030"),
    "mojibake.csv": (
        [("so tired", "😩"), ("please don't", "🙏"), ("wow", "😮")], "3 with mojibake (mended)"
    ),
    "mojibake_in_part.csv": (
        [("pizza", "🍕"), ("so tired", "😩"), ("dog", "🐶")],
        "dropped: 1 mojibake that cannot be mended; 1 with mojibake (mended)",
    ),
    "copyright.csv": (
        [("blue jeans", "👖"), ("an apple", "🍎"), ("copyright", "©️")],
        "2 with text or unknown emoji beside the emoji",
    ),
    "flags.csv": ([("scotland", "🏴󠁧󠁢󠁳󠁣󠁴󠁿"), ("a black flag", "🏴")], "1 emoji not in the table"),
    "by_emoji.json": ([("pizza", "🍕"), ("food", "🍕"), ("dog", "🐶")], "JSON, utf-8"),
    "by_word.json": (PIZZA_DOG, "texts: 'key', emoji: 'value'"),
    "data.json": (PIZZA_DOG, "texts: 'text'"),
    "objects_by_emoji.json": ([("pizza", "🍕"), ("dog face", "🐶")], "emoji: 'key'"),
    "objects_by_word.json": ([*PIZZA_DOG, ("tea", "🍵")], "texts: 'key'"),
    "lists_by_group.json": (PIZZA_DOG, "texts: 'description'"),
    "words_by_group.json": ([("pizza", "🍕"), ("tea", "🍵"), ("dog", "🐶")], "3 rows read"),
    "pairs.json": (PIZZA_DOG, "texts: '1', emoji: '2'"),
    "pandas_columns.json": (PIZZA_DOG, "texts: 'text'"),
    "pandas_split.json": (PIZZA_DOG, "texts: 'text'"),
    "pretty.json": (PIZZA_DOG, "texts: 'text'"),
    "chat.jsonl": (PIZZA_DOG, "JSON lines"),
    "sharegpt.json": (PIZZA_DOG, "JSON, utf-8"),
    "lists.jsonl": ([("party", "🎉🥳"), ("dog", "🐶")], "emoji: 'emojis'"),
    "list_cells.csv": ([("party", "🎉🥳"), ("dog", "🐶")], "2 rows read"),
    "gemoji.json": (
        [("pizza", "🍕"), ("dog face", "🐶"), ("hot beverage", "☕")], "texts: 'description'"
    ),
    "tweets.txt": (
        [("i love pizza, really", "🍕"), ("so tired", "😩"), ("rain again", "🌧️🌧️")],
        "one a line, utf-8, no header; texts: column 1, emoji: taken out of them",
    ),
    "tabs.txt": ([("pizza", "🍕"), ("a dog", "🐶")], "separated by tab"),
    "shortcodes.csv": (
        [("pizza", "🍕"), ("yes", "👍"), ("tears of joy", "😂"), ("a dog", "🐶")], "4 rows read"
    ),
    "code_points.csv": (
        [("pizza", "🍕"), ("dog", "🐶"), ("family", "👨‍👩‍👦"), ("heart", "❤️")], "4 rows read"
    ),
    "hex.csv": ([*PIZZA_DOG, ("shrine", "⛩️")], "emoji: 'codepoint'"),
    "bare_hex.csv": (
        [("pizza", "🍕"), ("dog", "🐶"), ("artist", "🧑‍🎨"), ("shrine", "⛩️")], "emoji: 'unified'"
    ),
    "escapes.csv": ([*PIZZA_DOG, ("fish & chips", "🐟")], "3 rows read"),
    "with_answers.csv": (
        [("i love pizza 🍕", "🍕"), ("so tired", "😩"), ("rain 🌧️ again", "🌧️")],
        "2 with text that holds its own emoji",
    ),
    "people.csv": (
        [("i love pizza", "🍕"), ("what a dog", "🐶"), ("rain again", "🌧️")],
        "texts: 'text', emoji: 'emoji' (2 other columns are not used)",
    ),
    "empty_names.csv": (
        [("a slice of pizza", "🍕"), ("a good dog", "🐶"), ("rain", "🌧️")],
        "texts: 'description'",
    ),
    "unknown_names.csv": (
        [("pizza slice", "🍕"), ("good dog", "🐶"), ("cloud with rain", "🌧️"), ("hot tea", "🍵")],
        "texts: 'legend', emoji: 'glyph'",
    ),
    "label_words.csv": ([("i love pizza", "🍕"), ("what a dog", "🐶")], "emoji: 'Label'"),
    "train_text.txt": (
        [("good morning sunshine", "☀️"), ("i love you", "❤️"), ("so funny, really", "😂")],
        "a text a line, labels in train_labels.txt; texts: 'text', emoji: 'label' (3 labels)",
    ),
    "known_keys.json": (
        [("smile", "😄"), ("question", "❓"), ("pizza", "🍕"), ("label", "🏷️")], "texts: 'key'"
    ),
    "groups.json": ([("grinning face", "😀"), ("joy", "😂"), ("pizza", "🍕")], "texts: 'name'"),
    "cldr.json": ([("grinsendes gesicht", "😀"), ("pizza", "🍕")], "texts: 'tts', emoji: 'key'"),
    "weights.json": ([("brazil", "🇧🇷"), ("up", "☝️"), ("up", "⬆️")], "3 rows read"),
    "emoji_mart.json": ([("grinning face", "😀"), ("pizza", "🍕")], "emoji: 'skins'"),
    "hex_keys.json": ([("grinning face", "😀"), ("pizza", "🍕")], "texts: 'name'"),
    "turns.jsonl": ([("hi", "👋"), ("i got promoted", "🎉"), ("pizza", "🍕")], "JSON lines"),
    "emoji-test.txt": (
        [("grinning face", "😀"), ("smiling face", "☺️"), ("elf: light skin tone", "🧝🏻")],
        "a list of Unicode's",
    ),
    "space_before_quote.csv": (
        [("grinning face", "😀"), ("family: man, woman, girl", "👪"), ("dog face", "🐶")],
        "separated by ','",
    ),
    "shortcode_texts.csv": (
        [("large orange diamond", "🔶"), ("radio button", "🔘"), ("pizza", "🍕")],
        "texts: 'shortcode', emoji: 'emoji'",
    ),
    "vendors.csv": (
        [("grinning face", "😀"), ("happy face", "😃"), ("angry imp", "👿")], "emoji: 'apple'"
    ),
    "bytes.csv": ([("wolf face", "🐺"), ("woman", "👩")], "emoji: 'Bytes'"),
    "colons.txt": ([("star", "⭐"), ("pizza", "🍕"), ("dog", "🐶")], "one a line"),
    "brackets.csv": (
        [("[led] lamps rock", "💡"), ("[hat] is nice", "🎩"), ("plain words", "📝")], "no header"
    ),
    "packed.csv.gz": (PIZZA_DOG, "packed.csv.gz: separated by ','"),
    "archive.zip": (PIZZA_DOG, "archive.zip: separated by ','"),
}  # fmt: skip
"""By file: the normalised texts with their emoji, and a part of what is said."""
AS_ASKED = {
    "labels.csv": (
        Reading(label_names=str(FORMS / "mapping.txt")),
        [("good morning sunshine", "☀️"), ("i love you", "❤️"), ("so funny", "😂")],
    ),
    "no_header.csv": (
        Reading(text_column="2", emoji_column="1"),
        [("pizza", "🍕"), ("dog", "🐶"), ("rain", "🌧️")],
    ),
    "with_answers.csv": (
        Reading(text_column="text", emoji_from_text=True),
        [("i love pizza", "🍕"), ("rain again", "🌧️")],
    ),
    "people.csv": (
        Reading(text_column="name"),
        [("ann lee", "🍕"), ("bob ray", "🐶"), ("cy poe", "🌧️")],
    ),
    "pipe.csv": (Reading(delimiter="|", encoding="utf-8"), PIZZA_DOG),
    "tweets.txt": (
        Reading(labels_path=str(FORMS / "train_labels.txt"),
                label_names=str(FORMS / "mapping.txt")),
        [("i love pizza, really 🍕", "☀️"), ("so tired 😩", "❤️"), ("rain again 🌧️🌧️", "😂")],
    ),
}  # fmt: skip
REFUSED = {
    "labels.csv": "whose column 'label' has no emoji, such as '2', wanted emoji; map labels to",
    "train_labels.txt": "wanted a column of words",
    "numbers.csv": "the columns 'emoji', 'label' in",
}


def read(name: str, reading: Reading, cache: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """The rows of a form, and all that is said."""
    source = open_source(FORMS / name, reading, cache_dir=cache)
    report = Report(source.name)
    table = EmojiTable.builtin()
    rows = [
        (example.text, "".join(example.emoji))
        for chunk in source.chunks()
        for example in read_examples(chunk, table, "keep", report, source.unit)
    ]
    report.check()
    return rows, [*source.took, report.summary(len(rows), 0)]


@pytest.mark.parametrize("name", READ)
def test_a_form_is_read_without_an_option(name: str, tmp_path: Path) -> None:
    rows, said = read(name, Reading(), tmp_path)
    expected, part = READ[name]
    assert rows == expected
    assert part in "\n".join(said)
    assert said[0].startswith(f"{name}: ")
    assert said[0].count("\n") == 0
    assert all(line.startswith(f"{name}: ") for line in said)


@pytest.mark.parametrize("name", AS_ASKED)
def test_options_decide(name: str, tmp_path: Path) -> None:
    reading, expected = AS_ASKED[name]
    assert read(name, reading, tmp_path)[0] == expected


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_told_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read(name, Reading(), tmp_path)
    assert REFUSED[name] in str(caught.value)


def test_every_form_is_tested() -> None:
    files = {path.name for path in FORMS.iterdir()}
    assert files == {*READ, *AS_ASKED, *REFUSED, "mapping.txt"}


def test_two_columns_that_are_as_likely_are_shown_with_a_cell_and_the_option(
    tmp_path: Path,
) -> None:
    rows = "".join(f"first {i} words,second {i} words,🍕\n" for i in range(5))
    (tmp_path / "a.csv").write_text(f"one,two,emoji\n{rows}", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        open_source(tmp_path / "a.csv", cache_dir=tmp_path)
    assert caught.value.line(lambda name: f"--{name}").endswith(
        "that may hold the text: 'one' (such as 'first 0 words') and 'two' (such as 'second 0 "
        "words'), wanted one; name it with --data.text_column"
    )


def test_more_than_one_row_in_twenty_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    rows = "".join("pizza,🍕\n" for _ in range(15)) + "a, b,🍕\n"
    (tmp_path / "a.csv").write_text(f"text,emoji\n{rows}", encoding="utf-8")
    source = open_source(tmp_path / "a.csv", cache_dir=tmp_path)
    report = Report(source.name)
    for chunk in source.chunks():
        read_examples(chunk, EmojiTable.builtin(), "keep", report, source.unit)
    with pytest.raises(UserError, match=r"16 rows 1 cannot be read \(1 more cells .*\(line 17\)"):
        report.check()


def test_a_quoted_cell_never_swallows_lines_unseen(tmp_path: Path) -> None:
    lines = ['"an open quote, and more', *(f"text {i},🍕" for i in range(40)), "last,🐶"]
    (tmp_path / "a.csv").write_text("text,emoji\n" + "\n".join(lines), encoding="utf-8")
    source = open_source(tmp_path / "a.csv", cache_dir=tmp_path)
    report = Report(source.name)
    rows = [
        example
        for chunk in source.chunks()
        for example in read_examples(chunk, EmojiTable.builtin(), "keep", report)
    ]
    assert len(rows) == 41
    assert report.dropped.total() == 1


def test_a_value_named_as_column_does_not_make_a_header_of_the_first_row(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="text_column: got 'pizza', wanted a column of"):
        read("no_header.csv", Reading(text_column="pizza"), tmp_path)
