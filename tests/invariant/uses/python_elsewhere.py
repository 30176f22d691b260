"""The parts outside of a Trainer: plain loops, torch.distributed, Fabric, LightningCLI."""

import multiprocessing
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.pytorch.cli import LightningCLI
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, AdamW

from emoji_gpt2 import EmojiDataModule, EmojiGPT2
from tests.invariant.uses.commands import MODEL, TRAINER
from tests.invariant.uses.harness import (
    add,
    expect,
    expect_close,
    expect_equal,
    use,
)
from tests.invariant.uses.judge import expected_rates
from tests.invariant.uses.tiny import (
    new_data,
    new_model,
    ready,
    ready_data,
    rows,
    trained,
    write_prompts,
    write_table,
)
from tests.invariant.uses.watch import (
    iterate,
    plain_gradients,
    plain_network,
    plain_scores,
    texts_in,
    texts_of,
)


def training_orders(data: EmojiDataModule, loader: Any = None, epochs: int = 2) -> list[list[str]]:
    """Return the texts of some epochs, of one loader or a new one for each."""
    return [texts_in(loader or data.train_dataloader(), data.tokenizer) for _ in range(epochs)]


@use
def loop_over_loaders() -> str:
    """A loader for each epoch: other orders; one iterated three times: the orders that fit has."""
    data, fit = ready_data(), trained(max_epochs=3)
    wanted = [fit.watch.texts(epoch) for epoch in range(3)]
    one, two, three = training_orders(data, epochs=3)
    expect_equal([sorted(two), sorted(three)], [sorted(one)] * 2, "texts")
    expect(one != two != three != one, "two epochs have the same order")
    data = ready_data()
    loader: Any = data.train_dataloader()
    expect_equal(training_orders(data, loader, 3), wanted, "texts of one loader")
    expect(loader.batch_size in (None, 16), f"batch_size is {loader.batch_size}")
    expect_equal(len(loader), len(list(loader)), "length")
    expect_equal(len(loader.dataset), len(wanted[0]), "rows of the dataset")
    return "3 orders"


@use
def loop_left_early() -> str:
    """A loop that breaks off: the next begins a whole epoch, not the rest of the last."""
    data = ready_data()
    loader = data.train_dataloader()
    for _ in loader:
        break
    rest, whole = training_orders(data, loader)
    expect_equal(sorted(rest), sorted(whole), "texts")
    return f"{len(rest)} texts"


def _named(network: nn.Module) -> dict[str, nn.Parameter]:
    return {f"model.{name}": parameter for name, parameter in network.named_parameters()}


@use
def loop_with_loss() -> str:
    """A plain loop over model(...) and model.loss with SGD: the steps of a plain GPT-2."""
    data, model = ready_data(), new_model()
    optimizer = SGD(model.parameters(), lr=0.5)
    network = plain_network(model)
    plain = SGD(network.parameters(), lr=0.5)
    for number, batch in enumerate(data.train_dataloader()):
        optimizer.zero_grad()
        nats, tokens = model.loss(model(batch.ids_BT, batch.positions_N), batch)
        (nats / tokens).backward()
        optimizer.step()
        wanted, _ = plain_gradients(model, dict(_named(network)), [batch])
        for name, parameter in _named(network).items():
            parameter.grad = wanted[name]
        plain.step()
        ours = _named(model.model)
        for name, parameter in _named(network).items():
            expect_close(ours[name].detach(), parameter.detach(), f"{name}, step {number}")
    return f"{number + 1} steps"


@use
def loop_with_training_step() -> str:
    """A plain loop over training_step and configure_optimizers: the mean; the rates."""
    data, model = ready_data(), new_model()
    made: Any = model.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    rates = []
    for number, batch in enumerate(data.train_dataloader()):
        _, mean = plain_gradients(model, dict(model.named_parameters()), [batch])
        loss = model.training_step(batch, number)
        expect_close(loss.detach(), mean, f"loss of step {number}")
        optimizer.zero_grad()
        loss.backward()
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    expect_close(rates, expected_rates(0.01, 2, None, len(rates)), "rates")
    return f"{len(rates)} steps"


