"""Lightning's callbacks, and callbacks of one's own."""

import copy
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    BasePredictionWriter,
    BatchSizeFinder,
    DeviceStatsMonitor,
    EarlyStopping,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LambdaCallback,
    LearningRateFinder,
    LearningRateMonitor,
    ModelPruning,
    ModelSummary,
    OnExceptionCheckpoint,
    RichModelSummary,
    RichProgressBar,
    StochasticWeightAveraging,
    ThroughputMonitor,
    Timer,
    TQDMProgressBar,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import grad_norm
from torch import Tensor
from torch.optim import AdamW, Optimizer

from emoji_gpt2 import EmojiGPT2, PushToHub
from tests.invariant.uses.harness import (
    expect,
    expect_close,
    expect_equal,
    expect_other_weights,
    expect_same_weights,
    use,
)
from tests.invariant.uses.tiny import (
    Fit,
    larger_data,
    load,
    logged,
    new_data,
    new_model,
    new_trainer,
    read_csv,
    rows,
    trained,
    weights,
)
from tests.invariant.uses.watch import (
    candidates_of,
    expect_exact_steps,
    expect_rates,
    expected_rates,
    norm,
    plain_gradients,
    plain_scores,
)

WTE = "model.transformer.wte.weight"


def csv_logger() -> CSVLogger:
    """Return a logger that writes metrics.csv here."""
    return CSVLogger(".", name="", version="")


@use
def early_stopping() -> str:
    """EarlyStopping("val/loss", patience=2): after the second epoch without a better val/loss."""
    fit = trained(
        new_model(learning_rate=0.3),
        callbacks=[EarlyStopping("val/loss", patience=2)],
        max_epochs=30,
    )
    losses = [one["val/loss"] for one in fit.watch.validations]
    best = losses.index(min(losses))
    expect_equal(len(losses), best + 3, "epochs")
    return f"best epoch {best}, stopped after {len(losses)}"


@use
def early_stopping_on_train_loss() -> str:
    """EarlyStopping("train/loss", stopping_threshold): once train/loss is below."""
    stop = EarlyStopping(
        "train/loss", stopping_threshold=4.0, check_on_train_epoch_end=True, patience=99
    )
    fit = trained(callbacks=[stop], max_epochs=60, limit_val_batches=0)
    ends = fit.watch.logged_losses[4::5]
    expect_equal([loss < 4 for loss in ends], [False] * (len(ends) - 1) + [True], "below 4")
    return f"after {len(ends)} epochs, train/loss {ends[-1]:.2f}"


def with_finder(data: Any = None, **options: Any) -> tuple[Fit, LearningRateFinder]:
    """Train with a LearningRateFinder."""
    finder = LearningRateFinder(num_training_steps=40)
    module = new_model(learning_rate=3e-4, warmup_steps=5)
    options = {"max_epochs": 10, "limit_val_batches": 0} | options
    return trained(module, data, callbacks=[finder], **options), finder


def found_by(finder: LearningRateFinder) -> float:
    """Return the rate that was found."""
    rate = finder.optimal_lr.suggestion() if finder.optimal_lr else None
    assert rate is not None
    return rate


@use
def learning_rate_finder() -> str:
    """LearningRateFinder: every step's rate is warm-up and cosine of the found one, from step 0."""
    fit, finder = with_finder()
    found = found_by(finder)
    expect(found > 1e-3, f"it found {found}")
    wanted = expected_rates(found, 5, len(fit.watch.steps), len(fit.watch.steps))
    expect_close(fit.watch.rates[:3], wanted[:3], f"first rates ({found:.3g} found)")
    expect_close(fit.watch.rates, wanted, "rates")
    return f"found {found:.3g}, first rate {fit.watch.rates[0]:.3g}"


@use
def learning_rate_finder_leaves_no_trace() -> str:
    """LearningRateFinder: training begins with the untouched weights and the first epoch's rows."""
    fit, finder = with_finder()
    found = found_by(finder)
    other = trained(
        new_model(learning_rate=found, warmup_steps=5), max_epochs=10, limit_val_batches=0
    )
    expect_equal(fit.watch.texts(0), other.watch.texts(0), "texts of epoch 0")
    expect_same_weights(fit.watch.steps[0].before, other.watch.steps[0].before)
    return f"as a run with learning_rate={found:.3g}"


