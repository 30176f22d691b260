"""The tokenizer against OpenAI's published facts and against a BPE written from the paper.

``encoder.json``'s sha256 is the one that OpenAI publishes in tiktoken (tiktoken_ext/openai_public).
"""

import gzip
import hashlib
import itertools
import json
from functools import cache
from pathlib import Path

import pytest
import regex
import transformers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken
from transformers import AutoTokenizer, GPT2Tokenizer

import emoji_gpt2.emoji.resources
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.emoji.text import normalize_text
from emoji_gpt2.errors import UserError
from emoji_gpt2.tokenizer import (
    add_emoji_tokens,
    builtin_gpt2_tokenizer,
    candidate_tokens,
    encode_prompts,
    encode_texts,
    eos_id,
    fingerprint,
    token_ids,
    tokenizer_from_json,
    tokenizer_to_json,
)

N_GPT2, N_EMOJI, EOS, END = 50_257, 3_944, 50_256, 54_201
ALL = list(EmojiTable.builtin())
# https://github.com/openai/gpt-2/blob/master/src/encoder.py
PIECES = regex.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)
TEXTS = st.lists(st.text() | st.sampled_from(ALL) | st.sampled_from("\ufe0f\u200d❤#1🏽")).map(
    "".join
)


@cache
def plain() -> GPT2Tokenizer:
    return builtin_gpt2_tokenizer()


@cache
def extended() -> tuple[GPT2Tokenizer, list[str]]:
    return add_emoji_tokens(builtin_gpt2_tokenizer())


def with_emoji() -> GPT2Tokenizer:
    return extended()[0]


