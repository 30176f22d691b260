"""Write a trained model as a plain Transformers folder that needs nothing of this package.

    save_transformers_folder(model.model, model.tokenizer, Path("checkpoints/quickstart/model"))
    pipeline("text-generation", "checkpoints/quickstart/model")("I love pizza")   # emoji only

``generation_config.json`` suppresses every token that is no emoji and no end of text, and forbids
those that stand in the prompt or the answer already. The tokenizer appends ``<|emoji|>`` to a
prompt by itself; with ``truncation=True`` it cuts texts that would leave the model no positions for
its answer.
"""

import copy
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from transformers import GenerationConfig, GPT2LMHeadModel, GPT2Tokenizer

from emoji_gpt2.files import apply_umask
from emoji_gpt2.model.lora import merged
from emoji_gpt2.model.readme import README, signed
from emoji_gpt2.tokenizer import EMOJI_TOKEN, candidate_tokens, eos_id, token_id

MAX_NEW_TOKENS = 4
"""Emoji that the exported model answers with at most, unless asked otherwise."""

CARD = """---
language: en
library_name: transformers
pipeline_tag: text-generation
tags:
- emoji
- gpt2
---

# Text to emoji

A GPT-2 in which every emoji is one token, trained with emoji_gpt2 to answer a text with emoji.

```python
from transformers import pipeline

pipe = pipeline("text-generation", "{name}")
pipe("pizza", return_full_text=False, truncation=True)
```

Every answer is a sequence of fully-qualified emoji, because `suppress_tokens` in
`generation_config.json` forbids all other tokens. Transformers obeys it; some other engines ignore
it and may answer with words. `truncation=True` cuts texts that are too long for the model.
"""


def save_transformers_folder(
    model: GPT2LMHeadModel,
    tokenizer: GPT2Tokenizer,
    folder: Path,
    card: str | None = None,
    pictures: Mapping[str, bytes] | None = None,
) -> None:
    """Write config, weights, tokenizer, generation config and card, all or nothing.

    Args:
        model: It is saved in the precision that it has, with LoRA merged.
        tokenizer: With emoji tokens.
        folder: Replaced if it is there.
        card: The README.md, which is signed; None writes a short one that fits any such model.
        pictures: Files that the card shows, by name.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as parent:
        aside = Path(parent) / folder.name
        merged(model).save_pretrained(aside)
        generation_config(model.config.vocab_size, tokenizer).save_pretrained(aside)
        _save_tokenizer(tokenizer, model.config.n_positions, aside)
        text = CARD.format(name=folder.name) if card is None else card
        (aside / README).write_text(signed(text), encoding="utf-8")
        for name, content in (pictures or {}).items():
            (aside / name).write_bytes(content)
        apply_umask(aside)
        if folder.exists():
            folder.replace(Path(parent) / "old")  # goes with the temporary folder
        aside.replace(folder)


def _save_tokenizer(tokenizer: GPT2Tokenizer, n_positions: int, folder: Path) -> None:
    """Write the tokenizer, with a longest prompt that leaves room for an answer."""
    limited = copy.copy(tokenizer)
    limited.model_max_length = max(n_positions - MAX_NEW_TOKENS, 2)  # a token and <|emoji|>
    limited.save_pretrained(folder)
    # Transformers 5 builds a GPT2Tokenizer from vocabulary and merges, without the normalizer.
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": EMOJI_TOKEN}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def generation_config(vocab_size: int, tokenizer: GPT2Tokenizer) -> GenerationConfig:
    """Return settings under which ``generate`` gives at least one emoji and nothing else."""
    end = eos_id(tokenizer)
    allowed = set(candidate_tokens(tokenizer))
    return GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=token_id(tokenizer, EMOJI_TOKEN),
        no_repeat_ngram_size=1,  # of all tokens so far: with end of text as padding, it never ended
        max_new_tokens=MAX_NEW_TOKENS,
        min_new_tokens=1,
        do_sample=False,  # a pipeline would sample, at temperature 0.7
        suppress_tokens=[token for token in range(vocab_size) if token not in allowed],
    )