@use
def learning_rate_finder_with_accumulation() -> str:
    """LearningRateFinder, accumulate 2: half of the losses it sees without, as Lightning has it."""
    _, one = with_finder(larger_data(), max_epochs=2)
    _, two = with_finder(larger_data(batch_size=8), max_epochs=2, accumulate_grad_batches=2)
    assert one.optimal_lr is not None
    assert two.optimal_lr is not None
    losses = [2 * torch.tensor(two.optimal_lr.results["loss"]), one.optimal_lr.results["loss"]]
    expect_close(*losses, "losses", 0.1)
    return f"{len(losses[1])} losses"


@use
def batch_size_finder() -> str:
    """BatchSizeFinder: training has batches of the size found, each row once an epoch."""
    data = new_data(batch_size=4)
    finder = BatchSizeFinder(init_val=8, max_trials=2, steps_per_trial=1)
    fit = trained(data=data, callbacks=[finder])
    sizes = [len(one.texts) for one in fit.watch.batches if one.epoch == 0]
    expect(data.batch_size in (8, 16), f"batch_size {data.batch_size} after two trials from 8")
    expect_equal(set(sorted(sizes)[1:]), {data.batch_size}, "rows of all batches but one")
    expect_equal(len(fit.watch.texts(0)), len(set(fit.watch.texts(0))), "distinct texts")
    expect_rates(fit.watch, 0.01, 2, len(fit.watch.steps))
    return f"from 4 to {data.batch_size}; {sizes}"


@use
def learning_rate_monitor() -> str:
    """LearningRateMonitor("step"): the logged rates are warm-up and cosine."""
    monitor = LearningRateMonitor(logging_interval="step")
    trained(callbacks=[monitor], logger=csv_logger(), log_every_n_steps=1, max_epochs=2)
    columns = [name for name in read_csv("metrics.csv")[0] if name.startswith("lr-")]
    expect(bool(columns), "no column of rates")
    for name in columns:
        found = list(logged("metrics.csv", name).values())
        expect_close(found, expected_rates(0.01, 2, 10, 10), name, 1e-4)
    return f"{columns}"


