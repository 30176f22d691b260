"""The tokens of all emoji's descriptions, kept where uses are forked from.

Each new model would compute them anew, in a second. Importing this keeps them.
"""

from typing import Any

from emoji_gpt2.emoji.descriptions import describe
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.model import embeddings
from emoji_gpt2.tokenizer import add_emoji_tokens, builtin_gpt2_tokenizer, encode_texts

_kept: dict[Any, list[list[int]]] = {}


def _encode_texts(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    key = (len(tokenizer), tuple(texts))
    if key not in _kept:
        _kept[key] = encode_texts(tokenizer, texts)
    return _kept[key]


embeddings.encode_texts = _encode_texts
_table = EmojiTable.builtin()
_tokenizer, _ = add_emoji_tokens(builtin_gpt2_tokenizer())
_encode_texts(_tokenizer, [text for one in _table for text in describe(_table, one)])
