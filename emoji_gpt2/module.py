"""The Lightning module: GPT-2 that answers a text with emoji, trained on the emoji alone.

    model = EmojiGPT2(pretrained="gpt2")                             # or a folder
    model = EmojiGPT2(config={"n_layer": 4, "n_embd": 256, "n_head": 4})   # from scratch
    Trainer(max_epochs=3).fit(model, datamodule=EmojiDataModule("emoji_df.csv"))

Shapes: B rows, T tokens, D width, N supervised positions, V candidates: end of text, then all
emoji in table order.
"""

import math
from collections.abc import Callable, Container
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import GPT2LMHeadModel, GPT2Tokenizer

from emoji_gpt2.adapters import adapt, check_options
from emoji_gpt2.batches import Batch
from emoji_gpt2.dropout import use_fast_dropout
from emoji_gpt2.embeddings import add_embeddings, start_as_bag_of_words
from emoji_gpt2.errors import UserError, check
from emoji_gpt2.loss import candidate_logits, masked_cross_entropy, soft_cross_entropy
from emoji_gpt2.metrics import EvaluationMetrics, best_answer_rank
from emoji_gpt2.optim import decay_groups, warmup_cosine
from emoji_gpt2.pretrained import (
    load_gpt2_tokenizer,
    load_gpt2_weights,
    new_gpt2_config,
    with_dropout,
)
from emoji_gpt2.tokenizer import (
    add_emoji_tokens,
    candidate_tokens,
    tokenizer_from_json,
    tokenizer_to_json,
)

BAR = ("loss", "hit_at_1")
"""What of an evaluation the progress bar shows."""