@use(may_refuse=True)
def gradient_accumulation_scheduler() -> str:
    """GradientAccumulationScheduler({0: 1, 1: 3}): exact steps, and the rate ends at 0."""
    scheduler = GradientAccumulationScheduler({0: 1, 1: 3})
    fit = trained(data=new_data(batch_size=8), callbacks=[scheduler], max_epochs=3)
    count = len(fit.data.train_dataloader())
    steps = count + 2 * -(-count // 3)
    expect_equal(len(fit.watch.steps), steps, "steps")
    seen = expect_exact_steps(fit.module, fit.watch, most=99)
    expect_rates(fit.watch, 0.01, 2, steps)
    return seen


class Averaging(StochasticWeightAveraging):
    """Keep the embeddings that are averaged."""

    averaged: ClassVar[list[Tensor]] = []

    @staticmethod
    def update_parameters(average_model: Any, model: Any, *rest: Any) -> None:
        """Keep one."""
        Averaging.averaged.append(dict(model.named_parameters())[WTE].detach().clone())
        StochasticWeightAveraging.update_parameters(average_model, model, *rest)


@use
def stochastic_weight_averaging() -> str:
    """StochasticWeightAveraging from epoch 2 on: the weights are the mean over the epochs."""
    fit = trained(callbacks=[Averaging(swa_lrs=1e-2, swa_epoch_start=2)], max_epochs=6)
    wanted = torch.stack(Averaging.averaged).mean(0)
    expect(len(Averaging.averaged) >= 4, f"averaged {len(Averaging.averaged)} times")
    expect_close(fit.weights["transformer.wte.weight"], wanted, "the embedding", 1e-5)
    return f"the mean of {len(Averaging.averaged)} epochs"


class EveryStep(Callback):
    """Keep an embedding after each step."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        """Keep it."""
        self.seen.append(dict(pl_module.named_parameters())[WTE].detach().clone())


@use
def weight_averaging() -> str:
    """WeightAveraging: the weights are the mean of those after each step."""
    every = EveryStep()
    fit = trained(callbacks=[WeightAveraging(), every])
    mean = torch.stack(every.seen).mean(0)
    expect_close(fit.weights["transformer.wte.weight"], mean, "the embedding", 1e-5)
    return f"the mean of {len(every.seen)} steps"


@use
def ema_weight_averaging() -> str:
    """EMAWeightAveraging(decay=0.8): the exponential mean, also in val/loss; emoji stay emoji."""
    every = EveryStep()
    fit = trained(callbacks=[EMAWeightAveraging(decay=0.8), every])
    mean = every.seen[0]
    for one in every.seen[1:]:
        mean = 0.8 * mean + 0.2 * one
    expect_close(fit.weights["transformer.wte.weight"], mean, "the embedding", 1e-5)
    scores = plain_scores(fit.module, fit.data.val_dataloader())
    expect_close(fit.value("val/loss"), scores["loss"], "val/loss")
    wanted = candidates_of(fit.module.tokenizer)
    expect(torch.equal(fit.module.candidate_ids, wanted), "candidate_ids changed")
    return f"over {len(every.seen)} steps"


@use
def model_pruning() -> str:
    """ModelPruning("l1_unstructured", 0.5): half of the weights are 0 at the end."""
    pruning = ModelPruning("l1_unstructured", amount=0.5, use_lottery_ticket_hypothesis=False)
    fit = trained(callbacks=[pruning], max_epochs=1)
    named = {n: p for n, p in fit.module.named_parameters() if p.dim() >= 2}
    zeros = sum(int((p == 0).sum()) for p in named.values())
    share = zeros / sum(p.numel() for p in named.values())
    expect(0.4 < share < 0.6, f"{share:.3f} of the weights are 0")
    return f"{share:.2f} of the weights are 0"


class Unfreeze(BaseFinetuning):
    """Train the embeddings alone in epoch 0, and the first block from epoch 1 on."""

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        """Freeze the block."""
        self.freeze(pl_module.model.transformer.h, train_bn=False)

    def finetune_function(
        self, pl_module: LightningModule, epoch: int, optimizer: Optimizer
    ) -> None:
        """Thaw it."""
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.model.transformer.h, optimizer)


class NoSchedule(EmojiGPT2):
    """A module without a schedule: those of torch 2.13 let no group of parameters be added."""

    def configure_optimizers(self) -> Any:
        """Return AdamW of what is trained."""
        return AdamW([p for p in self.parameters() if p.requires_grad], lr=0.01)


@use
def base_finetuning() -> str:
    """A BaseFinetuning: the frozen block stays in epoch 0, and is trained in epoch 1."""
    module = new_model(NoSchedule)
    fit = trained(module, callbacks=[Unfreeze()], max_epochs=2)
    name = "model.transformer.h.0.mlp.c_fc.weight"
    start = fit.watch.steps[0].before[name]
    first, second = (end[name] for end in fit.watch.epoch_ends)
    expect(torch.equal(first, start), "the frozen block was trained")
    expect(not torch.equal(second, first), "the thawed block was not trained")
    expect(not torch.equal(fit.watch.epoch_ends[0][WTE], fit.watch.steps[0].before[WTE]), "stood")
    return "frozen, then trained"


class WithBackbone(NoSchedule):
    """A module that names its backbone, as BackboneFinetuning wants."""

    @property
    def backbone(self) -> torch.nn.Module:
        """GPT-2's blocks."""
        blocks: torch.nn.Module = self.model.transformer.h
        return blocks


@use
def backbone_finetuning() -> str:
    """BackboneFinetuning(unfreeze_backbone_at_epoch=1): frozen, then trained."""
    callback = BackboneFinetuning(unfreeze_backbone_at_epoch=1, verbose=False)
    fit = trained(new_model(WithBackbone), callbacks=[callback], max_epochs=3)
    name = "model.transformer.h.0.mlp.c_fc.weight"
    ends = [end[name] for end in fit.watch.epoch_ends]
    expect(torch.equal(ends[0], fit.watch.steps[0].before[name]), "the backbone was trained")
    expect(not torch.equal(ends[2], ends[0]), "the backbone was not trained")
    return f"{len(fit.trainer.optimizers[0].param_groups)} parameter groups"


@use
def timer() -> str:
    """Timer(2 s): it ends training, and says that it did."""
    callback = Timer({"seconds": 1})
    fit = trained(callbacks=[callback], max_epochs=10_000)
    expect(fit.trainer.global_step < 50_000 and callback.time_elapsed() >= 1, "it did not end")
    return f"{fit.trainer.global_step} steps"


@use
def lambda_callback() -> str:
    """LambdaCallback: its functions are called in order, with the module."""
    calls: list[str] = []
    callback = LambdaCallback(
        on_fit_start=lambda *_: calls.append("fit"),
        on_train_epoch_end=lambda t, _: calls.append(f"epoch {t.current_epoch}"),
        on_fit_end=lambda _, m: calls.append(type(m).__name__),
    )
    trained(callbacks=[callback])
    expect_equal(calls, ["fit", "epoch 0", "epoch 1", "EmojiGPT2"], "calls")
    return f"{calls}"


@use
def device_stats_monitor() -> str:
    """DeviceStatsMonitor(cpu_stats=True): its columns are logged; the weights are the same."""
    monitor = DeviceStatsMonitor(cpu_stats=True)
    fit = trained(callbacks=[monitor], logger=csv_logger(), log_every_n_steps=1)
    columns = [name for name in read_csv("metrics.csv")[0] if "DeviceStatsMonitor" in name]
    expect(bool(columns), "nothing logged")
    expect_same_weights(fit.weights, trained().weights)
    return f"{len(columns)} columns"


@use
def throughput_monitor() -> str:
    """ThroughputMonitor with batch_size_fn: it counts the rows trained on."""
    monitor = ThroughputMonitor(batch_size_fn=lambda batch: len(batch.first_B), window_size=4)
    fit = trained(
        callbacks=[monitor], logger=csv_logger(), log_every_n_steps=1, limit_val_batches=0
    )
    (name,) = [
        n for n in read_csv("metrics.csv")[0] if n.startswith("train") and n.endswith("samples")
    ]
    counts = list(logged("metrics.csv", name).values())
    wanted = list(accumulate(float(len(one.texts)) for one in fit.watch.batches))
    expect_equal(counts, wanted[: len(counts)], "rows after each step")
    return f"{name} {counts[-1]:.0f}"


@use
def model_summary() -> str:
    """ModelSummary: it counts every parameter, before anything is trained."""
    from lightning.pytorch.utilities.model_summary import ModelSummary as Summary

    totals: list[int] = []

    class Kept(ModelSummary):
        def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            totals.append(Summary(pl_module, max_depth=2).total_parameters)
            super().on_fit_start(trainer, pl_module)

    fit = trained(callbacks=[Kept(max_depth=2)], max_steps=1)
    wanted = sum(p.numel() for p in fit.module.model.parameters())
    expect_equal(totals, [wanted], "parameters")
    return f"{wanted:,}"


@use
def parameters_in_setup() -> str:
    """A callback that counts parameters in setup finds all of them."""
    counts: list[int] = []

    class Count(Callback):
        def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
            counts.append(sum(p.numel() for p in pl_module.parameters()))

    fit = trained(callbacks=[Count()], max_steps=1)
    expect_equal(counts, [sum(p.numel() for p in fit.module.parameters())], "parameters")
    return f"{counts[0]:,}"


@use
def rich_progress_bar() -> str:
    """RichProgressBar and RichModelSummary: the same weights."""
    fit = trained(
        callbacks=[RichProgressBar(), RichModelSummary()],
        enable_progress_bar=True,
        enable_model_summary=True,
    )
    expect_same_weights(fit.weights, trained().weights)
    expect("train/loss" in Path("stdout.txt").read_text(encoding="utf-8"), "no bar was shown")
    return "shown; the same weights"


@use
def tqdm_progress_bar() -> str:
    """TQDMProgressBar(refresh_rate=1): it shows train/loss."""
    trained(callbacks=[TQDMProgressBar(refresh_rate=1)], enable_progress_bar=True)
    shown = "".join(Path(name).read_text(encoding="utf-8") for name in ("stdout.txt", "stderr.txt"))
    expect("train/loss=" in shown, "no train/loss in the bar")
    return "train/loss is shown"


@use
def outputs_loss() -> str:
    """A callback's outputs["loss"] is the batch's mean."""
    fit = trained(limit_val_batches=0)
    for number, one in enumerate(fit.watch.batches):
        _, mean = plain_gradients(fit.module, fit.watch.steps[number].before, [one.batch])
        expect_close(one.loss, mean, f"loss of batch {number}")
    return f"{len(fit.watch.batches)} batches"


@use
def outputs_loss_with_accumulation() -> str:
    """With accumulate 3 a window's outputs["loss"], shares of its mean, sum up to that mean."""
    fit = trained(data=new_data(batch_size=8), accumulate_grad_batches=3, limit_val_batches=0)
    for number, step in enumerate(fit.watch.steps):
        losses = [one.loss for one in fit.watch.batches if one.step == number]
        _, mean = plain_gradients(fit.module, step.before, fit.watch.window(number))
        expect_close(sum(losses), mean, f"sum of the losses of step {number}")
    return f"{len(fit.watch.steps)} windows"


class Norms(Callback):
    """Log gradient norms by Lightning's recipe, as a callback."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Keep the total norm."""
        norms = grad_norm(pl_module, norm_type=2)
        pl_module.log_dict(norms)
        self.seen.append(float(norms["grad_2.0_norm_total"]))


@use
def gradient_norms() -> str:
    """A callback that logs grad_norm, with accumulate 3: norms of the mean over the step."""
    norms = Norms()
    fit = trained(data=new_data(batch_size=8), callbacks=[norms], accumulate_grad_batches=3)
    for number, step in enumerate(fit.watch.steps):
        wanted, _ = plain_gradients(fit.module, step.before, fit.watch.window(number))
        expect_close(norms.seen[number], norm(wanted), f"norm of step {number}", 1e-3)
    return f"{len(norms.seen)} norms"


@use
def gradient_norms_after_backward() -> str:
    """A callback's on_after_backward sees the batch's mean gradient."""
    seen: list[float] = []

    class AfterBackward(Callback):
        def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
            seen.append(float(grad_norm(pl_module, 2)["grad_2.0_norm_total"]))

    fit = trained(callbacks=[AfterBackward()], max_steps=3)
    for number, step in enumerate(fit.watch.steps):
        wanted, _ = plain_gradients(fit.module, step.before, fit.watch.window(number))
        expect_close(seen[number], norm(wanted), f"norm of step {number}", 1e-3)
    return "3 norms"


class Kept(BasePredictionWriter):
    """Keep which texts which predictions are of."""

    def __init__(self, write_interval: Any) -> None:
        super().__init__(write_interval)
        self.batches: list[Any] = []
        self.epochs: list[Any] = []

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        indices: Any,
        *rest: Any,
    ) -> None:
        """Keep the indices of a batch."""
        self.batches.append((list(indices or []), len(prediction[0])))

    def write_on_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, predictions: Any, indices: Any
    ) -> None:
        """Keep all of them."""
        self.epochs.append(indices)


