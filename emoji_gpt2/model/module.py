"""The Lightning module: GPT-2 that answers a text with emoji, trained on the emoji alone.

    model = EmojiGPT2(pretrained="gpt2")                             # or a folder
    model = EmojiGPT2(config={"n_layer": 4, "n_embd": 256, "n_head": 4})   # from scratch
    Trainer(max_epochs=3).fit(model, datamodule=EmojiDataModule("emoji_df.csv"))

Shapes: B rows, T tokens, D width, N supervised positions, V candidates: end of text, then all
emoji in table order.
"""

from functools import partial
from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from transformers import GPT2Config

from emoji_gpt2.batch import Batch, rank_and_world_size
from emoji_gpt2.errors import UserError, check
from emoji_gpt2.model.dropout import use_fast_dropout
from emoji_gpt2.model.lora import adapt
from emoji_gpt2.model.loss import (
    candidate_logits,
    masked_cross_entropy,
    share_of_step,
    soft_cross_entropy,
)
from emoji_gpt2.model.metrics import EvaluationMetrics, best_answer_rank
from emoji_gpt2.model.network import loading, network_of, new_network
from emoji_gpt2.model.optim import (
    WarmupCosine,
    decay_groups,
    prepare_start,
    total_steps,
    unscale_before_clipping,
)
from emoji_gpt2.model.packing import attend_by_rows, pack
from emoji_gpt2.model.state import KeepsNetwork
from emoji_gpt2.tokenizer import tokenizer_from_json

BAR = ("loss", "hit_at_1")
"""What of an evaluation the progress bar shows."""


