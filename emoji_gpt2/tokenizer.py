"""GPT-2's byte-level BPE plus one token per emoji and ``<|emoji|>``, which ends a description.

    tokenizer = add_emoji_tokens(builtin_gpt2_tokenizer())
    tokenizer("pizza").input_ids                    # [14256, 54201]: " pizza", "<|emoji|>"
    encode_texts(tokenizer, ["pizza"])              # [[14256]]: no special token

The BPE is OpenAI's (https://github.com/openai/gpt-2); vocab.json follows from merges.txt: the 256
byte symbols, then the merges in order, then ``<|endoftext|>``. The saved tokenizer normalises texts
(``emoji/text.py``), appends ``<|emoji|>`` (TemplateProcessing) and pads left, so that plain
Transformers reads a text as we do.

A text is read as if a space stood before it, so that a word is the same tokens wherever it stands:
"pizza" at the begin of a text would otherwise be "p" and "izza" (``add_prefix_space``).
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from tokenizers import AddedToken, Tokenizer, pre_tokenizers
from tokenizers.processors import ByteLevel, TemplateProcessing
from tokenizers.processors import Sequence as Processors
from transformers import GPT2Tokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from emoji_gpt2.emoji.resources import read_text
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.emoji.text import NORMALIZER, is_valid_unicode, normalize_text
from emoji_gpt2.errors import UserError

log = logging.getLogger(__name__)

EMOJI_TOKEN = "<|emoji|>"  # noqa: S105 - a token of text
EOS_TOKEN = "<|endoftext|>"  # noqa: S105
N_POSITIONS = 1024


def builtin_gpt2_tokenizer() -> GPT2Tokenizer:
    """Return GPT-2's own tokenizer of 50,257 tokens, made from the built-in merges, offline."""
    lines = read_text("gpt2_merges.txt.gz").split("\n")
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    in_bytes = bytes_to_unicode()  # type: ignore[no-untyped-call]
    symbols = [*in_bytes.values(), *("".join(merge) for merge in merges), EOS_TOKEN]
    vocab = {symbol: number for number, symbol in enumerate(symbols)}
    return GPT2Tokenizer(vocab=vocab, merges=merges)  # type: ignore[arg-type]


def add_emoji_tokens(
    tokenizer: GPT2Tokenizer, table: EmojiTable | None = None
) -> tuple[GPT2Tokenizer, list[str]]:
    """Return a tokenizer with all emoji of ``table`` and ``<|emoji|>``, and the tokens it lacked.

    The emoji are in table order, then comes ``<|emoji|>``. Emoji tokens that are there already, as
    in a model that this package trained, are recognised and keep their ids. The result shares its
    parts with ``tokenizer``, which should not be used any more.
    """
    table = table or EmojiTable.builtin()
    known = tokenizer.get_vocab()
    new = [token for token in [*table, EMOJI_TOKEN] if token not in known]
    backend = _with_present_flags(tokenizer.backend_tokenizer, table)
    backend.add_tokens([_emoji_token(emoji) for emoji in new if emoji != EMOJI_TOKEN])
    backend.add_special_tokens([AddedToken(EMOJI_TOKEN, normalized=False)])
    backend.normalizer = NORMALIZER
    end = (EMOJI_TOKEN, backend.token_to_id(EMOJI_TOKEN))
    if isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel):
        backend.pre_tokenizer.add_prefix_space = True
    backend.post_processor = Processors(
        [
            ByteLevel(trim_offsets=False),
            TemplateProcessing(
                single=f"$A {EMOJI_TOKEN}", pair=f"$A $B {EMOJI_TOKEN}", special_tokens=[end]
            ),
        ]
    )
    return _wrap(backend, str(tokenizer.eos_token)), new


def _emoji_token(emoji: str) -> AddedToken:
    """Return the token of an emoji, which is looked for in the normalised text.

    NFKC makes letters of some, such as ココ of 🈁: these are looked for before.
    """
    return AddedToken(emoji, lstrip=True, normalized=NORMALIZER.normalize_str(emoji) == emoji)


def _with_present_flags(backend: Tokenizer, table: EmojiTable) -> Tokenizer:
    """Return a tokenizer whose emoji tokens, if it has some, are looked for as ``_emoji_token``'s.

    Those of older models were looked for in the text as it was typed.
    """
    old = [t for t in backend.get_added_tokens_decoder().values() if t.content in table]
    if all(token.lstrip for token in old):
        return backend
    whole = json.loads(backend.to_str())
    for token in whole["added_tokens"]:
        if token["content"] in table:
            new = _emoji_token(token["content"])
            token |= {"lstrip": new.lstrip, "normalized": new.normalized}
    return Tokenizer.from_str(json.dumps(whole))


def tokenizer_to_json(tokenizer: GPT2Tokenizer) -> str:
    """Return the whole tokenizer as one string, for a checkpoint."""
    return _to_json(tokenizer, len(tokenizer))