def _predicting_data() -> Any:
    lines = "\n".join(["text", *(text for text, _ in rows(21))])
    Path("prompts.csv").write_text(f"{lines}\n", encoding="utf-8")
    return new_data(predict_path="prompts.csv", batch_size=8)


@use
def prediction_writer_by_batch() -> str:
    """BasePredictionWriter("batch"): the batch indices are the numbers of the texts."""
    writer = Kept("batch")
    new_trainer(callbacks=[writer]).predict(new_model(), datamodule=_predicting_data())
    found = [number for indices, _ in writer.batches for number in indices]
    expect_equal(found, list(range(21)), "batch indices")
    expect_equal([len(i) for i, _ in writer.batches], [n for _, n in writer.batches], "sizes")
    return f"{len(writer.batches)} batches"


@use
def prediction_writer_by_epoch() -> str:
    """BasePredictionWriter("epoch"): the batch indices are the numbers of the texts."""
    writer = Kept("epoch")
    new_trainer(callbacks=[writer]).predict(new_model(), datamodule=_predicting_data())
    (by_loader,) = writer.epochs
    found = [number for loader in by_loader for batch in loader for number in batch]
    expect_equal(found, list(range(21)), "batch indices")
    return "21 texts"


class Interruption(Callback):
    """Fail in step 7."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Fail."""
        if trainer.global_step == 7:
            raise RuntimeError("out of memory")


