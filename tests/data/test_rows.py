"""Examples become token ids: text, ``<|emoji|>``, emoji, end of text."""

import numpy as np

from emoji_gpt2.data.examples import Example, Report
from emoji_gpt2.data.rows import RowEncoder
from emoji_gpt2.emoji.text import text_hash
from emoji_gpt2.tokenizer import add_emoji_tokens, builtin_gpt2_tokenizer

TOKENIZER = add_emoji_tokens(builtin_gpt2_tokenizer())[0]


def test_rows_are_text_and_emoji_between_the_special_tokens() -> None:
    examples = [Example(f"thing {n}", tuple("🍕🍔"[: 1 + n % 2])) for n in range(7)]
    examples.append(Example("hat", ("🍕",), (("🍕", 0.75), ("🍔", 0.25))))
    encoder, report = RowEncoder(TOKENIZER, max_length=32), Report("a.csv")
    rows = encoder.encode(examples, report)
    assert rows.ids.dtype == np.dtype("<u2")
    assert not report.noted
    parts = [part.tolist() for part in np.split(rows.ids, np.cumsum(rows.lengths)[:-1])]
    wanted = [f" {e.text}<|emoji|>{''.join(e.emoji)}<|endoftext|>" for e in examples]
    assert [TOKENIZER.decode(part) for part in parts] == wanted
    assert rows.n_prompt.tolist() == [part.index(54_201) + 1 for part in parts]
    assert TOKENIZER.decode(rows.emoji.tolist()) == "".join("".join(e.emoji) for e in examples)
    assert rows.text_hashes.tolist() == [text_hash(e.text) for e in examples]
    wholes = [text_hash("\0".join((e.text, *e.emoji))) for e in examples]
    assert rows.example_hashes.tolist() == wholes
    assert (rows.soft.rows.tolist(), rows.soft.counts.tolist()) == ([7], [2])
    assert TOKENIZER.decode(rows.soft.tokens.tolist()) == "🍕🍔"
    assert rows.soft.probs.tolist() == [0.75, 0.25]
