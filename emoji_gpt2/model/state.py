"""What makes the weights of ``EmojiGPT2`` a model, and how a checkpoint brings it back.

Configuration, tokenizer and adapters are in the module's own state (``get_extra_state``), so that a
checkpoint loads whatever hooks a subclass overrides.
"""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from transformers import GPT2LMHeadModel, GPT2Tokenizer
from typing_extensions import Self

from emoji_gpt2.errors import check
from emoji_gpt2.model.network import (
    EXTRA_STATE,
    Stored,
    building_network_of,
    names_of_module,
    plain_names,
    stored_in,
)
from emoji_gpt2.model.pretrained import local_checkpoint, read_checkpoint
from emoji_gpt2.tokenizer import (
    candidate_tokens,
    fingerprint,
    tokenizer_from_json,
    tokenizer_to_json,
)

ARCHITECTURE = frozenset(("pretrained", "config", "freeze_layers", "lora_rank", "lora_alpha"))
"""What of the arguments a checkpoint decides."""


class KeepsNetwork(LightningModule):
    """A module whose state holds all that its weights need: ``EmojiGPT2`` without the learning."""

    model: GPT2LMHeadModel
    tokenizer: GPT2Tokenizer
    base_model: str | None
    candidate_ids: Tensor
    candidate_index: Tensor
    _adapters: tuple[int, int, int | None]

    def __init__(self) -> None:
        super().__init__()
        self.register_state_dict_post_hook(plain_names)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(names_of_module)  # type: ignore[no-untyped-call]

    def _adopt(self, tokenizer: GPT2Tokenizer) -> None:
        """Take a tokenizer, and what follows from it."""
        self.tokenizer = tokenizer
        self._fingerprint = fingerprint(tokenizer)
        self.model.config.bos_token_id = self.model.config.eos_token_id = tokenizer.eos_token_id
        device = self.model.device
        candidates = torch.tensor(candidate_tokens(tokenizer), device=device)
        size = max(self.model.config.vocab_size, len(tokenizer))
        index = torch.full((size,), -1, device=device)
        index[candidates] = torch.arange(len(candidates), device=device)
        self.register_buffer("candidate_ids", candidates, persistent=False)
        self.register_buffer("candidate_index", index, persistent=False)

    @classmethod
    def load_from_checkpoint(  # type: ignore[override] # Lightning's own decorator hides it
        cls, checkpoint_path: str | Path, *options: Any, **kwargs: Any
    ) -> Self:
        """Return the module of a checkpoint; its network and tokenizer are the checkpoint's.

        Args:
            checkpoint_path: A file, or an https:// or hf://USER/NAME/FILE address, which is fetched
                once to a local file. Nothing in it is executed.
            options: As of Lightning.
            kwargs: The same by name, and hyper-parameters to change.

        Raises:
            UserError: it is not there, truncated, or not a checkpoint of ``EmojiGPT2``.
        """
        for name in ARCHITECTURE & kwargs.keys():
            fine, wanted = not kwargs[name], "none: the checkpoint decides"
            check(name, kwargs[name], fine=fine, wanted=wanted)
        path = local_checkpoint(str(checkpoint_path))
        with building_network_of(read_checkpoint(path)):
            kwargs["weights_only"] = True
            return super().load_from_checkpoint(path, *options[:3], **kwargs)

    def get_extra_state(self) -> dict[str, Any]:
        """Return what makes the weights a model: configuration and tokenizer, as JSON values."""
        config = self.model.config.to_diff_dict()
        tokenizer = tokenizer_to_json(self.tokenizer)
        return Stored(config, tokenizer, self.base_model, self._adapters)._asdict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take the tokenizer of loaded weights."""
        if not state:  # weights alone
            return
        stored = Stored(**state)
        self.base_model = stored.base_model
        if stored.tokenizer != tokenizer_to_json(self.tokenizer):
            self._adopt(tokenizer_from_json(stored.tokenizer))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let checkpoints of version 0.1, which had no state of the module, bring theirs."""
        checkpoint["state_dict"].setdefault(EXTRA_STATE, stored_in(checkpoint)._asdict())