@use
def on_exception_checkpoint() -> str:
    """OnExceptionCheckpoint: the run goes on from it as if it had not been interrupted."""
    module = new_model()
    try:
        trained(module, callbacks=[OnExceptionCheckpoint("."), Interruption()], max_epochs=3)
    except RuntimeError as error:
        expect_equal(str(error), "out of memory", "error")
    expect_equal(load("on_exception.ckpt")["global_step"], 7, "step")
    resumed = trained(new_model(), ckpt_path="on_exception.ckpt", max_epochs=3)
    expect_same_weights(resumed.weights, trained(max_epochs=3).weights)
    return "bit for bit"


@use
def push_to_hub_nowhere() -> str:
    """PushToHub(repo_id=None): the same weights, nothing written."""
    fit = trained(callbacks=[PushToHub(None)])
    expect_same_weights(fit.weights, trained().weights)
    expect_equal([str(p) for p in Path().iterdir() if p.is_dir()], [], "folders")
    return "bit for bit"


class Counting(Callback):
    """A callback with a state."""

    def __init__(self) -> None:
        self.batches = 0

    def on_train_batch_end(self, *rest: Any) -> None:
        """Count."""
        self.batches += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the count."""
        return {"batches": self.batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with it."""
        self.batches = state_dict["batches"]


