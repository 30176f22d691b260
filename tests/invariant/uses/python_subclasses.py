"""Subclasses of EmojiGPT2 and EmojiDataModule, as research writes them."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch.utilities import grad_norm
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader

from emoji_gpt2 import EmojiDataModule, EmojiGPT2
from tests.invariant.uses.harness import (
    add,
    expect,
    expect_close,
    expect_equal,
    expect_same_weights,
    refused,
    use,
)
from tests.invariant.uses.judge import WTE, expect_rates, expect_right, fits, norm, row
from tests.invariant.uses.tiny import TINY, Fit, new_data, new_model, new_trainer, trained, weights
from tests.invariant.uses.watch import candidates_of, plain_gradients, plain_network

SMALL = {"batch_size": 8}
Gradients = dict[str, Tensor]


def mean_loss(module: EmojiGPT2, batch: Any) -> Tensor:
    """Return the mean over a micro-batch's tokens, as everybody writes it."""
    logits_NV = module(batch.ids_BT, batch.positions_N)
    return F.cross_entropy(logits_NV, module.candidate_index[batch.labels_N])


class OwnStep(EmojiGPT2):
    """A training step of its own, which returns a mean."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return mean_loss(self, batch)


class SuperStep(EmojiGPT2):
    """Logs what super's training step returns."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("train/mine", loss)
        return loss


class OwnNorms(EmojiGPT2):
    """Logs gradient norms by the recipe of Lightning's documentation."""

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.log_dict(grad_norm(self, norm_type=2))


class OwnStart(EmojiGPT2):
    """Hooks of its own that do not call super's."""

    def on_train_start(self) -> None:
        self.started = True

    def on_fit_start(self) -> None:
        self.fitting = True

    def on_train_epoch_start(self) -> None:
        self.epoch_started = True