@lru_cache(maxsize=2)  # data's and model's: a run asks nine times, which takes 0.04 s each
def _to_json(tokenizer: GPT2Tokenizer, _size: int) -> str:  # of another size, it is another one
    backend = tokenizer.backend_tokenizer
    backend.no_padding()  # an earlier call of the tokenizer may have left some
    backend.no_truncation()
    fields = {"eos": str(tokenizer.eos_token), "backend": backend.to_str()}
    return json.dumps(fields, ensure_ascii=False)


def fingerprint(tokenizer: GPT2Tokenizer) -> str:
    """Return a short string that two tokenizers share if they give a text the same token ids.

    How texts are normalised, which differs in older models, is left out: rows are made of
    normalised texts.
    """
    before, _, rest = tokenizer_to_json(tokenizer).partition('\\"normalizer\\":')
    after = rest.partition('\\"pre_tokenizer\\":')[2]
    tokens = re.sub(r'\\"(lstrip|normalized)\\":(true|false),', "", before)
    return hashlib.sha256(f"{tokens}{after}".encode()).hexdigest()[:16]


def tokenizer_from_json(text: str) -> GPT2Tokenizer:
    """Return the tokenizer that ``tokenizer_to_json`` wrote."""
    fields: dict[str, str] = json.loads(text)
    return _wrap(Tokenizer.from_str(fields["backend"]), fields["eos"])


def _wrap(backend: Tokenizer, eos_token: str) -> GPT2Tokenizer:
    # Not a GPT2Tokenizer: read from a folder, that is made anew without the normalizer.
    whole: Any = PreTrainedTokenizerFast
    wrapped: GPT2Tokenizer = whole(
        tokenizer_object=backend,
        bos_token=eos_token,
        eos_token=eos_token,
        unk_token=eos_token,
        pad_token=eos_token,
        extra_special_tokens=[EMOJI_TOKEN],
        padding_side="left",
        add_prefix_space=True,
        model_max_length=N_POSITIONS,
    )
    return wrapped


def encode_texts(tokenizer: GPT2Tokenizer, texts: Iterable[str]) -> list[list[int]]:
    """Return the token ids of each text, without ``<|emoji|>``; "<|endoftext|>" in it is text."""
    backend: Any = tokenizer.backend_tokenizer
    backend.no_padding()  # an earlier call of the tokenizer may have left some
    backend.no_truncation()
    backend.encode_special_tokens = True  # as its split_special_tokens=True does
    encodings = backend.encode_batch_fast(list(texts), add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


def decode_text(tokenizer: GPT2Tokenizer, ids: Sequence[int]) -> str:
    """Return the text of a prompt's ids, without the space that was read in front of it."""
    return str(tokenizer.decode(list(ids))).removeprefix(" ")


def encode_prompts(
    tokenizer: GPT2Tokenizer, texts: Sequence[str], max_tokens: int
) -> list[list[int]]:
    """Return each text, normalised, as token ids with ``<|emoji|>`` at the end.

    Prompts longer than ``max_tokens``, ``<|emoji|>`` included, are cut, which a warning says.

    Raises:
        UserError: a text is empty once it is normalised, or holds a lone surrogate.
    """
    for number, text in enumerate(texts, 1):
        if not is_valid_unicode(text):
            raise UserError(f"text {number}", f"{text!r:.80}, a lone surrogate", "Unicode")
        if not normalize_text(text):
            raise UserError(f"text {number}", f"{text!r:.80}", "text", "give some words")
    end = token_id(tokenizer, EMOJI_TOKEN)
    prompts = encode_texts(tokenizer, [normalize_text(text) for text in texts])
    for number, ids in enumerate(prompts, 1):
        if len(ids) >= max_tokens:
            line = "text %d: %d tokens, only the first %d are read"
            log.warning(line, number, len(ids), max_tokens - 1)
    return [[*ids[: max_tokens - 1], end] for ids in prompts]


def candidate_tokens(tokenizer: GPT2Tokenizer, table: EmojiTable | None = None) -> list[int]:
    """Return the ids that may follow ``<|emoji|>``: end of text first, then the emoji in order."""
    return [eos_id(tokenizer), *token_ids(tokenizer, table or EmojiTable.builtin())]


def token_ids(tokenizer: GPT2Tokenizer, tokens: Iterable[str]) -> list[int]:
    """Return the id of each token."""
    return [token_id(tokenizer, token) for token in tokens]


def token_id(tokenizer: GPT2Tokenizer, token: str) -> int:
    """Return the id of a token.

    Raises:
        UserError: the tokenizer lacks it; an unknown token would be read as the end of text.
    """
    number = tokenizer.backend_tokenizer.token_to_id(token)
    if number is None:
        raise UserError(
            "the model's tokenizer",
            f"none with {token}",
            "all emoji of this version of emoji_gpt2",
            "fine-tune the model with it ({model.pretrained}), which adds those it lacks, or use "
            "the version that it was trained with",
        )
    return int(number)


def eos_id(tokenizer: GPT2Tokenizer) -> int:
    """Return the id of the end of text."""
    return token_id(tokenizer, str(tokenizer.eos_token))
