"""The Trainer's options, one process."""

import time
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

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
    files,
    logged,
    new_data,
    new_model,
    new_trainer,
    read_csv,
    ready_data,
    rows,
    trained,
    weights,
)
from tests.invariant.uses.watch import (
    Watch,
    clipped,
    expect_exact_steps,
    expect_rates,
    expect_whole_epochs,
    flat,
    iterate,
    norm,
    plain_gradients,
    plain_scores,
    texts_of,
)


def training_texts(fit: Fit) -> set[str]:
    """Return the table's texts that are neither for validation nor for test."""
    loaders = (fit.data.val_dataloader(), fit.data.test_dataloader())
    held_out = [t for one in loaders for b in iterate(one) for t in texts_of(b, fit.data.tokenizer)]
    expect(len(held_out) >= 10, f"{len(held_out)} texts are held out")
    return {text for text, _ in rows()} - set(held_out)


def per_epoch(fit: Fit) -> int:
    """Return the batches of an epoch."""
    return len(fit.data.train_dataloader())


@use
def plain_fit() -> str:
    """No option: each step is the mean over its tokens, each epoch each training text once."""
    fit = trained(max_epochs=3)
    seen = expect_exact_steps(fit.module, fit.watch)
    expect_whole_epochs(fit.watch, training_texts(fit), 3)
    first, last = fit.watch.logged_losses[0], fit.watch.logged_losses[-1]
    expect(last < first - 1, f"train/loss went from {first} to {last}")
    return seen


