"""Fine-tune GPT-2 with PyTorch Lightning so that text becomes emoji.

    from emoji_gpt2 import EmojiDataModule, EmojiGPT2, EmojiGenerator

Names are imported when they are first used, so that ``import emoji_gpt2`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emoji_gpt2.data.datamodule import EmojiDataModule
    from emoji_gpt2.emoji.table import EmojiTable
    from emoji_gpt2.evaluation.evaluate import evaluate
    from emoji_gpt2.generation.generator import EmojiGenerator, generate_emoji
    from emoji_gpt2.hub.callback import PushToHub
    from emoji_gpt2.model.module import EmojiGPT2
    from emoji_gpt2.training.fine_tune import fine_tune_gpt2

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
    "EmojiDataModule": "data.datamodule",
    "EmojiGPT2": "model.module",
    "EmojiGenerator": "generation.generator",
    "EmojiTable": "emoji.table",
    "PushToHub": "hub.callback",
    "evaluate": "evaluation.evaluate",
    "fine_tune_gpt2": "training.fine_tune",
    "generate_emoji": "generation.generator",
}


def __getattr__(name: str) -> Any:
    """Import a public name's module when the name is first used (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
