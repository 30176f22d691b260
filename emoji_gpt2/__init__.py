"""Fine-tune GPT-2 with PyTorch Lightning so that text becomes emoji.

    from emoji_gpt2 import EmojiDataModule, EmojiGPT2, EmojiGenerator

Names are imported when they are first used, so that ``import emoji_gpt2`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emoji_gpt2.data import EmojiDataModule
    from emoji_gpt2.evaluating import evaluate
    from emoji_gpt2.fit import fine_tune_gpt2
    from emoji_gpt2.generate import EmojiGenerator, generate_emoji
    from emoji_gpt2.hub import PushToHub
    from emoji_gpt2.module import EmojiGPT2
    from emoji_gpt2.table import EmojiTable

__version__ = "0.1.0"
__all__ = [
    "EmojiDataModule",
    "EmojiGPT2",
    "EmojiGenerator",
    "EmojiTable",
    "PushToHub",
    "evaluate",
    "fine_tune_gpt2",
    "generate_emoji",
]

_HOME = {
    "EmojiDataModule": "data",
    "EmojiGPT2": "module",
    "EmojiGenerator": "generate",
    "EmojiTable": "table",
    "PushToHub": "hub",
    "evaluate": "evaluating",
    "fine_tune_gpt2": "fit",
    "generate_emoji": "generate",
}


def __getattr__(name: str) -> Any:
    """Import a public name's module when the name is first used (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
