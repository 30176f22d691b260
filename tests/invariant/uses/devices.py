"""Two processes on the CPU, by each of Lightning's ways to start them."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BasePredictionWriter,
    EarlyStopping,
    LearningRateFinder,
    ModelCheckpoint,
)

from emoji_gpt2 import EmojiDataModule, EmojiGPT2
from tests.invariant.uses.harness import (
    expect,
    expect_close,
    expect_equal,
    expect_same_weights,
    refused,
    use,
)
from tests.invariant.uses.tiny import (
    larger_data,
    load,
    new_data,
    new_model,
    new_trainer,
    ready_data,
    rows,
    trained,
    weights,
)
from tests.invariant.uses.watch import (
    Watch,
    expect_exact_steps,
    iterate,
    plain_gradients,
    plain_scores,
    saved_watches,
    texts_of,
)


def on_two(
    strategy: str,
    module: EmojiGPT2,
    data: EmojiDataModule,
    callbacks: tuple[Callback, ...] = (),
    **options: Any,
) -> tuple[Trainer, list[Watch]]:
    """Train on two processes; return the trainer and what each process saw."""
    watch = Watch(save="watch")
    trainer = new_trainer(devices=2, strategy=strategy, callbacks=[*callbacks, watch], **options)
    trainer.fit(module, datamodule=data)
    return trainer, saved_watches("watch")


def expect_shared_epochs(watches: list[Watch], data: EmojiDataModule, epochs: int = 2) -> int:
    """Expect each training text once in each epoch over both processes."""
    data.prepare_data()
    data.setup("fit")
    loaders = (data.val_dataloader(), data.test_dataloader())
    held = {t for one in loaders for b in iterate(one) for t in texts_of(b, data.tokenizer)}
    wanted = sorted({text for text, _ in rows()} - held)
    for epoch in range(epochs):
        got = sorted(text for watch in watches for text in watch.texts(epoch))
        expect_equal(got, wanted, f"texts of epoch {epoch} on both")
    return len(wanted)


@use(script=True)
def ddp() -> str:
    """devices=2, strategy="ddp": exact steps, each row on one rank, as on one process."""
    module, data = new_model(), new_data(batch_size=15)
    watch = Watch(save="watch")
    trainer = new_trainer(devices=2, strategy="ddp", callbacks=[watch])
    trainer.fit(module, datamodule=data)
    trainer.strategy.barrier()
    torch.distributed.destroy_process_group()  # what follows looks at whole data
    if trainer.global_rank:
        return "the other rank"
    watches = saved_watches("watch")
    seen = expect_exact_steps(module, watches)
    val_loss = float(trainer.callback_metrics["val/loss"])
    batches = iterate(ready_data(batch_size=15).val_dataloader())
    expect_close(val_loss, plain_scores(module, batches)["loss"], "val/loss")
    return f"{seen}, {expect_shared_epochs(watches, ready_data())} texts"


@use
def ddp_fork() -> str:
    """strategy="ddp_fork": afterwards the module has the trained weights; a second fit goes on."""
    module = new_model()
    _, watches = on_two("ddp_fork", module, new_data())
    after = weights(module)
    expect_close(
        after["transformer.wte.weight"],
        watches[0].epoch_ends[-1]["model.transformer.wte.weight"],
        "the embedding after fit",
        0.0,
    )
    _, again = on_two("ddp_fork", module, new_data())
    first, later = watches[0].logged_losses[0], again[0].logged_losses[0]
    expect(later < first - 0.5, f"train/loss began with {first}, the second fit with {later}")
    return f"train/loss begins with {first:.2f}, then {later:.2f}"


@use
def ddp_notebook() -> str:
    """strategy="ddp_notebook": validate finds the val/loss of fit, save_checkpoint works."""
    module, data = new_model(), new_data()
    trainer, _ = on_two("ddp_notebook", module, data, max_epochs=3)
    fitted = float(trainer.callback_metrics["val/loss"])
    batches = list(iterate(ready_data().val_dataloader()))
    expect_close(plain_scores(module, batches)["loss"], fitted, "val/loss of the module")
    trainer.save_checkpoint("after.ckpt")
    loaded = EmojiGPT2.load_from_checkpoint("after.ckpt", map_location="cpu")
    expect_same_weights(weights(loaded), weights(module))
    (found,) = new_trainer().validate(module, datamodule=new_data())
    expect_close(found["val/loss"], fitted, "val/loss of validate")
    return f"val/loss {fitted:.3f} each time"


@use
def ddp_spawn() -> str:
    """strategy="ddp_spawn": afterwards the module has the trained weights."""
    module = new_model()
    _, watches = on_two("ddp_spawn", module, new_data())
    trained_rows = watches[0].epoch_ends[-1]["model.transformer.wte.weight"]
    expect_close(weights(module)["transformer.wte.weight"], trained_rows, "the embedding", 0.0)
    return expect_exact_steps(module, watches)


@use
def use_distributed_sampler_on_two() -> str:
    """use_distributed_sampler True, then False, on two ranks: each row once, the same weights."""
    fits = []
    for option in (True, False):
        module, data = new_model(), new_data(batch_size=15)
        _, watches = on_two("ddp_fork", module, data, use_distributed_sampler=option)
        expect_shared_epochs(watches, ready_data(batch_size=15))
        fits.append(watches[0].epoch_ends[-1])
    expect_same_weights(fits[0], fits[1])
    return "each text once an epoch, bit for bit"


@use
def accumulate_on_two() -> str:
    """Two ranks, accumulate 3, an odd number of rows: the mean over the whole step's tokens."""
    data = new_data(batch_size=7)
    module = new_model()
    _, watches = on_two("ddp_fork", module, data, accumulate_grad_batches=3)
    expect_shared_epochs(watches, ready_data(batch_size=7))
    return expect_exact_steps(module, watches, most=12)