class EmojiGPT2(KeepsNetwork):
    """GPT-2 with one token per emoji, trained by cross-entropy on the emoji of each row.

    ``self.model`` is a ``GPT2LMHeadModel`` and ``self.tokenizer`` its tokenizer; both travel in the
    module's state. ``self.base_model`` is what the first run of these weights began with.

    Args:
        pretrained: Hub id (gpt2, distilgpt2, user/repo) or folder of a GPT-2 to start from. None
            starts from scratch with ``config``.
        config: GPT2Config fields of a model from scratch, such as n_layer, n_embd and n_head, or a
            GPT2Config; not used with ``pretrained``.
        dropout: Probability from 0 to below 1 for all three of GPT-2's dropouts; None keeps the
            configuration's.
        learning_rate: AdamW's highest learning rate, reached after the warm-up.
        weight_decay: AdamW's weight decay, on matrices only.
        warmup_steps: Optimizer steps over which the learning rate rises linearly, before it falls
            to 0 along a cosine until the end of training.
        freeze_layers: Keep so many of GPT-2's blocks, from the first, as they are; embeddings are
            always trained, for those of emoji are new.
        lora_rank: Train LoRA of this rank on attention's projections, and the token embeddings, and
            nothing else; 0 trains all. It needs peft (``pip install emoji_gpt2[lora]``); what is
            exported has it merged.
        lora_alpha: Times 1 / ``lora_rank``, the scale of what LoRA adds; None is twice the rank.

    Raises:
        UserError: an argument is out of range or a field unknown; one line says which.
    """

    def __init__(
        self,
        pretrained: str | None = None,
        config: dict[str, Any] | None = None,
        dropout: float | None = None,
        learning_rate: float = 3e-4,
        weight_decay: float = 0.01,
        warmup_steps: int = 20,
        freeze_layers: int = 0,
        lora_rank: int = 0,
        lora_alpha: int | None = None,
    ) -> None:
        super().__init__()
        for name, value, fine, wanted in (
            ("learning_rate", learning_rate, learning_rate > 0, "more than 0"),
            ("weight_decay", weight_decay, weight_decay >= 0, "0 or more"),
            ("warmup_steps", warmup_steps, warmup_steps >= 0, "0 or more optimizer steps"),
            ("dropout", dropout, 0 <= (dropout or 0) < 1, "0 to below 1, or null"),
            ("freeze_layers", freeze_layers, freeze_layers >= 0, "0 or more"),
            ("lora_rank", lora_rank, lora_rank >= 0, "0 or more"),
        ):
            check(f"model.{name}", value, fine=fine, wanted=wanted)
        if lora_alpha is not None:
            check(
                "model.lora_alpha", lora_alpha, fine=lora_alpha > 0, wanted="more than 0, or null"
            )
        if isinstance(config, GPT2Config):
            config = config.to_diff_dict()
        self.save_hyperparameters()
        for name, value in list(self.hparams.items()):  # a subclass's too: JSON values only
            if isinstance(value, GPT2Config):
                self.hparams[name] = value.to_diff_dict()
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self._step_loss: Tensor | float = 0.0
        stored = loading.get(None)
        if stored is None:
            self._adapters = (freeze_layers, lora_rank, lora_alpha)
            self.base_model = pretrained
            self.model, tokenizer = new_network(pretrained, config or {}, dropout)
            adapt(self.model, *self._adapters)
        else:
            self._adapters = stored.adapters
            self.base_model = stored.base_model
            self.model = network_of(stored, dropout)
            tokenizer = tokenizer_from_json(stored.tokenizer)
        use_fast_dropout(self.model)
        attend_by_rows(self.model)
        self._adopt(tokenizer)
        self.val_metrics, self.test_metrics = EvaluationMetrics(), EvaluationMetrics()
        self.further_metrics = nn.ModuleDict()

    def forward(self, ids_BT: Tensor, positions_N: Tensor) -> Tensor:
        """Return the scores of all candidates at the given positions, ``[N, V]``, in float32.

        Args:
            ids_BT: Token ids, padded on the right with anything: a causal model does not see it.
            positions_N: Indices into the flattened ``[B * T]``.
        """
        n_positions = self.model.config.n_positions
        if ids_BT.shape[1] > n_positions:
            raise UserError(
                "data.max_length",
                f"a row of {ids_BT.shape[1] + 1} tokens",
                f"at most {n_positions + 1}, since the model's n_positions is {n_positions}",
                "lower it",
            )
        ids_BT, positions_N, options = pack(self.model, ids_BT, positions_N)
        # One look-up for the text and for the tied output rows: a second one would have a gradient
        # of its own, as large as the whole embedding.
        ids = torch.cat([ids_BT.flatten(), self.candidate_ids])
        rows = self.model.transformer.wte(ids)
        embedded_BTD = rows[: ids_BT.numel()].view(*ids_BT.shape, rows.shape[1])
        hidden_BTD = self.model.transformer(inputs_embeds=embedded_BTD, **options).last_hidden_state
        hidden_ND = hidden_BTD.flatten(0, 1)[positions_N]
        return candidate_logits(hidden_ND, rows[ids_BT.numel() :])

    def loss(self, logits_NV: Tensor, batch: Batch) -> tuple[Tensor, Tensor | int]:
        """Return the training loss, summed, and the count that it is a sum over.

        It is cross-entropy, against several right answers where the batch has soft targets, whose
        own entropy it cannot fall below.

        Override it to train on another loss; the mean over an optimizer step, all micro-batches
        and ranks is taken elsewhere. Validation always measures cross-entropy.
        """
        return soft_cross_entropy(
            logits_NV,
            self.candidate_index[batch.labels_N],
            self.candidate_index[batch.soft_tokens_M],
            batch.soft_probs_M,
            batch.soft_indices_M,
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the micro-batch's part of the mean loss over the whole optimizer step.

        The trainer divides it by the micro-batches of a step, and DDP averages over ranks: that
        gives the mean over all supervised tokens of the step (``share_of_step``).
        """
        self._check(batch)
        found = self.loss(self(batch.ids_BT, batch.positions_N), batch)
        if not isinstance(found, tuple):
            raise TypeError(f"loss: got {type(found).__name__}, wanted a sum and its count")
        nats, count = found
        loss = share_of_step(nats, count, batch, rank_and_world_size()[1])
        if self._trainer is not None:
            self._log_step(loss.detach(), batch_idx)
        return loss

    @torch.compiler.disable  # type: ignore[untyped-decorator] # Lightning's log cannot be traced
    def _log_step(self, loss: Tensor, batch_idx: int) -> None:
        """Log the mean over an optimizer step, when its last micro-batch is there."""
        window = self.trainer.accumulate_grad_batches
        before = self._step_loss if batch_idx % window else 0.0
        self._step_loss = before + loss / window
        if (batch_idx + 1) % window == 0 or self.trainer.is_last_batch:
            self.log("train/loss", self._step_loss, prog_bar=True, sync_dist=True)

    def _check(self, batch: Batch) -> None:
        if batch.tokenizer not in (None, self._fingerprint):
            raise UserError(
                "data.tokenizer",
                "another tokenizer than the model's",
                f"that of {self.base_model!r}",
                "give the model's pretrained as tokenizer",
            )

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Any = None,
    ) -> None:
        """Step, and free the gradients: Lightning keeps them until after the next forward pass."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        optimizer.zero_grad()

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count the batch in ``val/loss``, ``val/hit_at_1``, ``val/hit_at_5`` and ``val/mrr``."""
        self._evaluate(batch, "val", dataloader_idx)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count the batch in ``test/loss``, ``test/hit_at_1`` and so on, as validation does."""
        self._evaluate(batch, "test", dataloader_idx)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _evaluate(self, batch: Batch, stage: str, dataloader_idx: int) -> None:
        self._check(batch)
        logits_NV = self(batch.ids_BT, batch.positions_N)
        nats, tokens = masked_cross_entropy(logits_NV, self.candidate_index[batch.labels_N])
        ranked_B = batch.answers_BK[:, 0] >= 0
        first = torch.searchsorted(batch.positions_N, batch.first_B[ranked_B])
        answers_BK = batch.answers_BK[ranked_B]
        indices_BK = torch.where(answers_BK < 0, 0, self.candidate_index[answers_BK]) - 1
        ranks_B = best_answer_rank(logits_NV[first, 1:], indices_BK)
        attribute, metrics = self._metrics(stage, dataloader_idx)
        metrics.update(nats, tokens, ranks_B)
        if self._trainer is None:
            return  # the caller computes what it wants of the metrics
        for name, metric in metrics.named().items():
            bar, attribute_of = name in BAR, f"{attribute}.{name}"
            self.log(f"{stage}/{name}", metric, prog_bar=bar, metric_attribute=attribute_of)

    def _metrics(self, stage: str, dataloader_idx: int) -> tuple[str, EvaluationMetrics]:
        """Return the metrics of one loader, and the name of the attribute that holds them."""
        if dataloader_idx == 0:
            metrics = self.val_metrics if stage == "val" else self.test_metrics
            return f"{stage}_metrics", metrics
        name = f"{stage}_{dataloader_idx}"
        if name not in self.further_metrics:
            made = EvaluationMetrics()
            self.further_metrics[name] = made.to(self.device)
        further = self.further_metrics[name]
        assert isinstance(further, EvaluationMetrics)
        return f"further_metrics.{name}", further

    def predict_step(
        self, batch: Batch, batch_idx: int, dataloader_idx: int = 0, top_k: int = 5
    ) -> tuple[Tensor, Tensor]:
        """Return each text's best emoji: ids and probabilities over all, both ``[B, top_k]``."""
        self._check(batch)
        logits_BV = self(batch.ids_BT, batch.first_B)[:, 1:]
        best = logits_BV.softmax(1).topk(top_k)
        return self.candidate_ids[1:][best.indices], best.values

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW with decay groups, warm-up and cosine.

        ``--optimizer`` and ``--lr_scheduler`` on the command line replace them.
        """
        optimizer = self.new_optimizer()
        schedule = WarmupCosine(
            optimizer, self.learning_rate, self.warmup_steps, partial(total_steps, self._trainer)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def new_optimizer(self) -> Optimizer:
        """Return AdamW of all of the module's parameters, with weight decay on matrices only."""
        groups = decay_groups(self, self.weight_decay)
        optimizer = AdamW(groups, lr=self.learning_rate, fused=True)
        unscale_before_clipping(optimizer)
        return optimizer

    def on_train_start(self) -> None:
        """Let our schedule lead to ``learning_rate``: the one asked for, or that of a finder."""
        prepare_start(self.trainer, self.learning_rate)