@use
def accumulate_grad_batches() -> str:
    """accumulate_grad_batches, the last window smaller: mean over the window's tokens."""
    count = len(ready_data(batch_size=8).train_dataloader())
    window = next(window for window in (3, 4) if count % window)
    fit = trained(data=new_data(batch_size=8), accumulate_grad_batches=window)
    expect_equal(len(fit.watch.steps), 2 * -(-count // window), "steps")
    return expect_exact_steps(fit.module, fit.watch, most=12)


@use
def accumulation_equals_a_larger_batch() -> str:
    """batch_size 8 with accumulate 2, and 16: the same rows in each step, the same weights."""
    two = trained(data=new_data(batch_size=8), accumulate_grad_batches=2, max_steps=4)
    one = trained(data=new_data(batch_size=16), max_steps=4)
    for step in range(4):
        tokenizer = one.data.tokenizer
        texts = [
            sorted(t for b in fit.watch.window(step) for t in texts_of(b, tokenizer))
            for fit in (one, two)
        ]
        expect_equal(texts[1], texts[0], f"texts of step {step}")
    expect_close(flat(two.watch.steps[0].gradients), flat(one.watch.steps[0].gradients), "step 0")
    return "4 steps of the same rows"


@use
def accumulate_cut_by_limit() -> str:
    """Accumulate 2 with limit_train_batches=3: the window that the limit cuts is a mean too."""
    fit = trained(
        data=new_data(batch_size=8), accumulate_grad_batches=2, limit_train_batches=3, max_epochs=3
    )
    expect_equal([len(fit.watch.window(step)) for step in range(6)], [2, 1] * 3, "batches of steps")
    return expect_exact_steps(fit.module, fit.watch)


@use
def accumulate_cut_by_max_steps() -> str:
    """Accumulate 2, max_steps=3: three steps of two batches, each exact."""
    fit = trained(data=new_data(batch_size=8), accumulate_grad_batches=2, max_steps=3)
    expect_equal(len(fit.watch.batches), 6, "batches")
    return expect_exact_steps(fit.module, fit.watch)


@use
def accumulate_with_validation_within() -> str:
    """Accumulate 3 with val_check_interval=2: validations within a window change no step."""
    options: dict[str, Any] = {"accumulate_grad_batches": 3, "max_epochs": 2}
    fit = trained(data=new_data(batch_size=8), val_check_interval=2, **options)
    other = trained(data=new_data(batch_size=8), limit_val_batches=0, **options)
    expect(len(fit.watch.validations) > 2, "no validation within an epoch")
    expect_same_weights(fit.weights, other.weights)
    return expect_exact_steps(fit.module, fit.watch)


@use
def gradient_clip_val() -> str:
    """gradient_clip_val=0.01: the gradients of the mean, scaled to that norm."""
    fit = trained(gradient_clip_val=0.01)
    return expect_exact_steps(fit.module, fit.watch, clip=0.01)


@use
def gradient_clip_val_above() -> str:
    """gradient_clip_val above every norm: nothing is clipped."""
    fit = trained(gradient_clip_val=1000.0, data=new_data(batch_size=8), accumulate_grad_batches=2)
    return expect_exact_steps(fit.module, fit.watch)


@use
def gradient_clip_with_accumulation() -> str:
    """gradient_clip_val=0.01 with accumulate 3: the mean over the window is clipped, no sum."""
    fit = trained(
        data=new_data(batch_size=8), accumulate_grad_batches=3, gradient_clip_val=0.01, max_epochs=1
    )
    return expect_exact_steps(fit.module, fit.watch, clip=0.01)


@use
def gradient_clip_algorithm() -> str:
    """gradient_clip_algorithm="value": each entry of the mean's gradient is clamped."""
    fit = trained(gradient_clip_val=1e-4, gradient_clip_algorithm="value", max_steps=3)
    clamped = 0
    for number, step in enumerate(fit.watch.steps):
        wanted, _ = plain_gradients(fit.module, step.before, fit.watch.window(number))
        vector = flat({name: wanted[name] for name in step.gradients})
        clamped += int((vector.abs() > 1e-4).sum())
        expect_close(flat(step.gradients), vector.clamp(-1e-4, 1e-4), f"step {number}", 1e-3)
    expect(clamped > 0, "the limit touched nothing")
    return f"3 steps, {clamped} entries clamped"


@use
def clip_in_bf16() -> str:
    """bf16-mixed with gradient_clip_val=0.01: every step's gradient has that norm."""
    fit = trained(precision="bf16-mixed", gradient_clip_val=0.01, max_steps=4)
    norms = [norm(step.gradients) for step in fit.watch.steps]
    expect_close(norms, [0.01] * 4, "norms", 1e-2)
    return "4 norms of 0.01"


@use
def max_steps() -> str:
    """max_steps=7: seven steps, and the learning rate falls to 0 at their end."""
    fit = trained(max_steps=7, max_epochs=-1)
    expect_equal(fit.trainer.global_step, 7, "steps")
    expect_rates(fit.watch, 0.01, 2, 7)
    return "7 steps, the rates as planned"


@use
def max_epochs() -> str:
    """max_epochs=3: so many epochs, and the learning rate falls to 0 at their end."""
    fit = trained(max_epochs=3)
    expect_equal(fit.trainer.global_step, 3 * per_epoch(fit), "steps")
    expect_rates(fit.watch, 0.01, 2, 3 * per_epoch(fit))
    return f"{fit.trainer.global_step} steps, the rates as planned"


@use
def max_epochs_with_accumulation() -> str:
    """max_epochs=3 with accumulate 3: warm-up and cosine count optimizer steps."""
    fit = trained(data=new_data(batch_size=8), accumulate_grad_batches=3, max_epochs=3)
    expect_rates(fit.watch, 0.01, 2, 3 * -(-per_epoch(fit) // 3))
    return f"{len(fit.watch.steps)} rates as planned"


@use
def max_epochs_and_max_steps() -> str:
    """max_epochs=5 with max_steps=8: whichever comes first ends training and the cosine."""
    fit = trained(max_epochs=5, max_steps=8)
    expect_equal(fit.trainer.global_step, 8, "steps")
    expect_rates(fit.watch, 0.01, 2, 8)
    return "8 steps, the rates as planned"


@use
def no_planned_end() -> str:
    """max_epochs=-1 with max_time: it ends by the clock, and the rate stays after the warm-up."""
    begin = time.monotonic()
    fit = trained(max_epochs=-1, max_time={"seconds": 1})
    expect(0.5 < time.monotonic() - begin < 30, "it did not end by the clock")
    expect_rates(fit.watch, 0.01, 2, None)
    return f"{fit.trainer.global_step} steps at a constant rate"


@use
def min_epochs() -> str:
    """min_epochs=3 with an EarlyStopping that is content after the first: three epochs."""
    stop = EarlyStopping("val/loss", stopping_threshold=100.0)
    fit = trained(callbacks=[stop], min_epochs=3, max_epochs=6)
    expect_equal(len(fit.watch.epoch_ends), 3, "epochs")
    return "3 epochs"


@use
def min_steps() -> str:
    """min_steps=10 with an EarlyStopping that is content after the first epoch: 10 steps."""
    stop = EarlyStopping("val/loss", stopping_threshold=100.0)
    fit = trained(callbacks=[stop], min_steps=10, max_epochs=6)
    expect(10 <= fit.trainer.global_step < 6 * per_epoch(fit), f"{fit.trainer.global_step} steps")
    return f"{fit.trainer.global_step} steps"


@use
def limit_train_batches() -> str:
    """limit_train_batches=2: two batches an epoch, others each time, the cosine ends with them."""
    fit = trained(limit_train_batches=2, max_epochs=3)
    expect_equal(fit.trainer.global_step, 6, "steps")
    expect_rates(fit.watch, 0.01, 2, 6)
    expect(set(fit.watch.texts(0)) != set(fit.watch.texts(1)), "each epoch has the same batches")
    return "6 steps, other texts each epoch"


@use
def limit_train_batches_share() -> str:
    """limit_train_batches=0.5: half of an epoch's batches."""
    fit = trained(limit_train_batches=0.5)
    expect_equal(fit.trainer.global_step, 2 * int(per_epoch(fit) * 0.5), "steps")
    return expect_exact_steps(fit.module, fit.watch, most=3)


@use
def limit_train_batches_zero() -> str:
    """limit_train_batches=0: nothing is trained."""
    module = new_model()
    before = trained(module, max_steps=1, limit_train_batches=1).weights
    fit = trained(module, limit_train_batches=0)
    expect_same_weights(fit.weights, before)
    return "the weights stay"


@use
def limit_val_batches() -> str:
    """limit_val_batches=1: val/loss is that of the first validation batch alone."""
    fit = trained(limit_val_batches=1)
    first = next(iterate(fit.data.val_dataloader()))
    expect_close(fit.value("val/loss"), plain_scores(fit.module, [first])["loss"], "val/loss")
    return f"val/loss {fit.value('val/loss'):.3f}"


@use
def limit_val_batches_zero() -> str:
    """limit_val_batches=0: no validation, the same training."""
    fit = trained(limit_val_batches=0)
    expect_equal([n for n in fit.trainer.callback_metrics if n.startswith("val/")], [], "metrics")
    expect_same_weights(fit.weights, trained().weights)
    return "no val/ metric, the same weights"


@use
def limit_test_and_predict_batches() -> str:
    """limit_test_batches=1 and limit_predict_batches=1: one batch each."""
    fit = trained()
    trainer = new_trainer(limit_test_batches=1, limit_predict_batches=1)
    (found,) = trainer.test(fit.module, datamodule=fit.data)
    first = next(iterate(fit.data.test_dataloader()))
    expect_close(found["test/loss"], plain_scores(fit.module, [first])["loss"], "test/loss")
    loader = fit.data.val_dataloader()
    predicted = new_trainer(limit_predict_batches=1).predict(fit.module, loader)
    expect_equal(len(predicted or []), 1, "predicted batches")
    return "one batch each"


@use
def validation_metrics() -> str:
    """Every epoch's val/loss, hit_at_1, hit_at_5 and mrr are those of a plain GPT-2 and a sort."""
    fit = trained()
    batches = list(iterate(fit.data.val_dataloader()))
    for name, wanted in plain_scores(fit.module, batches).items():
        expect_close(fit.value(f"val/{name}"), wanted, f"val/{name}", 1e-4)
    expect_equal(len(fit.watch.validations), 2, "validations")
    return f"mrr {fit.value('val/mrr'):.3f} of {sum(len(b.first_B) for b in batches)} texts"


@use
def val_check_interval() -> str:
    """val_check_interval=2: after each second batch."""
    fit = trained(val_check_interval=2, max_epochs=1)
    steps = [one["step"] for one in fit.watch.validations]
    expect_equal(steps, list(range(2, per_epoch(fit) + 1, 2)), "steps of validations")
    return f"after steps {steps}"


@use
def val_check_interval_share() -> str:
    """val_check_interval=0.5: twice an epoch."""
    fit = trained(val_check_interval=0.5)
    half = per_epoch(fit) // 2
    steps = [one["step"] for one in fit.watch.validations]
    expect_equal(steps[:2], [half, 2 * half], "steps of validations")
    return f"after steps {steps}"


@use
def val_check_interval_across_epochs() -> str:
    """check_val_every_n_epoch=None with val_check_interval=5: each fifth batch of all epochs."""
    fit = trained(check_val_every_n_epoch=None, val_check_interval=5, max_epochs=4)
    steps = [one["step"] for one in fit.watch.validations]
    expect_equal(steps, list(range(5, 4 * per_epoch(fit) + 1, 5)), "steps of validations")
    return f"after steps {steps}"


@use
def check_val_every_n_epoch() -> str:
    """check_val_every_n_epoch=2: after each second epoch."""
    fit = trained(check_val_every_n_epoch=2, max_epochs=4)
    steps = [one["step"] for one in fit.watch.validations]
    expect_equal(steps, [2 * per_epoch(fit), 4 * per_epoch(fit)], "steps of validations")
    return f"after steps {steps}"


@use
def overfit_batches() -> str:
    """overfit_batches=1: the same batch in every epoch, and the model learns it by heart."""
    fit = trained(new_model(learning_rate=0.03), overfit_batches=1, max_epochs=40)
    for epoch in (1, 7, 39):
        expect_equal(fit.watch.texts(epoch), fit.watch.texts(0), f"texts of epoch {epoch}")
    expect(fit.watch.logged_losses[-1] < 1.6, f"train/loss ends at {fit.watch.logged_losses[-1]}")
    return f"train/loss {fit.watch.logged_losses[0]:.1f} to {fit.watch.logged_losses[-1]:.2f}"


@use
def overfit_batches_share() -> str:
    """overfit_batches=0.5: the same half of the batches, in the same order, in every epoch."""
    fit = trained(overfit_batches=0.5, max_epochs=3)
    orders = [fit.watch.texts(epoch) for epoch in range(3)]
    expect_equal(orders[1:], [orders[0]] * 2, "texts of the later epochs")
    return f"{len(fit.watch.steps)} steps of {len(orders[0])} texts"


@use
def overfit_batches_with_accumulation() -> str:
    """overfit_batches=3 with accumulate 2: the same windows, each an exact mean."""
    fit = trained(data=new_data(batch_size=8), overfit_batches=3, accumulate_grad_batches=2)
    expect_equal(fit.watch.texts(1), fit.watch.texts(0), "texts of epoch 1")
    return expect_exact_steps(fit.module, fit.watch)


@use
def fast_dev_run() -> str:
    """fast_dev_run=True: one batch of each kind, nothing written."""
    fit = trained(fast_dev_run=True, logger=True, enable_checkpointing=True)
    expect_equal((len(fit.watch.batches), len(fit.watch.validations)), (1, 1), "batches")
    expect_equal([f for f in files(pattern="*") if "std" not in f], ["table.csv"], "files")
    return "1 batch, 1 validation, no file"


@use
def fast_dev_run_of_three() -> str:
    """fast_dev_run=3: three exact steps."""
    fit = trained(fast_dev_run=3)
    expect_equal(len(fit.watch.batches), 3, "batches")
    return expect_exact_steps(fit.module, fit.watch)


@use
def num_sanity_val_steps() -> str:
    """num_sanity_val_steps=0, 2, -1, with dropout: the same weights and the same metrics."""
    fits = [trained(new_model(dropout=0.3), num_sanity_val_steps=n) for n in (0, 2, -1)]
    for fit in fits[1:]:
        expect_same_weights(fit.weights, fits[0].weights)
        expect_equal(fit.value("val/mrr"), fits[0].value("val/mrr"), "val/mrr")
    return "three times the same"


@use
def precision_32_true() -> str:
    """precision="32-true": the same weights as without."""
    expect_same_weights(trained(precision="32-true").weights, trained().weights)
    return "bit for bit"


@use
def precision_64_true() -> str:
    """precision="64-true": weights, logits and loss in float64, the loss right to 12 digits."""
    fit = trained(precision="64-true", max_steps=2)
    batch = fit.watch.window(1)[0]
    step = fit.watch.steps[1]
    expect_equal(step.before["model.transformer.wte.weight"].dtype, torch.float64, "weights")
    fit.module.double()
    logits = fit.module(batch.ids_BT, batch.positions_N)
    expect_equal(logits.dtype, torch.float64, "logits")
    nats = -logits.log_softmax(1)[range(len(logits)), fit.module.candidate_index[batch.labels_N]]
    sums, tokens = fit.module.loss(logits, batch)
    expect_equal(sums.dtype, torch.float64, "loss")
    expect_close(sums, nats.sum(), "loss", 1e-12)
    return f"{float(sums) / int(tokens):.9f}"


@use
def precision_bf16_mixed() -> str:
    """precision="bf16-mixed": float32 weights, gradients near those of float32."""
    fit = trained(precision="bf16-mixed")
    expect_equal({t.dtype for t in fit.weights.values()}, {torch.float32}, "weights")
    return expect_exact_steps(fit.module, fit.watch, tolerance=0.05)


@use
def precision_bf16_true() -> str:
    """precision="bf16-true": bfloat16 weights, gradients near those of float32, it learns."""
    fit = trained(precision="bf16-true", max_epochs=4)
    expect_equal({p.dtype for p in fit.watch.epoch_ends[-1].values()}, {torch.bfloat16}, "weights")
    first, last = fit.watch.logged_losses[0], fit.watch.logged_losses[-1]
    expect(last < first - 0.5, f"train/loss went from {first} to {last}")
    return expect_exact_steps(fit.module, fit.watch, tolerance=0.1, most=3)


@use
def precision_16_on_cpu() -> str:
    """precision="16-mixed" on a CPU, which Lightning makes bf16-mixed: the same weights."""
    expect_same_weights(
        trained(precision="16-mixed").weights, trained(precision="bf16-mixed").weights
    )
    return "as bf16-mixed, bit for bit"


@use
def deterministic() -> str:
    """deterministic=True with dropout and a seed: twice the same, another seed is another run."""

    def run(seed: int) -> dict[str, torch.Tensor]:
        module = new_model(dropout=0.3)
        seed_everything(seed)
        return trained(module, deterministic=True).weights

    expect_same_weights(run(1), run(1))
    expect_other_weights(run(1), run(2))
    return "bit for bit"


@use
def detect_anomaly() -> str:
    """detect_anomaly=True: the same weights."""
    expect_same_weights(trained(detect_anomaly=True).weights, trained().weights)
    return "bit for bit"


@use
def barebones() -> str:
    """barebones=True: the same weights as without validation, nothing written."""
    module, watch = new_model(), Watch()
    Trainer(accelerator="cpu", barebones=True, max_epochs=2, callbacks=[watch]).fit(
        module, datamodule=new_data()
    )
    expect_same_weights(weights(module), trained(limit_val_batches=0).weights)
    expect_equal(files(), [], "checkpoints")
    return "the same weights"


@use
def log_every_n_steps() -> str:
    """log_every_n_steps=3 with a CSVLogger: train/loss of steps 2, 5, 8, each of that step."""
    fit = trained(logger=CSVLogger(".", name="", version=""), log_every_n_steps=3, max_epochs=3)
    found = logged("metrics.csv", "train/loss")
    steps = list(range(2, 3 * per_epoch(fit), 3))
    expect_equal(list(found), steps, "steps")
    for number in steps:
        before = fit.watch.steps[number].before
        _, mean = plain_gradients(fit.module, before, fit.watch.window(number))
        expect_close(found[number], mean, f"train/loss of step {number}")
    return f"steps {steps}"


@use
def train_loss_with_accumulation() -> str:
    """A CSVLogger with accumulate 3: train/loss of each step is the mean over its tokens."""
    logger = CSVLogger(".", name="", version="")
    fit = trained(
        data=new_data(batch_size=8), logger=logger, log_every_n_steps=1, accumulate_grad_batches=3
    )
    found = logged("metrics.csv", "train/loss")
    expect_equal(len(found), len(fit.watch.steps), "rows with train/loss")
    for number, value in enumerate(found.values()):
        before = fit.watch.steps[number].before
        _, mean = plain_gradients(fit.module, before, fit.watch.window(number))
        expect_close(value, mean, f"train/loss of step {number}")
    return f"{len(found)} losses"


@use
def logger_false() -> str:
    """logger=False: no file."""
    trained(logger=False)
    expect_equal(files(pattern="*.csv") + files(pattern="*.yaml"), ["table.csv"], "files")
    return "no file"


@use
def logger_csv() -> str:
    """A CSVLogger: val/mrr of each epoch is in metrics.csv, at the step it was measured."""
    fit = trained(logger=CSVLogger(".", name="", version=""))
    wanted = {one["step"] - 1: one["val/mrr"] for one in fit.watch.validations}
    found = logged("metrics.csv", "val/mrr")
    expect_equal(list(found), list(wanted), "steps")
    expect_close(list(found.values()), list(wanted.values()), "val/mrr")
    return f"at steps {list(found)}"


@use
def logger_tensorboard() -> str:
    """A TensorBoardLogger: the event file has the same val/mrr."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit = trained(logger=TensorBoardLogger(".", name="", version=""))
    events = EventAccumulator(".")
    events.Reload()
    found = [event.value for event in events.Scalars("val/mrr")]
    expect_close(found, [one["val/mrr"] for one in fit.watch.validations], "val/mrr", 1e-6)
    return f"{len(found)} values"


@use
def hparams_yaml() -> str:
    """A CSVLogger's hparams.yaml has the model's and the data's hyper-parameters."""
    import yaml

    trained(new_model(learning_rate=0.0123), new_data(seed=5), logger=CSVLogger(".", version=""))
    (path,) = files(pattern="hparams.yaml")
    found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    expect_equal(found.get("learning_rate"), 0.0123, "learning_rate")
    expect_equal((found.get("batch_size"), found.get("seed")), (16, 5), "batch_size and seed")
    return f"{len(found)} values"


@use
def enable_autolog_hparams_false() -> str:
    """enable_autolog_hparams=False: no hyper-parameters in hparams.yaml, the same weights."""
    fit = trained(logger=CSVLogger(".", version=""), enable_autolog_hparams=False)
    texts = [Path(path).read_text(encoding="utf-8") for path in files(pattern="hparams.yaml")]
    expect("learning_rate" not in "".join(texts), "hyper-parameters were logged")
    expect_same_weights(fit.weights, trained().weights)
    return "nothing logged"


@use
def enable_checkpointing_false() -> str:
    """enable_checkpointing=False: no checkpoint; by default there is one."""
    trained(enable_checkpointing=False, logger=CSVLogger("a"))
    expect_equal(files("."), [], "checkpoints")
    trained(enable_checkpointing=True, logger=CSVLogger("b"))
    expect_equal(len(files("b")), 1, "checkpoints by default")
    return "none; 1 by default"


@use
def enable_progress_bar() -> str:
    """enable_progress_bar=True: the bar shows train/loss and val/loss as they are."""
    fit = trained(enable_progress_bar=True, num_sanity_val_steps=0)
    shown = fit.trainer.progress_bar_metrics
    expect_close(shown["train/loss"], fit.watch.logged_losses[-1], "train/loss", 1e-2)
    expect_close(shown["val/loss"], fit.value("val/loss"), "val/loss", 1e-2)
    return f"{sorted(shown)}"


@use
def reload_dataloaders() -> str:
    """reload_dataloaders_every_n_epochs=1: the same orders as without, another each epoch."""
    fit, other = trained(reload_dataloaders_every_n_epochs=1, max_epochs=3), trained(max_epochs=3)
    expect_whole_epochs(fit.watch, training_texts(fit), 3)
    expect_same_weights(fit.weights, other.weights)
    return "3 epochs, bit for bit"


@use
def inference_mode_false() -> str:
    """inference_mode=False: validation can take gradients; its metrics stay the same."""

    class Saliency(Callback):
        needs_grad: ClassVar[list[bool]] = []

        def on_validation_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: Any, *rest: Any
        ) -> None:
            with torch.enable_grad():
                score = pl_module(batch.ids_BT, batch.positions_N).logsumexp(1).sum()
                self.needs_grad.append(score.requires_grad and not score.is_inference())

    fit = trained(callbacks=[Saliency()], inference_mode=False)
    expect(bool(Saliency.needs_grad) and all(Saliency.needs_grad), "no gradients")
    expect_equal(fit.value("val/mrr"), trained().value("val/mrr"), "val/mrr")
    return "gradients, the same val/mrr"


@use
def profiler_simple() -> str:
    """profiler="simple": its report times each training step; the same weights."""
    fit = trained(profiler="simple")
    profiler: Any = fit.trainer.profiler
    durations = profiler.recorded_durations.items()
    steps = [len(times) for name, times in durations if "training_step" in name]
    expect_equal(max(steps), len(fit.watch.steps), "timed steps")
    expect_same_weights(fit.weights, trained().weights)
    return f"{max(steps)} steps timed"


@use
def use_distributed_sampler_false() -> str:
    """use_distributed_sampler False and True on one process: the same weights."""
    options = (False, True)
    one, two = (trained(use_distributed_sampler=option) for option in options)
    expect_same_weights(one.weights, two.weights)
    return "bit for bit"


@use
def num_workers() -> str:
    """num_workers=2: the same batches and weights as none."""
    fit = trained(data=new_data(num_workers=2), max_epochs=3)
    other = trained(max_epochs=3)
    expect_equal(fit.watch.texts(2), other.watch.texts(2), "texts of epoch 2")
    expect_same_weights(fit.weights, other.weights)
    return "bit for bit"


@use
def default_root_dir() -> str:
    """default_root_dir with the default logger and checkpoints: all is written there."""
    trained(default_root_dir="root", logger=True, enable_checkpointing=True)
    expect_equal([path.split("/")[0] for path in files()], ["root"], "folder of the checkpoint")
    return f"{files()[0]}"


@use
def gradients_of_clipped_sums() -> str:
    """gradient_clip_val with batches of one row: a row of one emoji clips as one of three."""
    fit = trained(data=new_data(batch_size=1), gradient_clip_val=0.5, max_steps=6)
    for number, step in enumerate(fit.watch.steps):
        wanted, _ = plain_gradients(fit.module, step.before, fit.watch.window(number))
        wanted = clipped({name: wanted[name] for name in step.gradients}, 0.5)
        expect_close(norm(step.gradients), norm(wanted), f"norm of step {number}", 1e-3)
    return "6 steps of a row"


@use
def csv_of_two_runs() -> str:
    """Two versions of a CSVLogger in one folder: each run has rows of its own."""
    for _ in range(2):
        trained(logger=CSVLogger(".", name="runs"), log_every_n_steps=1, max_epochs=1)
    one, two = (read_csv(f"runs/version_{number}/metrics.csv") for number in range(2))
    expect_equal(two, one, "rows of the second run")
    return f"{len(one)} rows each"