@use
def accumulate_cut_by_limit_on_two() -> str:
    """Two ranks, accumulate 2, limit_train_batches=3: the cut window is a mean too."""
    module = new_model()
    _, watches = on_two(
        "ddp_fork",
        module,
        new_data(batch_size=8),
        accumulate_grad_batches=2,
        limit_train_batches=3,
    )
    expect_equal(len(watches[0].steps), 4, "steps")
    return expect_exact_steps(module, watches)


@use
def clip_on_two() -> str:
    """Two ranks, gradient_clip_val=0.01, accumulate 2: the mean is clipped."""
    module = new_model()
    _, watches = on_two(
        "ddp_fork",
        module,
        new_data(batch_size=8),
        gradient_clip_val=0.01,
        accumulate_grad_batches=2,
        max_epochs=1,
    )
    return expect_exact_steps(module, watches, clip=0.01)


@use
def rank_without_rows() -> str:
    """Two ranks and batch_size=1: one has no row in any step; the steps stay exact."""
    module = new_model()
    _, watches = on_two("ddp_fork", module, new_data(batch_size=1), max_steps=4)
    return expect_exact_steps(module, watches)


@use
def bf16_on_two() -> str:
    """Two ranks, bf16-mixed, accumulate 2: gradients near those of float32."""
    module = new_model()
    _, watches = on_two(
        "ddp_fork",
        module,
        new_data(batch_size=8),
        precision="bf16-mixed",
        accumulate_grad_batches=2,
        max_epochs=1,
    )
    return expect_exact_steps(module, watches, tolerance=0.05)


@use
def train_loss_on_two() -> str:
    """Two ranks, accumulate 2: train/loss is the step's mean over both, on both."""
    module = new_model()
    _, watches = on_two(
        "ddp_fork", module, new_data(batch_size=9), accumulate_grad_batches=2, log_every_n_steps=1
    )
    ends = [watch.logged_losses[1::2][:2] for watch in watches]
    for number in range(2):
        batches = [batch for watch in watches for batch in watch.window(number)]
        _, mean = plain_gradients(module, watches[0].steps[number].before, batches)
        expect_close([losses[number] for losses in ends], [mean, mean], f"step {number}")
    return "2 steps, both ranks"


@use
def loaders_on_two() -> str:
    """fit(model, loaders) of a data module set up before the ranks are there: each row once."""
    data = ready_data(batch_size=15)
    module, watch = new_model(), Watch(save="watch")
    trainer = new_trainer(devices=2, strategy="ddp_fork", callbacks=[watch])
    trainer.fit(module, data.train_dataloader(), data.val_dataloader())
    watches = saved_watches("watch")
    expect_shared_epochs(watches, ready_data(batch_size=15))
    return expect_exact_steps(module, watches)


@use
def validation_on_two() -> str:
    """Trainer.validate on two ranks: each text once, the metrics of one process."""
    module = new_model()
    trainer = new_trainer(devices=2, strategy="ddp_fork")
    (found,) = trainer.validate(module, datamodule=new_data(batch_size=5))
    (alone,) = new_trainer().validate(module, datamodule=new_data(batch_size=5))
    for name, value in alone.items():
        expect_close(found[name], value, name, 1e-6)
    return f"val/mrr {found['val/mrr']:.4f}"


