"""What a training did, and what it should have done by a plain GPT-2 and torch alone.

`Watch` keeps each batch, each optimizer step with the weights before it and its gradients, and each
validation. `plain_gradients` and `plain_scores` are the references: Transformers' own forward pass
over all positions, cross-entropy with -100 where nothing is supervised.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer
from transformers import GPT2LMHeadModel, GPT2Tokenizer

from emoji_gpt2 import EmojiTable


@dataclass
class Micro:
    """A training batch: of which optimizer step and epoch, its texts.

    Then its loss, as ``outputs`` has it, and train/loss, as logged.
    """

    step: int
    epoch: int
    batch: Any
    texts: list[str]
    loss: float = float("nan")
    logged: float | None = None


@dataclass
class Step:
    """An optimizer step: its learning rate, the weights before it and the gradients it used."""

    rate: float
    before: dict[str, Tensor]
    gradients: dict[str, Tensor] = field(default_factory=dict)


class Watch(Callback):
    """Keep all that a training did.

    Args:
        save: Begin of the name of the file that each rank's record goes to, for other processes.
    """

    def __init__(self, save: str | None = None) -> None:
        self.save = save
        self.epoch_length: float = 0
        self.batches: list[Micro] = []
        self.steps: list[Step] = []
        self.validations: list[dict[str, Any]] = []
        self.epoch_ends: list[dict[str, Tensor]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epoch_length = trainer.num_training_batches
        for optimizer in trainer.optimizers:
            optimizer.register_step_pre_hook(lambda o, *_: self._before(o, pl_module))
            optimizer.register_step_post_hook(lambda *_: self._after(pl_module))

    def _before(self, optimizer: Optimizer, pl_module: LightningModule) -> None:
        named = {name: p.detach().clone() for name, p in pl_module.named_parameters()}
        self.steps.append(Step(optimizer.param_groups[0]["lr"], named))

    def _after(self, pl_module: LightningModule) -> None:
        named = pl_module.named_parameters()
        self.steps[-1].gradients = {n: p.grad.clone() for n, p in named if p.grad is not None}

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        texts = texts_of(batch, pl_module.tokenizer)
        self.batches.append(Micro(trainer.global_step, trainer.current_epoch, batch, texts))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if outputs is not None and "loss" in outputs:
            self.batches[-1].loss = float(outputs["loss"])
        if "train/loss" in trainer.callback_metrics:
            self.batches[-1].logged = float(trainer.callback_metrics["train/loss"])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            values = {name: float(value) for name, value in trainer.callback_metrics.items()}
            self.validations.append({"step": trainer.global_step} | values)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        named = pl_module.named_parameters()
        self.epoch_ends.append({name: p.detach().clone() for name, p in named})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.save:
            torch.save(vars(self), f"{self.save}-{trainer.global_rank}.pt")

    @property
    def rates(self) -> list[float]:
        """The learning rate of each step."""
        return [step.rate for step in self.steps]

    @property
    def logged_losses(self) -> list[float]:
        """The logged train/loss after each batch."""
        return [one.logged for one in self.batches if one.logged is not None]

    def micros(self, step: int) -> list[Micro]:
        """All about the batches of an optimizer step."""
        return [one for one in self.batches if one.step == step]

    def window(self, step: int) -> list[Any]:
        """The batches of an optimizer step."""
        return [one.batch for one in self.micros(step)]

    def texts(self, epoch: int) -> list[str]:
        """The texts of an epoch, in their order."""
        return [text for one in self.batches if one.epoch == epoch for text in one.texts]


def saved_watches(save: str, ranks: int = 2) -> list[Watch]:
    """Return what each rank's watch kept."""
    watches = []
    for rank in range(ranks):
        watch = Watch()
        vars(watch).update(torch.load(f"{save}-{rank}.pt", weights_only=False))
        watches.append(watch)
    return watches


