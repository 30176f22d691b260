"""Lightning's callbacks, and callbacks of one's own."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BasePredictionWriter,
    BatchSizeFinder,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelCheckpoint,
    OnExceptionCheckpoint,
    StochasticWeightAveraging,
)
from lightning.pytorch.utilities import grad_norm
from torch import Tensor
from torch.optim import Optimizer

from emoji_gpt2 import PushToHub
from tests.invariant.uses.harness import (
    add,
    expect,
    expect_close,
    expect_equal,
    expect_same_weights,
    use,
)
from tests.invariant.uses.judge import (
    WTE,
    expect_right,
    fits,
    norm,
    row,
)
from tests.invariant.uses.tiny import (
    Fit,
    files,
    larger_data,
    load,
    new_data,
    new_model,
    new_trainer,
    trained,
    write_prompts,
)
from tests.invariant.uses.watch import candidates_of, plain_gradients, plain_scores

SMALL = {"batch_size": 8}


class Hook(Callback):
    """Calls a function with the trainer and the module in one of Lightning's hooks."""

    def __init__(self, name: str, function: Callable[[Trainer, Any], object]) -> None:
        setattr(self, name, lambda trainer, pl_module, *_, **__: function(trainer, pl_module))


class Interruption(Callback):
    """Fails in step 7."""

    def on_train_batch_start(self, trainer: Trainer, *rest: Any) -> None:
        if trainer.global_step == 7:
            raise RuntimeError("out of memory")