@use
def predict_on_two() -> str:
    """Trainer.predict on two ranks, BasePredictionWriter: each text once, as on one process."""

    class Writer(BasePredictionWriter):
        def write_on_epoch_end(
            self, trainer: Trainer, pl_module: LightningModule, predictions: Any, indices: Any
        ) -> None:
            best = [int(ids[0]) for batch in predictions for ids in batch[0]]
            torch.save(best, f"rank{trainer.global_rank}.pt")

    module = new_model()
    texts = [(text, "") for text, _ in rows(21)]
    data = new_data(predict_path=_prompts(texts), batch_size=4)
    trainer = new_trainer(
        devices=2, strategy="ddp_fork", callbacks=[Writer(write_interval="epoch")]
    )
    trainer.predict(module, datamodule=data, return_predictions=False)
    both = [token for rank in range(2) for token in torch.load(f"rank{rank}.pt")]
    alone = new_trainer().predict(module, datamodule=new_data(predict_path="prompts.csv"))
    wanted = [int(ids[0]) for batch in alone or [] for ids in batch[0]]
    expect_equal(sorted(both), sorted(wanted), "best emoji of all texts")
    return f"{len(both)} texts"


def _prompts(texts: list[tuple[str, str]]) -> str:
    lines = "\n".join(["text", *(text for text, _ in texts)])
    Path("prompts.csv").write_text(f"{lines}\n", encoding="utf-8")
    return "prompts.csv"


@use
def checkpoint_of_two() -> str:
    """A ModelCheckpoint of two ranks: it loads, and one process goes on with it."""
    module = new_model()
    keep = ModelCheckpoint(".", "kept")
    _, watches = on_two("ddp_fork", module, new_data(), (keep,))
    loaded = EmojiGPT2.load_from_checkpoint("kept.ckpt", map_location="cpu")
    expect_close(
        weights(loaded)["transformer.wte.weight"],
        watches[0].epoch_ends[-1]["model.transformer.wte.weight"],
        "the embedding",
        0.0,
    )
    fit = trained(new_model(), ckpt_path="kept.ckpt", max_epochs=3)
    first = load("kept.ckpt")["global_step"]
    expect_equal(fit.watch.batches[0].epoch, 2, "epoch that it goes on with")
    return expect_exact_steps(fit.module, fit.watch, first=first)


@use
def early_stopping_on_two() -> str:
    """EarlyStopping on two ranks: both end after the epoch that one process would."""
    stop = EarlyStopping("val/loss", patience=1, min_delta=10.0)
    _, watches = on_two("ddp_fork", new_model(), new_data(), (stop,), max_epochs=8)
    expect_equal([len(watch.epoch_ends) for watch in watches], [2, 2], "epochs")
    return "2 epochs on both"


class FoundLosses(Callback):
    """Write down what a LearningRateFinder saw.

    Args:
        finder: It.
    """

    def __init__(self, finder: LearningRateFinder) -> None:
        self.finder = finder

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write it on each rank: they agree."""
        assert self.finder.optimal_lr is not None
        torch.save(self.finder.optimal_lr.results["loss"], f"losses-{trainer.world_size}.pt")


@use
def learning_rate_finder_on_two() -> str:
    """LearningRateFinder on two ranks sees nearly the losses that it sees on one process."""
    for devices, strategy in ((2, "ddp_fork"), (1, "auto")):
        finder = LearningRateFinder(num_training_steps=40)
        new_trainer(
            devices=devices,
            strategy=strategy,
            callbacks=[finder, FoundLosses(finder)],
            limit_val_batches=0,
        ).fit(new_model(), datamodule=larger_data())
    two, one = (torch.load(f"losses-{devices}.pt") for devices in (2, 1))
    expect_close(two, one, "losses", 0.1)
    return f"{len(one)} losses"


class OwnStep(EmojiGPT2):
    """A subclass with a training step of its own, which returns a mean."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Return the mean over the micro-batch's tokens."""
        logits_NV = self(batch.ids_BT, batch.positions_N)
        return torch.nn.functional.cross_entropy(logits_NV, self.candidate_index[batch.labels_N])


@use
def own_training_step_on_two() -> str:
    """A subclass's training_step returning a mean, on two ranks: the mean of the ranks' means."""
    module = new_model(OwnStep)
    _, watches = on_two("ddp_fork", module, new_data(), max_steps=3, max_epochs=-1)
    for number, step in enumerate(watches[0].steps):
        grads = [plain_gradients(module, step.before, w.window(number))[0] for w in watches]
        for name, got in step.gradients.items():
            wanted = (grads[0][name] + grads[1][name]) / 2
            expect_close(got, wanted, f"step {number}, {name}", 1e-3)
    return "3 steps"


@use
def fsdp_on_cpu() -> str:
    """strategy="fsdp" on a CPU: Lightning refuses it."""
    return refused(lambda: new_trainer(strategy="fsdp", devices=2), "FSDP")


@use
def devices_auto() -> str:
    """devices="auto" on the CPU: one process, the same weights."""
    expect_same_weights(trained(devices="auto").weights, trained().weights)
    return "bit for bit"


@use
def find_unused_parameters() -> str:
    """strategy="ddp_fork_find_unused_parameters_true": exact steps."""
    module = new_model()
    _, watches = on_two("ddp_fork_find_unused_parameters_true", module, new_data(), max_epochs=1)
    return expect_exact_steps(module, watches)