@use
def callback_with_state() -> str:
    """A callback's own state: it is in the checkpoint and goes on."""
    fit = trained(callbacks=[Counting()])
    fit.trainer.save_checkpoint("state.ckpt")
    later = Counting()
    trained(callbacks=[later], ckpt_path="state.ckpt", max_epochs=3)
    expect_equal(later.batches, 15, "batches of three epochs")
    return "10, then 15"


@use
def should_stop() -> str:
    """A callback that sets trainer.should_stop in the middle of an epoch: it ends there."""

    class Stop(Callback):
        def on_train_batch_end(
            self, trainer: Trainer, pl_module: LightningModule, *rest: Any
        ) -> None:
            trainer.should_stop = trainer.global_step >= 3

    fit = trained(callbacks=[Stop()], max_epochs=5)
    expect_equal(fit.trainer.global_step, 3, "steps")
    expect_equal(len(fit.watch.validations), 1, "validations")
    return "3 steps"


@use
def callback_changes_the_rate() -> str:
    """A callback that sets the rate of the optimizer before each step: that rate is used."""

    class Fixed(Callback):
        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
        ) -> None:
            for group in trainer.optimizers[0].param_groups:
                group["lr"] = 1e-3

    fit = trained(callbacks=[Fixed()])
    expect_close(fit.watch.rates, [1e-3] * len(fit.watch.rates), "rates")
    return "0.001 in every step"


@use
def callback_swaps_the_weights() -> str:
    """A callback that puts earlier weights back: training goes on with these."""
    kept: dict[str, Any] = {}

    class Restore(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            if trainer.current_epoch == 0:
                kept.update(copy.deepcopy(pl_module.state_dict()))
            else:
                pl_module.load_state_dict(kept)

    fit = trained(callbacks=[Restore()], max_epochs=2)
    expect_close(fit.weights["transformer.wte.weight"], fit.watch.epoch_ends[0][WTE], "end", 0.0)
    before = {f"model.{n}": t for n, t in weights(fit.module).items() if n != "lm_head.weight"}
    expect_other_weights(before, fit.watch.steps[-1].before)
    return "the weights of epoch 0"
