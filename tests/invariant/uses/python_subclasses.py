"""Subclasses of EmojiGPT2 and EmojiDataModule, as research writes them."""

import math
from typing import Any

import torch
from lightning.pytorch.utilities import grad_norm
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader

from emoji_gpt2 import EmojiDataModule, EmojiGPT2
from tests.invariant.uses.devices import OwnStep
from tests.invariant.uses.harness import (
    expect,
    expect_close,
    expect_equal,
    expect_same_weights,
    refused,
    use,
)
from tests.invariant.uses.tiny import TINY, Fit, new_data, new_model, new_trainer, trained, weights
from tests.invariant.uses.watch import (
    candidates_of,
    expect_exact_steps,
    expect_rates,
    norm,
    plain_gradients,
    plain_network,
)

WTE = "model.transformer.wte.weight"


def expect_no_nan(fit: Fit) -> None:
    """Expect train/loss to be a number wherever it is logged."""
    wrong = sum(math.isnan(loss) for loss in fit.watch.logged_losses)
    expect(not wrong, f"train/loss is NaN in {wrong} of {len(fit.watch.logged_losses)} steps")


@use
def own_training_step() -> str:
    """training_step returning a mean, accumulate 2: the mean of the batches' means; no NaN."""
    fit = trained(
        new_model(OwnStep), new_data(batch_size=8), accumulate_grad_batches=2, max_steps=3
    )
    for number, step in enumerate(fit.watch.steps):
        parts = [plain_gradients(fit.module, step.before, [b])[0] for b in fit.watch.window(number)]
        for name, got in step.gradients.items():
            expect_close(got, sum(part[name] for part in parts) / 2, f"step {number}, {name}", 1e-3)
    expect_no_nan(fit)
    return "3 steps"


class SuperStep(EmojiGPT2):
    """Logs what super's training step returns."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Log it."""
        loss = super().training_step(batch, batch_idx)
        self.log("train/mine", loss)
        return loss


@use
def own_training_step_with_super() -> str:
    """training_step that logs super's loss: it is the batch's mean."""
    fit = trained(new_model(SuperStep))
    last = len(fit.watch.steps) - 1
    _, mean = plain_gradients(fit.module, fit.watch.steps[last].before, fit.watch.window(last))
    expect_close(fit.value("train/mine"), mean, "train/mine")
    return expect_exact_steps(fit.module, fit.watch)


class OwnNorms(EmojiGPT2):
    """Logs gradient norms by the recipe of Lightning's documentation."""

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log them."""
        self.log_dict(grad_norm(self, norm_type=2))


@use
def own_on_before_optimizer_step() -> str:
    """on_before_optimizer_step logging grad_norm, accumulate 2, clipping: exact, clipped steps."""
    fit = trained(
        new_model(OwnNorms),
        new_data(batch_size=8),
        accumulate_grad_batches=2,
        gradient_clip_val=0.01,
    )
    last = len(fit.watch.steps) - 1
    wanted, mean = plain_gradients(fit.module, fit.watch.steps[last].before, fit.watch.window(last))
    expect_close(fit.value("grad_2.0_norm_total"), norm(wanted), "logged norm", 1e-3)
    expect("train/loss" in fit.trainer.callback_metrics, "train/loss is not logged")
    expect_close(fit.value("train/loss"), mean, "train/loss", 1e-3)
    return expect_exact_steps(fit.module, fit.watch, clip=0.01)


class OwnStart(EmojiGPT2):
    """Has hooks of its own that do not call super's."""

    def on_train_start(self) -> None:
        """Note it."""
        self.started = True

    def on_fit_start(self) -> None:
        """Note it."""
        self.fitting = True

    def on_train_epoch_start(self) -> None:
        """Note it."""
        self.epoch_started = True


@use
def own_start_hooks() -> str:
    """on_fit_start, on_train_start, on_train_epoch_start without super: exact steps, the rates."""
    fit = trained(new_model(OwnStart), new_data(batch_size=8), accumulate_grad_batches=2)
    expect_rates(fit.watch, 0.01, 2, len(fit.watch.steps))
    return expect_exact_steps(fit.module, fit.watch)