class Norms(Callback):
    """Logs gradient norms by Lightning's recipe, and keeps them after each backward pass."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.after: list[float] = []

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.after.append(float(grad_norm(pl_module, 2)["grad_2.0_norm_total"]))

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        norms = grad_norm(pl_module, norm_type=2)
        pl_module.log_dict(norms)
        self.seen.append(float(norms["grad_2.0_norm_total"]))


def callback_of(fit: Fit, kind: type[Callback]) -> Any:
    return next(one for one in fit.trainer.callbacks if isinstance(one, kind))


def norms_of_means(fit: Fit) -> str:
    norms = callback_of(fit, Norms)
    for number, step in enumerate(fit.watch.steps):
        wanted, _ = plain_gradients(fit.module, step.before, fit.watch.window(number))
        expect_close(norms.seen[number], norm(wanted), f"norm of step {number}", 1e-3)
    expect_close(norms.after[2::3], norms.seen, "norms after the windows' last backward")
    return f"{len(norms.seen)} norms"


def found_size(fit: Fit) -> str:
    sizes = sorted(len(one.texts) for one in fit.watch.batches if one.epoch == 0)
    size = fit.data.batch_size
    expect(size in (8, 16), f"batch_size {size} after two trials from 8")
    expect_equal(set(sizes[1:]), {size}, "rows of all batches but one")
    return f"from 4 to {size}"


def no_folders(_fit: Fit) -> None:
    expect_equal([str(path) for path in Path().iterdir() if path.is_dir()], [], "folders")


def all_parameters(_trainer: Trainer, pl_module: Any) -> None:
    found = sum(p.numel() for p in pl_module.parameters())
    expect_equal(found, sum(p.numel() for p in new_model().parameters()), "parameters in setup")


def stop_after(step: int) -> Callback:
    """Return a callback that stops in the middle of an epoch, as Ctrl-C does."""

    def stop(trainer: Trainer, _module: Any) -> None:
        trainer.should_stop |= trainer.global_step == step

    return Hook("on_train_batch_end", stop)


ROWS = {
    "batch_size_finder": row(
        None,
        data={"batch_size": 4},
        callbacks=lambda: [BatchSizeFinder(init_val=8, max_trials=2, steps_per_trial=1)],
        also=found_size,
    ),
    "gradient_accumulation_scheduler": row(
        9 + 2 * 3,
        data=SMALL,
        callbacks=lambda: [GradientAccumulationScheduler({0: 1, 1: 3})],
        max_epochs=3,
        most=99,
    ),
    "parameters_in_setup": row(callbacks=lambda: [Hook("setup", all_parameters)]),
    "gradient_norms": row(
        6, data=SMALL, callbacks=lambda: [Norms()], accumulate_grad_batches=3, also=norms_of_means
    ),
    "push_to_hub_nowhere": row(callbacks=lambda: [PushToHub(None)], same=trained, also=no_folders),
    "should_stop": row(
        3, callbacks=lambda: [stop_after(3)], max_epochs=5, planned=25, validations=[3]
    ),
}
fits(__name__, ROWS)


def with_finder(data: Any = None, **options: Any) -> tuple[Fit, Any]:
    """Train with a LearningRateFinder; return what it found, too."""
    finder = LearningRateFinder(num_training_steps=40)
    module = new_model(learning_rate=3e-4, warmup_steps=5)
    options = {"max_epochs": 10, "limit_val_batches": 0} | options
    return trained(module, data, callbacks=[finder], **options), finder.optimal_lr


@use
def learning_rate_finder() -> str:
    """LearningRateFinder: a run as one with the rate that was found; it leaves no trace."""
    fit, found = with_finder()
    rate = found.suggestion()
    expect(rate > 1e-3, f"it found {rate}")
    seen = expect_right(fit, 50, rate=(rate, 5), validations=[])
    other = trained(
        new_model(learning_rate=rate, warmup_steps=5), max_epochs=10, limit_val_batches=0
    )
    expect_same_weights(fit.weights, other.weights)
    return f"found {rate:.3g}; {seen}"


@use
def learning_rate_finder_with_accumulation() -> str:
    """LearningRateFinder, accumulate 2: half of the losses it sees without, as Lightning has it."""
    _, one = with_finder(larger_data(), max_epochs=2)
    _, two = with_finder(larger_data(batch_size=8), max_epochs=2, accumulate_grad_batches=2)
    losses = [2 * torch.tensor(two.results["loss"]), one.results["loss"]]
    expect_close(*losses, "losses", 0.1)
    return f"{len(losses[1])} losses"


class Averaging(StochasticWeightAveraging):
    """Keeps the embeddings that are averaged."""

    averaged: ClassVar[list[Tensor]] = []

    @staticmethod
    def update_parameters(average_model: Any, model: Any, *rest: Any) -> None:
        Averaging.averaged.append(dict(model.named_parameters())[WTE].detach().clone())
        StochasticWeightAveraging.update_parameters(average_model, model, *rest)


def embedding(fit: Fit) -> Tensor:
    return fit.weights["transformer.wte.weight"]


@use
def stochastic_weight_averaging() -> str:
    """StochasticWeightAveraging from epoch 2 on: the weights are the mean over the epochs."""
    fit = trained(callbacks=[Averaging(swa_lrs=1e-2, swa_epoch_start=2)], max_epochs=6)
    expect(len(Averaging.averaged) >= 4, f"averaged {len(Averaging.averaged)} times")
    expect_close(embedding(fit), torch.stack(Averaging.averaged).mean(0), "the embedding", 1e-5)
    return f"the mean of {len(Averaging.averaged)} epochs"


def averaged(callback: Callback) -> tuple[Fit, list[Tensor]]:
    """Train with a callback that averages; return the embeddings after each step, too."""
    seen: list[Tensor] = []

    def keep(_trainer: Trainer, module: Any) -> None:
        seen.append(dict(module.named_parameters())[WTE].detach().clone())

    return trained(callbacks=[callback, Hook("on_train_batch_end", keep)]), seen


@use
def ema_weight_averaging() -> str:
    """EMAWeightAveraging(decay=0.8): the exponential mean, also in val/loss; emoji stay emoji."""
    fit, (mean, *rest) = averaged(EMAWeightAveraging(decay=0.8))
    for one in rest:
        mean = 0.8 * mean + 0.2 * one
    expect_close(embedding(fit), mean, "the embedding", 1e-5)
    scores = plain_scores(fit.module, fit.data.val_dataloader())
    expect_close(fit.value("val/loss"), scores["loss"], "val/loss")
    wanted = candidates_of(fit.module.tokenizer)
    expect(torch.equal(fit.module.candidate_ids, wanted), "candidate_ids changed")
    return f"over {1 + len(rest)} steps"


class Kept(BasePredictionWriter):
    """Keeps which texts which predictions are of."""

    def __init__(self) -> None:
        super().__init__("batch_and_epoch")
        self.batches: list[Any] = []
        self.epochs: list[Any] = []

    def write_on_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, prediction: Any, *rest: Any
    ) -> None:
        self.batches.append((list(rest[0] or []), len(prediction[0])))

    def write_on_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, predictions: Any, indices: Any
    ) -> None:
        self.epochs.append(indices)


@use
def prediction_writer() -> str:
    """BasePredictionWriter by batch and by epoch: the indices are the numbers of the texts."""
    writer, texts = Kept(), write_prompts()
    data = new_data(predict_path="prompts.csv", batch_size=8)
    new_trainer(callbacks=[writer]).predict(new_model(), datamodule=data)
    wanted = list(range(len(texts)))
    expect_equal([n for indices, _ in writer.batches for n in indices], wanted, "of batches")
    expect_equal([len(i) for i, _ in writer.batches], [n for _, n in writer.batches], "sizes")
    (by_loader,) = writer.epochs
    found = [number for loader in by_loader for batch in loader for number in batch]
    expect_equal(found, wanted, "of the epoch")
    return f"{len(writer.batches)} batches"


def goes_on_after_an_error(make: Callable[[], Callback]) -> str:
    """Expect what was saved when a run failed to go on as if it had not."""
    try:
        trained(callbacks=[make(), Interruption()], max_epochs=3)
    except RuntimeError as error:
        expect_equal(str(error), "out of memory", "error")
    (name,) = files()
    expect_equal(load(name)["global_step"], 7, "step")
    resumed = trained(ckpt_path=name, max_epochs=3)
    expect_same_weights(resumed.weights, trained(max_epochs=3).weights)
    return f"{name}, bit for bit"


for name, make in (
    ("on_exception_checkpoint", partial(OnExceptionCheckpoint, ".")),
    ("save_on_exception", partial(ModelCheckpoint, ".", save_on_exception=True, save_top_k=0)),
):
    text = f"{make.func.__name__}: a failed run goes on from it as if it had not failed."
    add(__name__, name, text, partial(goes_on_after_an_error, make))
