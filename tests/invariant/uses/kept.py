"""The tokens of all emoji's descriptions, kept where uses are forked from.

Each new model would compute them anew, in a second. Importing this keeps them.
"""

from emoji_gpt2.emoji.descriptions import describe
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.model import embeddings
from emoji_gpt2.tokenizer import add_emoji_tokens, builtin_gpt2_tokenizer
from tests.tiny import encode_texts_once

embeddings.encode_texts = encode_texts_once
_table = EmojiTable.builtin()
_tokenizer, _ = add_emoji_tokens(builtin_gpt2_tokenizer())
encode_texts_once(_tokenizer, [text for one in _table for text in describe(_table, one)])