@use
def loop_with_validation_step() -> str:
    """A plain loop over validation_step: it runs, and val_metrics has the numbers."""
    data, model = ready_data(), new_model().eval()
    with torch.no_grad():
        for number, batch in enumerate(data.val_dataloader()):
            model.validation_step(batch, number)
    wanted = plain_scores(model, data.val_dataloader())
    for name, metric in model.val_metrics.named().items():
        expect_close(metric.compute(), wanted[name], name)
    return f"mrr {wanted['mrr']:.3f}"


@use
def fabric_on_one() -> str:
    """Fabric on one process: training_step is the batch's mean; with our loss, the loss falls."""
    fabric, data, module = Fabric(accelerator="cpu", devices=1), ready_data(), new_model()
    model, optimizer = fabric.setup(module, AdamW(module.parameters(), lr=0.01))
    model.mark_forward_method("training_step")
    (batch, *_) = data.train_dataloader()
    _, mean = plain_gradients(module, dict(module.named_parameters()), [batch])
    expect_close(model.training_step(batch, 0).detach(), mean, "loss of training_step")
    losses = []
    for _ in range(3):
        for batch in data.train_dataloader():
            optimizer.zero_grad()
            nats, tokens = module.loss(model(batch.ids_BT, batch.positions_N), batch)
            fabric.backward(nats / tokens)
            optimizer.step()
            losses.append(float((nats / tokens).detach()))
    expect(losses[-1] < losses[0] - 1, f"the loss went from {losses[0]} to {losses[-1]}")
    return f"{losses[0]:.2f} to {losses[-1]:.2f}"


def keep_texts(rank: int, data: EmojiDataModule | None = None, loader: Any = None) -> None:
    """Write down what one of two ranks trains and validates on."""
    data = data or ready_data(batch_size=15)
    orders = training_orders(data, loader)
    torch.save((orders, texts_in(data.val_dataloader(), data.tokenizer)), f"{rank}.pt")


def in_two_processes(function: Callable[[int], None]) -> None:
    """Run a function in two processes of a gloo group."""
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=_join_group, args=(function, rank)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    if any(process.exitcode for process in ranks):
        raise RuntimeError(f"ranks ended with {[process.exitcode for process in ranks]}")


def _join_group(function: Callable[[int], None], rank: int) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{Path('group').resolve()}", rank=rank, world_size=2
    )
    function(rank)
    dist.barrier()
    dist.destroy_process_group()


def by_fabric() -> None:
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_fork")
    fabric.launch(lambda fabric: keep_texts(fabric.global_rank))


def with_loader_made_before() -> None:
    data = ready_data(batch_size=15)
    in_two_processes(partial(keep_texts, data=data, loader=data.train_dataloader()))


def shares(start: Callable[[], None]) -> str:
    """Expect both ranks to have each training and validation text once together."""
    start()
    ranks = [torch.load(f"{rank}.pt") for rank in range(2)]
    data = ready_data(batch_size=15)
    (wanted,) = training_orders(data, epochs=1)
    for epoch in range(2):
        got = sorted(text for orders, _ in ranks for text in orders[epoch])
        expect_equal(got, sorted(wanted), f"texts of epoch {epoch} on both")
    expect(ranks[0][0][0] != ranks[0][0][1], "both epochs have the same order")
    held = sorted(text for _, texts in ranks for text in texts)
    expect_equal(held, sorted(texts_in(data.val_dataloader(), data.tokenizer)), "validation texts")
    return f"{len(wanted)} texts on two ranks"


for name, start, text in (
    ("fabric_on_two", by_fabric, "Fabric on two processes"),
    ("plain_distributed", partial(in_two_processes, keep_texts), "torch.distributed alone"),
    ("loader_before_the_group", with_loader_made_before, "A loader made before the group"),
):
    add(__name__, name, f"{text}: each row on one rank, others each epoch.", partial(shares, start))


def _trains_in_ddp(rank: int) -> None:
    data, module = ready_data(batch_size=15), new_model()
    model = DistributedDataParallel(module)
    (batch, *_) = data.train_dataloader()
    nats, tokens = module.loss(model(batch.ids_BT, batch.positions_N), batch)
    count = torch.as_tensor(tokens).clone()
    dist.all_reduce(count)
    (nats * 2 / count).backward()
    torch.save((batch, {n: p.grad for n, p in module.named_parameters()}), f"ddp-{rank}.pt")


