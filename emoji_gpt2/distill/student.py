"""The student: EmojiGPT2 that starts from the teacher's vectors and learns its whole ranking.

Token embeddings start as the first encoder's vectors of each token's text, emoji as the mean of
those of their names and keywords, both less their mean and projected on the principal components of
the emoji and of a sample of tokens.

Shapes as in ``module``; D the teacher's width.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import AdamW, Optimizer

from emoji_gpt2.distill.data import DistillData
from emoji_gpt2.distill.dataset import DistillBatch
from emoji_gpt2.model.module import EmojiGPT2
from emoji_gpt2.tokenizer import EMOJI_TOKEN, decode_text, token_id

TOKEN_SHARE, SAMPLE = 0.3, 10
"""Tokens count less than emoji for the principal components, and every tenth will do."""


def cross_entropy_to_teacher(logits_NV: Tensor, targets_NV: Tensor) -> Tensor:
    """Return the summed cross-entropy in nats to soft targets, each row of which sums to 1."""
    return -(targets_NV * logits_NV.log_softmax(1)).sum()


def principal_axes(vectors_ND: Tensor, count: int) -> Tensor:
    """Return the directions of largest second moment, ``[D, count]``."""
    _, _, axes_RD = torch.linalg.svd(vectors_ND, full_matrices=False)
    axes: Tensor = axes_RD[:count].T
    return axes


class DistilledGPT2(EmojiGPT2):
    """EmojiGPT2 from scratch that learns a teacher's answers, emoji by emoji.

    Args:
        config: GPT2Config fields; n_embd at most the teacher's width.
        dropout: As of EmojiGPT2.
        learning_rate: As of EmojiGPT2.
        weight_decay: On matrices but the embeddings, many of which no text touches.
        warmup_steps: As of EmojiGPT2.
    """

    def __init__(
        self,
        config: dict[str, Any] | None = None,
        dropout: float | None = 0.0,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.01,
        warmup_steps: int = 100,
    ) -> None:
        super().__init__(None, config, dropout, learning_rate, weight_decay, warmup_steps)

    def setup(self, stage: str) -> None:
        """Start the embeddings from the teacher's vectors; a checkpoint's weights come after."""
        datamodule = getattr(self.trainer, "datamodule", None)
        assert isinstance(datamodule, DistillData)
        self._start_from(datamodule)

    @torch.no_grad()
    def _start_from(self, data: DistillData) -> None:
        rows_VD = self.model.transformer.wte.weight
        n_tokens = int(self.candidate_ids[1:].min())  # GPT-2's own come first
        texts = [decode_text(self.tokenizer, [i]).strip() or "space" for i in range(n_tokens)]
        encode = data.encode.encoders[0]
        tokens_ND = torch.from_numpy(encode(texts)).float()
        tokens_ND -= tokens_ND.mean(0)
        emoji_ED = torch.nn.functional.normalize(data.teacher.emoji_ED[:, : tokens_ND.shape[1]])
        emoji_ED = emoji_ED - emoji_ED.mean(0)
        sample_ND = torch.cat([emoji_ED, TOKEN_SHARE * tokens_ND[::SAMPLE]])
        axes = principal_axes(sample_ND, rows_VD.shape[1])
        starts_ND = tokens_ND @ axes
        rows_VD[:n_tokens] = starts_ND / starts_ND.norm(dim=1).mean()
        untoned = {e: i for i, e in enumerate(data.maker.emoji)}
        places = [untoned[data.table.base(emoji)] for emoji in data.table]
        rows_VD[self.candidate_ids[1:]] = torch.nn.functional.normalize((emoji_ED @ axes)[places])
        rows_VD[self.candidate_ids[0]] = 0.0
        rows_VD[token_id(self.tokenizer, EMOJI_TOKEN)] = 0.0

    def loss(  # type: ignore[override]  # its batches alone have targets
        self, logits_NV: Tensor, batch: DistillBatch
    ) -> tuple[Tensor, int]:
        """Return the cross-entropy to the teacher's answer at every place."""
        return cross_entropy_to_teacher(logits_NV, batch.targets_NV), len(batch.labels_N)

    def new_optimizer(self) -> Optimizer:
        """Return AdamW with weight decay on matrices but the embeddings."""
        decayed: list[Parameter] = []
        others: list[Parameter] = []
        for name, parameter in self.model.named_parameters():
            embeds = "wte" in name or "wpe" in name
            (decayed if parameter.ndim > 1 and not embeds else others).append(parameter)
        groups = [
            {"params": decayed, "weight_decay": self.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        return AdamW(groups, lr=self.learning_rate, betas=(0.9, 0.98))