def byte_symbols() -> dict[int, str]:
    """GPT-2's letter for each byte: itself if it can be seen, else the next from U+0100."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return {b: chr(b) for b in seen} | {b: chr(256 + i) for i, b in enumerate(unseen)}


@cache
def merge_ranks() -> dict[tuple[str, ...], int]:
    path = Path(emoji_gpt2.emoji.resources.__file__).parent / "gpt2_merges.txt.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    return {tuple(line.split()): i for i, line in enumerate(lines[1:])}


def slow_bpe(text: str) -> list[int]:
    """Byte-pair encoding as in Sennrich et al. 2016: merge the best-ranked pair, over and over."""
    symbols, ranks = byte_symbols(), merge_ranks()
    ids = {symbol: i for i, symbol in enumerate(symbols.values())}
    ids |= {"".join(pair): 256 + i for pair, i in ranks.items()}
    found = []
    for piece in PIECES.findall(text):
        parts = [symbols[byte] for byte in piece.encode()]
        while len(parts) > 1:
            pairs = list(itertools.pairwise(parts))
            at = min(range(len(pairs)), key=lambda i: ranks.get(pairs[i], len(ranks)))
            if pairs[at] not in ranks:
                break
            parts[at : at + 2] = ["".join(pairs[at])]
        found += [ids[part] for part in parts]
    return found


def test_the_vocabulary_is_openai_s_encoder_json_byte_for_byte() -> None:
    vocab = dict(sorted(plain().get_vocab().items(), key=lambda item: item[1]))
    written = json.dumps(vocab).encode()
    assert len(plain()) == N_GPT2
    assert hashlib.sha256(written).hexdigest() == (
        "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"
    )


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Hello world", [15496, 995]),
        ("hello world", [31373, 995]),
        (" the", [262]),
        ("<|endoftext|>", [EOS]),
        ("", []),
    ],
)
def test_known_ids(text: str, ids: list[int]) -> None:
    assert plain()(text).input_ids == ids


@settings(deadline=None, max_examples=60)
@given(st.text())
@example("I'll don't, we've  3 cats…\n\n naïve 日本 🍕 \ufe0f")
def test_plain_gpt2_is_byte_pair_encoding(text: str) -> None:
    assert encode_texts(plain(), [text]) == [slow_bpe(text)]


@settings(deadline=None)
@given(TEXTS)
@example("a . b , don 't ! ? 's n't")  # what clean_up_tokenization_spaces would join
@example("  two  spaces \n\t ")
@example("<|endoftext|> <|emoji|>")
def test_what_is_encoded_decodes_to_itself(text: str) -> None:
    (ids,) = encode_texts(plain(), [text])
    assert plain().decode(ids) == text
    normal = normalize_text(text)
    (ids,) = encode_texts(with_emoji(), [text])
    decoded = with_emoji().decode(ids)
    assert decoded.replace(" ", "") == normal.replace(" ", "")
    if normal and not any(one in normal for one in ALL):
        assert decoded == f" {normal}"


@settings(deadline=None)
@given(TEXTS)
@example("I'll <|endoftext|> have #1, ❤ ™ © 2 🍕")
def test_text_between_emoji_is_encoded_as_gpt2_does(text: str) -> None:
    ids = encode_texts(with_emoji(), [text])[0]
    parts: list[list[int] | int] = [[]]
    for token in ids:
        if token >= N_GPT2:
            parts += [token, []]
        else:
            parts[-1].append(token)
    for part in parts:
        if isinstance(part, list):
            assert encode_texts(plain(), [plain().decode(part)]) == [part]
    emoji = [ALL[part - N_GPT2] for part in parts if isinstance(part, int)]
    at, normal = 0, normalize_text(text)
    for one in emoji:  # in order, and none of the emoji in the text is missed
        at = normal.index(one, at) + len(one)
    if not any(one in normal for one in ALL):
        assert ids == (encode_texts(plain(), [f" {normal}"])[0] if normal else [])
    else:
        assert emoji


def test_every_emoji_is_one_token_in_table_order() -> None:
    assert len(ALL) == N_EMOJI
    assert len(with_emoji()) == N_GPT2 + N_EMOJI + 1 == 54_202
    assert encode_texts(with_emoji(), ALL) == [[N_GPT2 + i] for i in range(N_EMOJI)]
    assert [with_emoji().decode([N_GPT2 + i]) for i in range(N_EMOJI)] == ALL
    assert with_emoji().decode(range(N_GPT2, END)) == "".join(ALL)
    assert candidate_tokens(with_emoji()) == [EOS, *range(N_GPT2, END)]


AS_TEXT = {"‼️", "⁉️", "©️", "®️", "™️", "ℹ️", "Ⓜ️", "🈂️", "🈷️", "㊗️", "㊙️"}
"""Without U+FE0F these are letters and signs of a text."""


def test_every_spelling_of_an_emoji_in_a_text_is_its_token() -> None:
    spelt = [emoji for emoji in ALL if "\ufe0f" in emoji]
    assert len(spelt) == 1180
    for emoji in spelt:
        bare = emoji.replace("\ufe0f", "")
        ids = with_emoji()(f"so {bare} today").input_ids
        assert (ids == with_emoji()(f"so {emoji} today").input_ids) == (emoji not in AS_TEXT)


@pytest.mark.parametrize(
    ("text", "same"),
    [("🍕\ufe0f", "🍕"), ("p\u200bizza", "pizza"), ("soft\u00adly", "softly"), ("1\ufe0f", "1"),
     ("\ufeffpizza\u200e", "pizza"), ("☀︎", "☀︎"), ("🏋🏻‍♂", "🏋🏻‍♂️"), ("👁‍🗨", "👁️‍🗨️")],
)  # fmt: skip
def test_what_cannot_be_seen_makes_no_other_text(text: str, same: str) -> None:
    assert normalize_text(text) == same
    assert with_emoji()(text).input_ids == with_emoji()(same).input_ids


def test_a_word_is_the_same_tokens_wherever_it_stands() -> None:
    (pizza,) = slow_bpe(" pizza")
    texts = ["pizza", "hot pizza", "🍕pizza", "🍕 pizza"]
    assert all(ids[-1] == pizza for ids in encode_texts(with_emoji(), texts))
    assert encode_texts(with_emoji(), [" pizza"]) == [[pizza]]
    (a,), ids = slow_bpe(" a"), token_ids(with_emoji(), ["🍕", "🍕", "❤️"])
    assert encode_texts(with_emoji(), ["a🍕🍕 ❤️a"]) == [[a, *ids, a]]


def test_a_special_token_in_a_user_s_text_is_text() -> None:
    texts = ["<|endoftext|>", "<|emoji|>", "a<|emoji|>b<|endoftext|>"]
    assert encode_texts(with_emoji(), texts) == [slow_bpe(f" {text}") for text in texts]
    (prompt,) = encode_prompts(with_emoji(), ["x <|EMOJI|>"], 100)
    assert prompt == [*slow_bpe(" x <|emoji|>"), END]


def test_no_texts_and_an_empty_one() -> None:
    assert encode_texts(with_emoji(), []) == []
    assert encode_texts(with_emoji(), ["", "a"]) == [[], slow_bpe(" a")]
    assert encode_prompts(with_emoji(), [], 10) == []


def check_a_whole_tokenizer(tokenizer: GPT2Tokenizer) -> None:
    assert tokenizer("pizza").input_ids == [14256, END]
    assert tokenizer.convert_ids_to_tokens(END) == "<|emoji|>"
    padded = tokenizer(["hot pizza", "Hello"], padding=True)
    assert padded.input_ids == [[3024, 14256, END], [EOS, *slow_bpe(" hello"), END]]
    assert padded.attention_mask == [[1, 1, 1], [0, 1, 1]]
    assert tokenizer.decode([14256, END, EOS], skip_special_tokens=True) == " pizza"
    specials = (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id)
    assert specials == (EOS, EOS, EOS)
    assert tokenizer.model_max_length == 1024
    assert encode_texts(tokenizer, ["a<|emoji|>🍕"]) == encode_texts(with_emoji(), ["a<|emoji|>🍕"])
    assert len(tokenizer) == 54_202
    assert tokenizer.get_vocab() == with_emoji().get_vocab()


def test_a_saved_folder_needs_transformers_only(tmp_path: Path) -> None:
    with_emoji().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    auto = AutoTokenizer.from_pretrained(tmp_path)
    assert type(auto).__module__.startswith(f"{transformers.__name__}.")
    check_a_whole_tokenizer(auto)


def test_json_holds_the_whole_tokenizer_which_tells_what_it_lacks() -> None:
    check_a_whole_tokenizer(with_emoji())
    assert extended()[1] == [*ALL, "<|emoji|>"]
    text = tokenizer_to_json(with_emoji())
    again = tokenizer_from_json(text)
    check_a_whole_tokenizer(again)
    assert tokenizer_to_json(again) == text
    again, nothing = add_emoji_tokens(again)
    assert nothing == []
    check_a_whole_tokenizer(again)


def test_json_keeps_an_end_of_text_that_is_not_the_first_special_token() -> None:
    """Such as a GPT-2 whose vocabulary begins with <pad>, <s> and </s>."""
    backend = builtin_gpt2_tokenizer().backend_tokenizer
    backend.add_special_tokens([AddedToken("<pad>"), AddedToken("</s>")])
    tokenizer, _ = add_emoji_tokens(GPT2Tokenizer(tokenizer_object=backend, eos_token="</s>"))
    assert eos_id(tokenizer) == N_GPT2 + 1
    assert eos_id(tokenizer_from_json(tokenizer_to_json(tokenizer))) == N_GPT2 + 1


def test_emoji_that_are_there_keep_their_ids() -> None:
    """As in a model of an older table: some emoji and <|emoji|>, in an order of its own."""
    backend = builtin_gpt2_tokenizer().backend_tokenizer
    backend.add_tokens([AddedToken(e, normalized=False) for e in ("🍕", "😀")])
    backend.add_special_tokens([AddedToken("<|emoji|>", normalized=False)])
    ids = [N_GPT2, N_GPT2 + 1, N_GPT2 + 2]
    older = GPT2Tokenizer(tokenizer_object=backend, eos_token="<|endoftext|>")
    tokenizer, new = add_emoji_tokens(older)
    assert new == [e for e in ALL if e not in ("🍕", "😀")]
    assert token_ids(tokenizer, ["🍕", "😀", "<|emoji|>"]) == ids
    assert tokenizer("🍕").input_ids == [ids[0], ids[2]]
    assert candidate_tokens(tokenizer)[1:] == token_ids(tokenizer, ALL)
    assert len(tokenizer) == 54_202


def test_the_tokenizer_of_an_older_model_finds_emoji_in_every_spelling() -> None:
    older = json.loads(with_emoji().backend_tokenizer.to_str())
    older["normalizer"] = None
    for token in older["added_tokens"]:
        token |= {"lstrip": False, "normalized": False}
    text = json.dumps({"eos": "<|endoftext|>", "backend": json.dumps(older)})
    tokenizer, ids = tokenizer_from_json(text), with_emoji()("so ☀ today").input_ids
    assert tokenizer("so ☀ today").input_ids != ids
    before = fingerprint(tokenizer)
    renewed, new = add_emoji_tokens(tokenizer)
    assert new == []
    assert renewed("so ☀ today").input_ids == ids
    assert fingerprint(renewed) == before


def test_a_table_of_one_s_own() -> None:
    table = EmojiTable(row for e, row in EmojiTable.builtin().items() if e in ("🍕", "😀"))
    tokenizer, new = add_emoji_tokens(builtin_gpt2_tokenizer(), table)
    assert new == ["😀", "🍕", "<|emoji|>"]
    assert candidate_tokens(tokenizer, table) == [EOS, N_GPT2, N_GPT2 + 1]


@pytest.mark.parametrize(
    "text", ["I LOVE  “Pizza”", "wow‼️ OK", " Ⓜ️ x\n", "Ｉ 🍕 you", "ﬁne\x07", "ΟΔΟΣ ♥", "don’t–"]
)
def test_plain_transformers_reads_a_text_as_we_do(text: str) -> None:
    tokenizer = with_emoji()
    assert [tokenizer(text).input_ids] == encode_prompts(tokenizer, [text], 100)
    assert tokenizer(text).input_ids[:-1] == encode_texts(tokenizer, [normalize_text(text)])[0]


def test_prompts_are_normalised_and_end_in_the_emoji_token() -> None:
    prompts = encode_prompts(with_emoji(), ["  “Hello”\tWORLD ", "🍕❤️"], 100)
    assert prompts == [
        [*slow_bpe(' "hello" world'), END],
        [*token_ids(with_emoji(), ["🍕", "❤️"]), END],
    ]


@pytest.mark.parametrize(
    "bad", ["", "  \n", "\x00\x07\x9f", "\ud83c", "pizza \udf55", "\ud800" * 999]
)
def test_a_prompt_of_nothing_is_refused_in_one_line(bad: str) -> None:
    with pytest.raises(UserError, match=r"^text 2: got '") as caught:
        encode_prompts(with_emoji(), ["fine", bad], 10)
    line = str(caught.value)
    assert line.isprintable()
    assert len(line) < 200
    assert ("surrogate" in line) == any("\ud800" <= char <= "\udfff" for char in bad)


def test_a_long_prompt_is_cut_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    long, short = encode_prompts(with_emoji(), ["word " * 10_000, "a b"], 127)
    assert long == [*slow_bpe(" word" * 126), END]
    assert short == [*slow_bpe(" a b"), END]
    assert caplog.messages == ["text 1: 10000 tokens, only the first 126 are read"]
    for words, warned in ((8, False), (9, False), (10, True)):
        caplog.clear()
        (prompt,) = encode_prompts(with_emoji(), [" ".join(["a"] * words)], 10)
        assert len(prompt) == min(words + 1, 10)
        assert bool(caplog.records) == warned