def texts_of(batch: Any, tokenizer: GPT2Tokenizer) -> list[str]:
    """Return the texts of a batch's rows."""
    width = batch.ids_BT.shape[1]
    ends = [int(first) - row * width for row, first in enumerate(batch.first_B)]
    return [
        str(tokenizer.decode(ids_T[:end].tolist())).strip()
        for ids_T, end in zip(batch.ids_BT, ends, strict=False)
    ]


def plain_network(module: Any, parameters: dict[str, Tensor] | None = None) -> GPT2LMHeadModel:
    """Return Transformers' GPT-2 with the module's weights, or these of the same names."""
    network = GPT2LMHeadModel(module.model.config)
    named = {f"model.{name}": tensor for name, tensor in module.model.state_dict().items()}
    named |= parameters or {}
    state = {n.removeprefix("model."): t.float() for n, t in named.items() if n[:6] == "model."}
    network.load_state_dict(state | {"lm_head.weight": state["transformer.wte.weight"]})
    return network.eval()


def candidates_of(tokenizer: GPT2Tokenizer) -> Tensor:
    """Return the ids of the end of text and all emoji."""
    ids = tokenizer.convert_tokens_to_ids([tokenizer.eos_token, *EmojiTable.builtin()])
    return torch.tensor(ids)


def plain_nats(
    network: GPT2LMHeadModel, tokenizer: GPT2Tokenizer, batch: Any
) -> tuple[Tensor, int]:
    """Return a batch's summed cross-entropy over all candidates, and its supervised tokens."""
    labels = torch.full((batch.ids_BT.numel(),), -100)
    place = torch.full((network.config.vocab_size,), -100)
    candidates = candidates_of(tokenizer)
    place[candidates] = torch.arange(len(candidates))
    labels[batch.positions_N] = place[batch.labels_N]
    scores = network(input_ids=batch.ids_BT).logits.flatten(0, 1)[:, candidates]
    nats = F.cross_entropy(scores, labels, ignore_index=-100, reduction="sum")
    return nats, int((labels >= 0).sum())


def plain_gradients(
    module: Any, parameters: dict[str, Tensor], batches: Iterable[Any]
) -> tuple[dict[str, Tensor], float]:
    """Return the gradients of the mean over all supervised tokens of the batches, and that mean."""
    network = plain_network(module, parameters)
    sums = [plain_nats(network, module.tokenizer, batch) for batch in batches]
    mean = torch.stack([nats for nats, _ in sums]).sum() / sum(tokens for _, tokens in sums)
    mean.backward()
    named = network.named_parameters()
    return {f"model.{n}": p.grad for n, p in named if p.grad is not None}, float(mean)


def plain_scores(module: Any, batches: Iterable[Any]) -> dict[str, float]:
    """Return loss, hit_at_1, hit_at_5 and mrr of evaluation batches."""
    network, candidates = plain_network(module), candidates_of(module.tokenizer)[1:]
    nats, tokens, ranks = 0.0, 0, []
    with torch.no_grad():
        for batch in batches:
            of_batch, count = plain_nats(network, module.tokenizer, batch)
            nats, tokens = nats + float(of_batch), tokens + count
            logits = network(input_ids=batch.ids_BT).logits.flatten(0, 1)[batch.first_B]
            orders = candidates[logits[:, candidates].argsort(descending=True)].tolist()
            for order, answers in zip(orders, batch.answers_BK.tolist(), strict=True):
                right = [order.index(answer) for answer in answers if answer >= 0]
                ranks += [1 + min(right)] if right else []
    hits = {f"hit_at_{k}": sum(rank <= k for rank in ranks) / len(ranks) for k in (1, 5)}
    return {"loss": nats / tokens, "mrr": sum(1 / rank for rank in ranks) / len(ranks)} | hits


def iterate(loaders: Any) -> Iterator[Any]:
    """Return the batches of a loader, or of none."""
    return iter(loaders or [])


def texts_in(loader: Any, tokenizer: GPT2Tokenizer) -> list[str]:
    """Return the texts of an iteration."""
    return [text for batch in iterate(loader) for text in texts_of(batch, tokenizer)]