class EmojiGPT2(LightningModule):
    """GPT-2 with one token per emoji, trained by cross-entropy on the emoji of each row.

    The network is built by ``configure_model``, which Lightning calls: ``self.model`` is then a
    ``GPT2LMHeadModel`` and ``self.tokenizer`` its tokenizer. ``self.base_model`` is what the first
    run of these weights began with, ``self.loaded_step`` the step of the checkpoint they are of.

    Args:
        pretrained: Hub id (gpt2, distilgpt2, user/repo) or folder of a GPT-2 to start from. None
            starts from scratch with ``config``.
        config: GPT2Config fields of a model from scratch, such as n_layer, n_embd and n_head; not
            used with ``pretrained``.
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

    model: GPT2LMHeadModel
    tokenizer: GPT2Tokenizer
    candidate_ids: Tensor
    candidate_index: Tensor
    val_metrics: EvaluationMetrics
    test_metrics: EvaluationMetrics

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
        check("--model.learning_rate", learning_rate, fine=learning_rate > 0, wanted="more than 0")
        check("--model.weight_decay", weight_decay, fine=weight_decay >= 0, wanted="0 or more")
        check(
            "--model.warmup_steps",
            warmup_steps,
            fine=warmup_steps >= 0,
            wanted="0 or more optimizer steps",
        )
        check(
            "--model.dropout",
            dropout,
            fine=dropout is None or 0 <= dropout < 1,
            wanted="0 to below 1, or null",
        )
        check_options(freeze_layers, lora_rank, lora_alpha)
        self.save_hyperparameters()
        self._scratch_config = new_gpt2_config(config or {})
        self.base_model = pretrained
        self.loaded_step: int | None = None
        self._lr_steps: int | None = None
        self._step_nats: Tensor | float = 0.0
        self._step_tokens: Tensor | float = 0.0
        self._stored_learning_rate: float | None = None

    def configure_model(self) -> None:
        """Build the network, once, with emoji tokens: from scratch or from pretrained weights."""
        if hasattr(self, "model"):
            return
        hparams = self.hparams
        if not hparams["pretrained"] and "vocab_size" in (hparams["config"] or {}):
            self._build_for_checkpoint()
            return
        tokenizer, new_tokens = add_emoji_tokens(load_gpt2_tokenizer(hparams["pretrained"]))
        if hparams["pretrained"]:
            model = load_gpt2_weights(hparams["pretrained"], hparams["dropout"])
        else:
            model = GPT2LMHeadModel(with_dropout(self._scratch_config, hparams["dropout"]))
        self._check_tokenizer_of_data(tokenizer)
        add_embeddings(model, tokenizer, new_tokens, self._held_out_texts())
        if not hparams["pretrained"]:
            start_as_bag_of_words(model)
        self._train_in_part(model)
        self._adopt(model, tokenizer)

    def _build_for_checkpoint(self) -> None:
        """Build what ``on_save_checkpoint`` described; the tokenizer comes with the checkpoint."""
        self.model = GPT2LMHeadModel(with_dropout(self._scratch_config, self.hparams["dropout"]))
        self._train_in_part(self.model)

    def _train_in_part(self, model: GPT2LMHeadModel) -> None:
        adapt(model, *(self.hparams[n] for n in ("freeze_layers", "lora_rank", "lora_alpha")))

    def _check_tokenizer_of_data(self, tokenizer: GPT2Tokenizer) -> None:
        datamodule = getattr(self._trainer, "datamodule", None)
        theirs = getattr(datamodule, "tokenizer", tokenizer)
        if tokenizer_to_json(theirs) != tokenizer_to_json(tokenizer):
            raise UserError(
                "EmojiDataModule(tokenizer=...): got another tokenizer than the model's, wanted "
                f"{self.hparams['pretrained']!r}; give the model's pretrained as tokenizer"
            )

    def _held_out_texts(self) -> Container[str]:
        if self._trainer is not None and self._trainer.state.fn == "predict":
            return ()  # nothing is evaluated, and the data module has no rows
        datamodule = getattr(self._trainer, "datamodule", None)
        return getattr(datamodule, "held_out_texts", ())

    def _adopt(self, model: GPT2LMHeadModel, tokenizer: GPT2Tokenizer) -> None:
        """Take a network and its tokenizer, and what follows from them."""
        self.model = model
        self.tokenizer = tokenizer
        use_fast_dropout(model)
        model.config.bos_token_id = model.config.eos_token_id = tokenizer.eos_token_id
        candidates = torch.tensor(candidate_tokens(tokenizer))
        index = torch.full((model.config.vocab_size,), -1)
        index[candidates] = torch.arange(len(candidates))
        self.register_buffer("candidate_ids", candidates, persistent=False)
        self.register_buffer("candidate_index", index, persistent=False)
        if not hasattr(self, "val_metrics"):  # Lightning knows those that it has seen by identity
            self.val_metrics = EvaluationMetrics(len(candidates) - 1)
            self.test_metrics = EvaluationMetrics(len(candidates) - 1)

    def forward(self, ids_BT: Tensor, positions_N: Tensor) -> Tensor:
        """Return the scores of all candidates at the given positions, ``[N, V]``, in float32.

        Args:
            ids_BT: Token ids, padded on the right with anything: a causal model does not see it.
            positions_N: Indices into the flattened ``[B * T]``.
        """
        if not hasattr(self, "tokenizer"):  # no checkpoint has brought one
            raise UserError(
                f"--model.config.vocab_size: got {self.model.config.vocab_size}, wanted none; "
                "the tokenizer decides"
            )
        n_positions = self.model.config.n_positions
        if ids_BT.shape[1] > n_positions:
            raise UserError(
                f"--data.max_length: got a row of {ids_BT.shape[1] + 1} tokens, wanted at most "
                f"{n_positions + 1}, since the model's n_positions is {n_positions}; lower it"
            )
        # One look-up for the text and for the tied output rows: a second one would have a gradient
        # of its own, as large as the whole embedding.
        ids = torch.cat([ids_BT.flatten(), self.candidate_ids])
        rows = self.model.transformer.wte(ids)
        embedded_BTD = rows[: ids_BT.numel()].view(*ids_BT.shape, rows.shape[1])
        hidden_BTD = self.model.transformer(
            inputs_embeds=embedded_BTD, use_cache=False
        ).last_hidden_state
        hidden_ND = hidden_BTD.flatten(0, 1)[positions_N]
        return candidate_logits(hidden_ND, rows[ids_BT.numel() :])

    def loss(self, logits_NV: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the training loss, summed, and the count that it is a sum over.

        It is cross-entropy, against several right answers where the batch has soft targets, whose
        own entropy it cannot fall below.

        Override it to train on another loss; the mean over an optimizer step, all micro-batches
        and ranks is taken elsewhere. Validation always measures cross-entropy.

        Args:
            logits_NV: The scores of all candidates at the supervised positions.
            batch: What they are of.
        """
        return soft_cross_entropy(
            logits_NV,
            self.candidate_index[batch.labels_N],
            self.candidate_index[batch.soft_tokens_M],
            batch.soft_shares_M,
            batch.soft_places_M,
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the micro-batch's loss: its mean if it is a whole optimizer step, else its sum.

        ``on_before_optimizer_step`` divides the sum's gradient.
        """
        nats, tokens = self.loss(self(batch.ids_BT, batch.positions_N), batch)
        self._step_nats = self._step_nats + nats.detach()
        self._step_tokens = self._step_tokens + tokens
        if self._is_whole_step():
            return nats / torch.as_tensor(tokens).clamp(min=1)
        # Lightning divides by accumulate_grad_batches, right or wrong: take that back.
        return nats * self.trainer.accumulate_grad_batches

    def _is_whole_step(self) -> bool:
        """Tell whether a micro-batch is all of its optimizer step, whose tokens it then knows."""
        return self.trainer.world_size == self.trainer.accumulate_grad_batches == 1

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Turn summed gradients into the mean over all supervised tokens of the optimizer step.

        The step's tokens are those of all its micro-batches on all ranks. DDP and FSDP averaged the
        gradients over ranks, which the world size takes back. A whole step's loss was divided
        before the backward pass, which spares the gradients one.
        """
        sums = torch.stack(
            [torch.as_tensor(s, device=self.device) for s in (self._step_nats, self._step_tokens)]
        )
        nats, tokens = self.trainer.strategy.reduce(sums, reduce_op="sum")
        if not self._is_whole_step():
            factor = self.trainer.world_size / tokens.clamp(min=1)
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad.mul_(factor)
        self.log("train/loss", nats / tokens, prog_bar=True)
        self._step_nats = self._step_tokens = 0.0

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step, and free the gradients: Lightning keeps them until after the next forward pass."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        optimizer.zero_grad()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count the batch in ``val/loss``, ``val/hit_at_1``, ``val/hit_at_5`` and ``val/mrr``."""
        self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count the batch in ``test/loss``, ``test/hit_at_1``, ``test/hit_at_5``, ``test/mrr``."""
        self._evaluate(batch, "test")

    def _evaluate(self, batch: Batch, stage: str) -> None:
        logits_NV = self(batch.ids_BT, batch.positions_N)
        nats, tokens = masked_cross_entropy(logits_NV, self.candidate_index[batch.labels_N])
        ranked_B = batch.answers_BK[:, 0] >= 0
        first = torch.searchsorted(batch.positions_N, batch.first_B[ranked_B])
        answers_BK = batch.answers_BK[ranked_B]
        indices_BK = torch.where(answers_BK < 0, 0, self.candidate_index[answers_BK]) - 1
        ranks_B = best_answer_rank(logits_NV[first, 1:], indices_BK)
        metrics = self.val_metrics if stage == "val" else self.test_metrics
        metrics.update(nats, tokens, ranks_B)
        for name, metric in metrics.named().items():
            self.log(f"{stage}/{name}", metric, on_epoch=True, prog_bar=name in BAR)

    def predict_step(self, batch: Batch, batch_idx: int, top_k: int = 5) -> tuple[Tensor, Tensor]:
        """Return each text's best emoji: token ids and probabilities, both ``[B, top_k]``.

        The probabilities are over all emoji.
        """
        logits_BV = self(batch.ids_BT, batch.first_B)[:, 1:]
        best = logits_BV.softmax(1).topk(top_k)
        return self.candidate_ids[1:][best.indices], best.values

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW with decay groups, warm-up and cosine.

        ``--optimizer`` and ``--lr_scheduler`` on the command line replace them.
        """
        self._lr_steps = None  # this fit's own: the module may have been in another
        optimizer = self.new_optimizer()
        scheduler = LambdaLR(optimizer, self._lr_factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def new_optimizer(self) -> Optimizer:
        """Return AdamW with weight decay on matrices only."""
        groups = decay_groups(self.model, self.hparams["weight_decay"])
        optimizer = AdamW(groups, lr=self.hparams["learning_rate"], fused=True)
        # A fused AdamW would unscale fp16 gradients itself, after we have divided them, and so
        # Lightning refuses to clip, in bfloat16 too. Let the scaler unscale them before.
        optimizer._step_supports_amp_scaling = False  # noqa: SLF001
        return optimizer

    def on_train_start(self) -> None:
        """Take the learning rate asked for, not the checkpoint's or the one before a finder's."""
        self._step_nats = self._step_tokens = 0.0  # an interrupted fit may have left some
        stored, self._stored_learning_rate = self._stored_learning_rate, None
        if stored is None or self.trainer.ckpt_path is None:  # a new run of loaded weights
            self._follow_learning_rate()
            return
        ratio = self.hparams["learning_rate"] / stored
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group.update(
                    {key: group[key] * ratio for key in ("lr", "initial_lr") if key in group}
                )
        for config in self.trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, LambdaLR):
                config.scheduler.base_lrs = [lr * ratio for lr in config.scheduler.base_lrs]

    def _follow_learning_rate(self) -> None:
        """Let our schedule lead to the learning rate that a finder set since it was made."""
        rate = self.hparams["learning_rate"]
        for config in self.trainer.lr_scheduler_configs:
            scheduler = config.scheduler
            if isinstance(scheduler, LambdaLR) and scheduler.lr_lambdas[0] == self._lr_factor:
                scheduler.base_lrs = [rate for _ in scheduler.base_lrs]
                for group in scheduler.optimizer.param_groups:
                    group["initial_lr"] = rate
                    group["lr"] = rate * self._lr_factor(scheduler.last_epoch)

    def _lr_factor(self, step: int) -> float:
        if step and self._lr_steps is None:  # the first call, at step 0, comes before the data
            self._lr_steps = self._total_steps()
        return warmup_cosine(step, self.hparams["warmup_steps"], self._lr_steps)

    def _total_steps(self) -> int | None:
        """Return the optimizer steps of the whole run; None if it has no planned end.

        ``trainer.estimated_stepping_batches`` would say so too, but asking for it before the data
        loader has its state back makes Lightning lose that state (Lightning#20550).
        """
        trainer = self.trainer
        ends = [trainer.max_steps] if trainer.max_steps > 0 else []
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            window = trainer.accumulate_grad_batches
            ends.append(math.ceil(trainer.num_training_batches / window) * trainer.max_epochs)
        return min(ends, default=None)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint whole: the architecture in full and the tokenizer."""
        config = self.model.config.to_diff_dict()
        checkpoint["hyper_parameters"].pop("_instantiator", None)  # LightningCLI's, not ours
        checkpoint["hyper_parameters"] |= {"pretrained": None, "config": config}
        checkpoint["tokenizer"] = tokenizer_to_json(self.tokenizer)
        checkpoint["base_model"] = self.base_model

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the checkpoint's tokenizer.

        Raises:
            UserError: the checkpoint is not one of ``EmojiGPT2``, or of another architecture.
        """
        if "tokenizer" not in checkpoint:
            raise UserError(
                "--ckpt_path: got a checkpoint without tokenizer, wanted one of EmojiGPT2"
            )
        self._stored_learning_rate = checkpoint["hyper_parameters"]["learning_rate"]
        self.base_model = checkpoint.get("base_model")
        self.loaded_step = checkpoint.get("global_step")
        ours, theirs = self.state_dict(), checkpoint["state_dict"]
        for name in sorted(ours.keys() | theirs.keys()):
            got, wanted = (tuple(d[name].shape) if name in d else None for d in (theirs, ours))
            if got != wanted:
                raise UserError(
                    f"--ckpt_path: got a checkpoint whose {name} is {got}, wanted {wanted}: "
                    "it is of another model; leave out --model.config and --model.pretrained"
                )
        self._adopt(self.model, tokenizer_from_json(checkpoint["tokenizer"]))