class OwnOptimizerStep(EmojiGPT2):
    """Steps by itself."""

    def optimizer_step(  # type: ignore[override]
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        """Step."""
        optimizer.step(closure=optimizer_closure)


@use
def own_optimizer_step() -> str:
    """optimizer_step without super, accumulate 2: exact steps."""
    fit = trained(new_model(OwnOptimizerStep), new_data(batch_size=8), accumulate_grad_batches=2)
    return expect_exact_steps(fit.module, fit.watch)


class OwnSave(EmojiGPT2):
    """Adds something to its checkpoints, and does not call super, whose hooks are empty."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add it."""
        checkpoint["mine"] = 7


@use
def own_on_save_checkpoint() -> str:
    """on_save_checkpoint without super: the checkpoint loads, and training goes on from it."""
    fit = trained(new_model(OwnSave))
    fit.trainer.save_checkpoint("a.ckpt")
    loaded = OwnSave.load_from_checkpoint("a.ckpt", map_location="cpu")
    expect_same_weights(weights(loaded), fit.weights)
    expect_equal(len(loaded.tokenizer), len(fit.module.tokenizer), "tokens")
    resumed = trained(new_model(OwnSave), ckpt_path="a.ckpt", max_epochs=3)
    return expect_exact_steps(resumed.module, resumed.watch, first=10)


class OwnLoad(EmojiGPT2):
    """Reads something from its checkpoints, and does not call super."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read it."""
        self.read = checkpoint["global_step"]


@use
def own_on_load_checkpoint() -> str:
    """on_load_checkpoint without super: the module predicts as before."""
    fit = trained(new_model(OwnLoad))
    fit.trainer.save_checkpoint("a.ckpt")
    loaded = OwnLoad.load_from_checkpoint("a.ckpt", map_location="cpu")
    expect_equal(loaded.read, 10, "what it read")
    (found,) = new_trainer().validate(loaded, datamodule=new_data())
    expect_close(found["val/mrr"], fit.value("val/mrr"), "val/mrr")
    return f"val/mrr {found['val/mrr']:.3f}"


class OwnOptimizer(EmojiGPT2):
    """Trains with plain gradient descent."""

    def configure_optimizers(self) -> Any:
        """Return it."""
        return SGD(self.parameters(), lr=0.5)


@use
def own_configure_optimizers() -> str:
    """configure_optimizers with SGD, accumulate 2: weights - lr * mean."""
    fit = trained(new_model(OwnOptimizer), new_data(batch_size=8), accumulate_grad_batches=2)
    for number, step in list(enumerate(fit.watch.steps))[:4]:
        wanted, _ = plain_gradients(fit.module, step.before, fit.watch.window(number))
        after = fit.watch.steps[number + 1].before
        for name, gradient in wanted.items():
            moved = step.before[name] - after[name]
            expect_close(moved, 0.5 * gradient, f"move of {name} in step {number}", 1e-2)
    return "4 steps of plain SGD"


class WithHead(EmojiGPT2):
    """Has a layer more, which its loss uses.

    Args:
        arguments: As of EmojiGPT2.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.head = nn.Linear(4, 4)

    def loss(self, logits_NV: Tensor, batch: Any) -> tuple[Tensor, Any]:
        """Add what the head finds."""
        nats, count = super().loss(logits_NV, batch)
        return nats + self.head(logits_NV[:, :4]).square().sum(), count


@use
def own_head() -> str:
    """A layer more that the loss uses: it is trained."""
    fit = trained(new_model(WithHead))
    start, end = fit.watch.steps[0].before["head.weight"], fit.watch.epoch_ends[-1]["head.weight"]
    expect(not torch.equal(start, end), "the head did not move")
    return f"moved by {float((end - start).abs().max()):.3f}"


@use
def own_head_reload() -> str:
    """A checkpoint with the layer more loads; one without loads with strict=False alone."""
    fit = trained(new_model(WithHead))
    fit.trainer.save_checkpoint("with.ckpt")
    loaded = WithHead.load_from_checkpoint("with.ckpt", map_location="cpu")
    expect_close(loaded.head.weight.detach(), fit.watch.epoch_ends[-1]["head.weight"], "head", 0.0)
    plain = trained()
    plain.trainer.save_checkpoint("without.ckpt")
    loose = WithHead.load_from_checkpoint("without.ckpt", map_location="cpu", strict=False)
    expect_same_weights(weights(loose), plain.weights)
    return "both"


@use
def strict_loading_false() -> str:
    """strict_loading=False: fit goes on from a checkpoint without the layer's weights."""
    plain = trained()
    plain.trainer.save_checkpoint("without.ckpt")
    content = torch.load("without.ckpt", weights_only=True)
    content["optimizer_states"] = content["lr_schedulers"] = []
    torch.save(content, "without.ckpt")
    module = new_model(WithHead)
    module.strict_loading = False
    (found,) = new_trainer().validate(module, datamodule=new_data(), ckpt_path="without.ckpt")
    expect_close(found["val/mrr"], plain.value("val/mrr"), "val/mrr")
    return f"val/mrr {found['val/mrr']:.3f}"


class Halved(EmojiGPT2):
    """Has a signature of its own, and hands half of it on."""

    def __init__(self, learning_rate: float = 0.02, dropout: float = 0.8, size: int = 16) -> None:
        super().__init__(
            config=TINY | {"n_embd": size},
            learning_rate=learning_rate / 2,
            dropout=dropout / 2,
            warmup_steps=2,
        )


@use
def own_signature() -> str:
    """A signature of its own: what was handed to super().__init__ is used."""
    torch.manual_seed(0)
    fit = trained(Halved())
    expect_rates(fit.watch, 0.01, 2, 10)
    probabilities = {m.p for m in fit.module.modules() if "ropout" in type(m).__name__}
    expect_equal(probabilities, {0.4}, "dropout")
    return "learning_rate 0.01, dropout 0.4"


@use
def own_signature_reload() -> str:
    """A signature of its own: the checkpoint loads, with the same weights and rates."""
    torch.manual_seed(0)
    fit = trained(Halved(size=8))
    fit.trainer.save_checkpoint("a.ckpt")
    loaded = Halved.load_from_checkpoint("a.ckpt", map_location="cpu")
    expect_same_weights(weights(loaded), fit.weights)
    again = trained(loaded)
    expect_rates(again.watch, 0.01, 2, 10)
    return "the same weights and rates"


class Preset(EmojiGPT2):
    """Takes the name of a configuration.

    Args:
        config: A name.
        gamma: Of its own.
    """

    def __init__(self, config: str = "tiny", gamma: float = 2.0) -> None:
        super().__init__(config={"tiny": TINY}[config], dropout=0.0)
        self.gamma = gamma


@use
def own_preset_reload() -> str:
    """config="tiny" as the name of a preset, gamma changed at loading: both are as given."""
    torch.manual_seed(0)
    fit = trained(Preset())
    fit.trainer.save_checkpoint("a.ckpt")
    loaded = Preset.load_from_checkpoint("a.ckpt", map_location="cpu", gamma=3.0)
    expect_same_weights(weights(loaded), fit.weights)
    expect_equal(loaded.gamma, 3.0, "gamma")
    return "preset and gamma"


class Focal(EmojiGPT2):
    """The README's example: emoji that are already right count for less."""

    def loss(self, logits_NV: Tensor, batch: Any) -> tuple[Tensor, Any]:
        """Return the focal loss, summed, and its count."""
        labels_N = self.candidate_index[batch.labels_N]
        nats_N = F.cross_entropy(logits_NV, labels_N, reduction="none")
        focal_N = (1 - torch.exp(-nats_N)) ** 2 * nats_N
        return focal_N.sum(), torch.tensor(len(focal_N), device=focal_N.device)


def focal_gradients(module: Any, parameters: Any, batches: Any) -> dict[str, Tensor]:
    """Return the gradients of the focal loss's mean, by a plain GPT-2."""
    network, candidates = plain_network(module, parameters), candidates_of(module.tokenizer)
    place = torch.full((network.config.vocab_size,), -1)
    place[candidates] = torch.arange(len(candidates))
    losses = []
    for batch in batches:
        scores = network(batch.ids_BT).logits.flatten(0, 1)[batch.positions_N][:, candidates]
        p = scores.softmax(1).gather(1, place[batch.labels_N][:, None])[:, 0]
        losses.append(-((1 - p) ** 2) * p.log())
    torch.cat(losses).mean().backward()
    return {f"model.{n}": p.grad for n, p in network.named_parameters() if p.grad is not None}


@use
def own_loss() -> str:
    """A loss of one's own, accumulate 2: its mean over the step's tokens."""
    fit = trained(new_model(Focal), new_data(batch_size=8), accumulate_grad_batches=2)
    for number, step in list(enumerate(fit.watch.steps))[:5]:
        wanted = focal_gradients(fit.module, step.before, fit.watch.window(number))
        for name, got in step.gradients.items():
            expect_close(got, wanted[name], f"step {number}, {name}", 1e-3)
    return "5 steps"


class OneTensor(EmojiGPT2):
    """Returns a mean instead of a sum and its count."""

    def loss(self, logits_NV: Tensor, batch: Any) -> Any:
        """Return it."""
        return F.cross_entropy(logits_NV, self.candidate_index[batch.labels_N])


@use
def own_loss_of_one_tensor() -> str:
    """A loss that returns one tensor: refused with what is wanted."""
    return refused(lambda: trained(new_model(OneTensor)), "loss")


class Manual(EmojiGPT2):
    """Optimizes by itself, with a mean."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:  # type: ignore[override]
        """Step."""
        optimizer: Any = self.optimizers()
        logits_NV = self(batch.ids_BT, batch.positions_N)
        loss = F.cross_entropy(logits_NV, self.candidate_index[batch.labels_N])
        self.toggle_optimizer(optimizer)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.untoggle_optimizer(optimizer)


@use
def manual_optimization() -> str:
    """automatic_optimization=False: the steps are what it computes, train/loss is no NaN."""
    fit = trained(new_model(Manual))
    expect_no_nan(fit)
    return expect_exact_steps(fit.module, fit.watch)


class Compiled(EmojiGPT2):
    """Compiles its network.

    Args:
        arguments: As of EmojiGPT2.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.model = torch.compile(self.model, backend="eager")  # type: ignore[assignment]


@use
def compiled_network() -> str:
    """self.model = torch.compile(self.model) in __init__: the same training, it can be reloaded."""
    fit, other = trained(new_model(Compiled)), trained()
    expect_close(
        fit.module.model.transformer.wte.weight.detach(),
        other.module.model.transformer.wte.weight.detach(),
        "the embedding",
        1e-3,
    )
    fit.trainer.save_checkpoint("a.ckpt")
    loaded = Compiled.load_from_checkpoint("a.ckpt", map_location="cpu")
    (found,) = new_trainer().validate(loaded, datamodule=new_data())
    expect_close(found["val/loss"], fit.value("val/loss"), "val/loss")
    return f"val/loss {found['val/loss']:.3f}"


@use
def compiled_module() -> str:
    """torch.compile(module) handed to the trainer: the same training."""
    module = new_model()
    compiled: Any = torch.compile(module, backend="eager")
    new_trainer().fit(compiled, datamodule=new_data())
    expect_close(
        weights(module)["transformer.wte.weight"],
        trained().weights["transformer.wte.weight"],
        "the embedding",
        1e-3,
    )
    return "the same embedding"


class OwnValidation(EmojiGPT2):
    """Logs one thing more about validation."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Count rows."""
        super().validation_step(batch, batch_idx)
        self.log("val/rows", float(len(batch.first_B)), reduce_fx="sum", batch_size=1)


@use
def own_validation_step() -> str:
    """validation_step with one metric more: it is right, the others stay."""
    fit = trained(new_model(OwnValidation))
    rows = sum(len(batch.first_B) for batch in fit.data.val_dataloader())
    expect_equal(fit.value("val/rows"), float(rows), "val/rows")
    expect_equal(fit.value("val/mrr"), trained().value("val/mrr"), "val/mrr")
    return f"{rows} rows"


class OwnLoaders(EmojiGPT2):
    """Brings its loaders, from a data module within."""

    def setup(self, stage: str) -> None:
        """Prepare the rows."""
        self.source = new_data()
        self.source.prepare_data()
        self.source.setup("fit")

    def train_dataloader(self) -> Any:
        """Return the training rows."""
        return self.source.train_dataloader()

    def val_dataloader(self) -> Any:
        """Return the validation rows."""
        return self.source.val_dataloader()


@use
def own_loaders_in_the_module() -> str:
    """A module with train_dataloader of its own, fit(model): the weights of fit(model, data)."""
    module = new_model(OwnLoaders)
    new_trainer(max_epochs=3).fit(module)
    expect_same_weights(weights(module), trained(max_epochs=3).weights)
    return "bit for bit"


class OwnData(EmojiDataModule):
    """Trains on its first three batches in a torch DataLoader."""

    def train_dataloader(self) -> Any:
        """Return them."""
        batches = list(super().train_dataloader())[:3]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


@use
def own_train_dataloader() -> str:
    """A data module with a train_dataloader of its own: the mean of each batch."""
    fit = trained(data=new_data(OwnData))
    expect_equal(len(fit.watch.steps), 6, "steps")
    expect_equal(fit.watch.texts(1), fit.watch.texts(0), "texts of epoch 1")
    return expect_exact_steps(fit.module, fit.watch)