class OwnOptimizerStep(EmojiGPT2):
    """Steps by itself."""

    def optimizer_step(  # type: ignore[override]
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        optimizer.step(closure=optimizer_closure)


class OwnCheckpoint(EmojiGPT2):
    """Adds something to its checkpoints, and does not call super."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["mine"] = 7

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.mine = checkpoint["mine"]


class OwnOptimizer(EmojiGPT2):
    """Trains with plain gradient descent."""

    def configure_optimizers(self) -> Any:
        return SGD(self.parameters(), lr=0.5)


class WithHead(EmojiGPT2):
    """A layer more, which its loss uses."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.head = nn.Linear(4, 4)

    def loss(self, logits_NV: Tensor, batch: Any) -> tuple[Tensor, Any]:
        nats, count = super().loss(logits_NV, batch)
        return nats + self.head(logits_NV[:, :4]).square().sum(), count


class Halved(EmojiGPT2):
    """A signature of its own, half of which is handed on."""

    def __init__(
        self, learning_rate: float = 0.02, dropout: float = 0.8, preset: str = "tiny"
    ) -> None:
        config = {"tiny": TINY, "smaller": TINY | {"n_embd": 8}}[preset]
        super().__init__(
            config=config, learning_rate=learning_rate / 2, dropout=dropout / 2, warmup_steps=2
        )


class Focal(EmojiGPT2):
    """The README's example: emoji that are already right count for less."""

    def loss(self, logits_NV: Tensor, batch: Any) -> tuple[Tensor, Any]:
        labels_N = self.candidate_index[batch.labels_N]
        nats_N = F.cross_entropy(logits_NV, labels_N, reduction="none")
        focal_N = (1 - torch.exp(-nats_N)) ** 2 * nats_N
        return focal_N.sum(), torch.tensor(len(focal_N), device=focal_N.device)


class OneTensor(EmojiGPT2):
    """A loss that is a mean instead of a sum and its count."""

    def loss(self, logits_NV: Tensor, batch: Any) -> Any:
        return F.cross_entropy(logits_NV, self.candidate_index[batch.labels_N])


class Manual(EmojiGPT2):
    """Optimizes by itself, with a mean."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:  # type: ignore[override]
        optimizer: Any = self.optimizers()
        loss = mean_loss(self, batch)
        self.toggle_optimizer(optimizer)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.untoggle_optimizer(optimizer)


class Compiled(EmojiGPT2):
    """Compiles its network."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.model = torch.compile(self.model, backend="eager")  # type: ignore[assignment]


class OwnValidation(EmojiGPT2):
    """Logs one thing more about validation."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log("val/rows", float(len(batch.first_B)), reduce_fx="sum", batch_size=1)


class OwnData(EmojiDataModule):
    """Trains on its first three batches in a torch DataLoader."""

    def train_dataloader(self) -> Any:
        batches = list(super().train_dataloader())[:3]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def logs_last(name: str, of: Callable[[Gradients, float], float]) -> Callable[[Fit], None]:
    """Expect a logged value to be that of the last step's gradients or mean."""

    def also(fit: Fit) -> None:
        last = len(fit.watch.steps) - 1
        found = plain_gradients(fit.module, fit.watch.steps[last].before, fit.watch.window(last))
        expect_close(fit.value(name), of(*found), name, 1e-3)

    return also


def goes_on(fit: Fit) -> str:
    """Expect a checkpoint to load, with what was added, and training to go on from it."""
    kind = type(fit.module)
    loaded = kind.load_from_checkpoint(fit.saved(), map_location="cpu")
    expect_equal((loaded.mine, len(loaded.tokenizer)), (7, len(fit.module.tokenizer)), "loaded")
    (found,) = new_trainer().validate(loaded, datamodule=new_data())
    expect_close(found["val/mrr"], fit.value("val/mrr"), "val/mrr")
    return expect_right(trained(new_model(kind), ckpt_path="a.ckpt", max_epochs=3), 15, first=10)


def counts_rows(fit: Fit) -> None:
    wanted = sum(len(batch.first_B) for batch in fit.data.val_dataloader())
    expect_equal(fit.value("val/rows"), float(wanted), "val/rows")


TWO = {"data": SMALL, "accumulate_grad_batches": 2}
ROWS = {
    "own_training_step_with_super": row(
        kind=SuperStep, also=logs_last("train/mine", lambda _, mean: mean)
    ),
    "own_on_before_optimizer_step": row(
        kind=OwnNorms,
        gradient_clip_val=0.01,
        clip=0.01,
        also=logs_last("grad_2.0_norm_total", lambda gradients, _: norm(gradients)),
        **TWO,
    ),
    "own_start_hooks": row(kind=OwnStart, **TWO),
    "own_optimizer_step": row(kind=OwnOptimizerStep, **TWO),
    "own_configure_optimizers": row(kind=OwnOptimizer, rate=(0.5, 0), planned=None, **TWO),
    "own_checkpoint_hooks": row(kind=OwnCheckpoint, also=goes_on),
    "own_train_dataloader": row(6, data=partial(new_data, OwnData), fixed=True),
    "own_validation_step": row(kind=OwnValidation, same=trained, also=counts_rows),
}
fits(__name__, ROWS)


def expect_gradients(fit: Fit, wanted: Callable[[Any, list[list[Any]]], Gradients]) -> str:
    """Expect each step's gradients, given the weights before it and all ranks' batches."""
    for number, step in list(enumerate(fit.watch.steps))[:5]:
        windows = [watch.window(number) for watch in fit.watches]
        for name, tensor in wanted(step.before, windows).items():
            expect_close(step.gradients[name], tensor, f"step {number}, {name}", 1e-3)
    return f"{len(fit.watch.steps)} steps"


def expect_no_nan(fit: Fit) -> None:
    """Expect train/loss to be a number wherever it is logged."""
    wrong = sum(math.isnan(loss) for loss in fit.watch.logged_losses)
    expect(not wrong, f"train/loss is NaN in {wrong} of {len(fit.watch.logged_losses)} steps")


def mean_of_means(data: dict[str, Any], **options: Any) -> Callable[[], str]:
    def function() -> str:
        fit = trained(new_model(OwnStep), new_data(**data), max_steps=3, **options)
        expect_no_nan(fit)

        def wanted(before: Any, windows: list[list[Any]]) -> Gradients:
            batches = [batch for window in windows for batch in window]
            parts = [plain_gradients(fit.module, before, [batch])[0] for batch in batches]
            return {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}

        return expect_gradients(fit, wanted)

    return function


TEXT = "training_step returning a mean, "
add(__name__, "own_training_step", f"{TEXT}accumulate 2: the mean of means.",
    mean_of_means(SMALL, accumulate_grad_batches=2))  # fmt: skip
add(__name__, "own_training_step_on_two", f"{TEXT}on two ranks: the mean of the ranks' means.",
    mean_of_means({}, devices=2, strategy="ddp_fork"))  # fmt: skip


@use
def own_loss() -> str:
    """A loss of one's own, accumulate 2: its mean over the step's tokens."""
    fit = trained(new_model(Focal), new_data(**SMALL), accumulate_grad_batches=2)

    def wanted(before: Any, windows: list[list[Any]]) -> Gradients:
        network, candidates = plain_network(fit.module, before), candidates_of(fit.module.tokenizer)
        place = torch.full((network.config.vocab_size,), -1)
        place[candidates] = torch.arange(len(candidates))
        losses = []
        for batch in windows[0]:
            scores = network(batch.ids_BT).logits.flatten(0, 1)[batch.positions_N][:, candidates]
            p = scores.softmax(1).gather(1, place[batch.labels_N][:, None])[:, 0]
            losses.append(-((1 - p) ** 2) * p.log())
        torch.cat(losses).mean().backward()
        return {f"model.{n}": p.grad for n, p in network.named_parameters() if p.grad is not None}

    return expect_gradients(fit, wanted)


@use
def own_head() -> str:
    """A layer more that the loss uses: it is trained; a checkpoint with it loads."""
    fit = trained(new_model(WithHead))
    start, end = fit.watch.steps[0].before["head.weight"], fit.watch.epoch_ends[-1]["head.weight"]
    expect(not torch.equal(start, end), "the head did not move")
    loaded = WithHead.load_from_checkpoint(fit.saved(), map_location="cpu")
    expect_close(loaded.head.weight.detach(), end, "head", 0.0)
    return f"moved by {float((end - start).abs().max()):.3f}"


@use
def strict_loading_false() -> str:
    """A checkpoint without a layer loads with strict=False, and with strict_loading=False."""
    plain = trained()
    loose = WithHead.load_from_checkpoint(plain.saved(), map_location="cpu", strict=False)
    expect_same_weights(weights(loose), plain.weights)
    module = new_model(WithHead)
    module.strict_loading = False
    (found,) = new_trainer().validate(module, datamodule=new_data(), ckpt_path="a.ckpt")
    expect_close(found["val/mrr"], plain.value("val/mrr"), "val/mrr")
    return f"val/mrr {found['val/mrr']:.3f}"


@use
def own_signature() -> str:
    """A signature of its own: what was handed to super().__init__ is used, and reloads."""
    torch.manual_seed(0)
    fit = trained(Halved(preset="smaller"))
    expect_rates(fit.watch, 0.01, 2, 10)
    probabilities = {m.p for m in fit.module.modules() if "ropout" in type(m).__name__}
    expect_equal(probabilities, {0.4}, "dropout")
    loaded = Halved.load_from_checkpoint(fit.saved(), map_location="cpu", learning_rate=0.2)
    expect_same_weights(weights(loaded), fit.weights)
    expect_rates(trained(loaded).watch, 0.1, 2, 10)
    return "learning_rate 0.01, then 0.1, dropout 0.4, the same weights"


@use
def own_loss_of_one_tensor() -> str:
    """A loss that returns one tensor: refused with what is wanted."""
    return refused(lambda: trained(new_model(OneTensor)), "loss")


@use
def manual_optimization() -> str:
    """automatic_optimization=False: the steps are what it computes."""
    fit = trained(new_model(Manual))
    expect_no_nan(fit)

    def wanted(before: Any, windows: list[list[Any]]) -> Gradients:
        return plain_gradients(fit.module, before, windows[0])[0]

    return expect_gradients(fit, wanted)


@use
def compiled_network() -> str:
    """self.model = torch.compile(self.model) in __init__: the same training, it can be reloaded."""
    fit, wanted = trained(new_model(Compiled)), trained().watch.epoch_ends[-1][WTE]
    got = fit.module.model.transformer.wte.weight.detach()
    expect_close(got, wanted, "the embedding", 1e-3)
    loaded = Compiled.load_from_checkpoint(fit.saved(), map_location="cpu")
    (found,) = new_trainer().validate(loaded, datamodule=new_data())
    expect_close(found["val/loss"], fit.value("val/loss"), "val/loss")
    return f"val/loss {found['val/loss']:.3f}"