@use
def plain_ddp() -> str:
    """A torch DistributedDataParallel around the module: the mean over both ranks' tokens."""
    in_two_processes(_trains_in_ddp)
    (one, gradients), (two, _) = (
        torch.load(f"ddp-{rank}.pt", weights_only=False) for rank in range(2)
    )
    model = new_model()
    shared = set(texts_of(one, model.tokenizer)) & set(texts_of(two, model.tokenizer))
    expect_equal(shared, set(), "texts that both ranks have")
    wanted, _ = plain_gradients(model, dict(model.named_parameters()), [one, two])
    for name, gradient in gradients.items():
        expect_close(gradient, wanted[name], name, 1e-3)
    return f"{len(one.first_B)} and {len(two.first_B)} rows"


@use
def setup_without_stage() -> str:
    """data.setup() without a stage: training, validation, test and prediction rows are there."""
    write_prompts(5)
    data = new_data(predict_path="prompts.csv")
    data.prepare_data()
    data.setup()
    loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    counts = [sum(len(batch.first_B) for batch in iterate(loader)) for loader in loaders]
    expect_equal(sum(counts), 96, "rows of the table")
    predicted = sum(len(batch.first_B) for batch in data.predict_dataloader())
    expect_equal(predicted, 5, "texts to predict")
    return f"{counts} and 5"


@use
def data_module_from_checkpoint() -> str:
    """data.hparams; EmojiDataModule.load_from_checkpoint: a data module with the run's options."""
    fit = trained(data=new_data(batch_size=8, seed=3, max_length=32))
    data = EmojiDataModule.load_from_checkpoint(fit.saved())
    for one in (fit.data, data):
        found = {name: one.hparams.get(name) for name in ("batch_size", "seed", "max_length")}
        expect_equal(found, {"batch_size": 8, "seed": 3, "max_length": 32}, "hyper-parameters")
    (texts,) = training_orders(ready(data), epochs=1)
    expect_equal(sorted(texts), sorted(fit.watch.texts(0)), "texts")
    return "batch_size 8, seed 3, the same rows"


SGD_FLAGS = ["--optimizer=SGD", "--optimizer.lr=0.5", "--lr_scheduler=StepLR",
             "--lr_scheduler.step_size=1", "--lr_scheduler.gamma=0.1"]  # fmt: skip


def own_cli(*words: str, model: Any = EmojiGPT2, **options: Any) -> LightningCLI:
    """Run a LightningCLI that a user wrote, with the flags of a tiny run."""
    write_table(rows())
    data = ["--data.path=table.csv", "--data.batch_size=16", "--data.val_fraction=0.2"]
    others = ["--data.cache_dir=../cache", "--trainer.max_epochs=2", "--trainer.logger=false"]
    sys.argv = ["train.py", *words[:1], *data, *others, *TRAINER, *words[1:]]
    return LightningCLI(model, EmojiDataModule, save_config_callback=None, **options)


def expect_measured(cli: LightningCLI) -> str:
    wanted = plain_scores(cli.model, cli.datamodule.val_dataloader())["loss"]
    expect_close(cli.trainer.callback_metrics["val/loss"], wanted, "val/loss")
    expect_equal(cli.trainer.global_step, 10, "steps")
    return f"val/loss {wanted:.3f}"


@use
def own_lightning_cli() -> str:
    """LightningCLI(EmojiGPT2, EmojiDataModule) fit: val/loss is that of its last weights."""
    return expect_measured(own_cli("fit", *MODEL))


@use
def own_lightning_cli_without_run() -> str:
    """LightningCLI(run=False), then cli.trainer.fit by hand: the same."""
    cli = own_cli(*MODEL, run=False)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    return expect_measured(cli)


@use
def own_lightning_cli_optimizer() -> str:
    """The same with --optimizer SGD --lr_scheduler: these are used on all parameters."""
    cli = own_cli("fit", *MODEL, *SGD_FLAGS)
    (optimizer,) = cli.trainer.optimizers
    expect_equal(type(optimizer).__name__, "SGD", "optimizer")
    expect_close(optimizer.param_groups[0]["lr"], 0.5 * 0.1**2, "rate after two epochs")
    held = sum(len(group["params"]) for group in optimizer.param_groups)
    expect_equal(held, len(list(cli.model.parameters())), "parameters of the optimizer")
    return f"SGD of {held} parameters"
