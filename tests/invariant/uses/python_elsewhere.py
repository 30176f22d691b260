"""The parts outside of a Trainer: plain loops, torch.distributed, Fabric, LightningCLI."""

import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.pytorch.cli import LightningCLI
from torch import distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, AdamW
from transformers import GPT2LMHeadModel

from emoji_gpt2 import EmojiDataModule, EmojiGPT2
from tests.invariant.uses.harness import (
    Refusal,
    expect,
    expect_close,
    expect_equal,
    one_line,
    use,
)
from tests.invariant.uses.tiny import (
    QUIET,
    TINY,
    new_data,
    new_model,
    ready_data,
    rows,
    trained,
    weights,
    write_table,
)
from tests.invariant.uses.watch import (
    expected_rates,
    iterate,
    plain_gradients,
    plain_network,
    plain_scores,
    texts_of,
)


def epoch_texts(data: EmojiDataModule, loader: Any) -> list[str]:
    """Return the texts of an iteration."""
    return [text for batch in loader for text in texts_of(batch, data.tokenizer)]


@use
def loop_makes_a_loader_each_epoch() -> str:
    """`for batch in data.train_dataloader()` in each epoch: another order each time."""
    data = ready_data()
    orders = [epoch_texts(data, data.train_dataloader()) for _ in range(3)]
    expect_equal([sorted(order) for order in orders[1:]], [sorted(orders[0])] * 2, "texts")
    expect(orders[0] != orders[1] != orders[2] != orders[0], "two epochs have the same order")
    return "3 orders"


@use
def loop_over_one_loader() -> str:
    """One loader iterated three times: the orders that fit has."""
    data, fit = ready_data(), trained(max_epochs=3)
    loader = data.train_dataloader()
    orders = [epoch_texts(data, loader) for _ in range(3)]
    expect_equal(orders, [fit.watch.texts(epoch) for epoch in range(3)], "texts")
    return "3 orders"


@use
def loop_left_early() -> str:
    """A loop that breaks off: the next begins a whole epoch, not the rest of the last."""
    data = ready_data()
    loader = data.train_dataloader()
    for _ in loader:
        break
    rest, whole = epoch_texts(data, loader), epoch_texts(data, loader)
    expect_equal(sorted(rest), sorted(whole), "texts")
    return f"{len(rest)} texts"


@use
def readme_loop() -> str:
    """The README's loop with a bare GPT-2: the loss is that of its full forward pass."""
    data = ready_data()
    torch.manual_seed(0)
    gpt2 = GPT2LMHeadModel(plain_network(new_built()).config).eval()
    gpt2.resize_token_embeddings(len(data.tokenizer), mean_resizing=False)
    for batch in data.train_dataloader():
        hidden = gpt2.transformer(batch.ids_BT, use_cache=False).last_hidden_state
        logits = gpt2.lm_head(hidden.flatten(0, 1)[batch.positions_N])
        loss = F.cross_entropy(logits, batch.labels_N)
        grid = torch.full((batch.ids_BT.numel(),), -100)
        grid[batch.positions_N] = batch.labels_N
        wanted = F.cross_entropy(gpt2(batch.ids_BT).logits.flatten(0, 1), grid)
        expect_close(loss.detach(), wanted.detach(), "loss", 1e-5)
    return f"loss {float(loss):.3f}"


def new_built() -> EmojiGPT2:
    """Return a model whose network is there: before it was built in __init__, it took a call."""
    model = new_model()
    if not hasattr(model, "model"):
        model.configure_model()
    return model


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
        named = {n.removeprefix("model."): p for n, p in model.named_parameters()}
        wanted, _ = plain_gradients(model, {f"model.{n}": p for n, p in _named(network)}, [batch])
        for name, parameter in _named(network):
            parameter.grad = wanted[f"model.{name}"]
        plain.step()
        for name, parameter in _named(network):
            expect_close(named[name].detach(), parameter.detach(), f"{name}, step {number}", 1e-4)
    return f"{number + 1} steps"


def _named(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return list(network.named_parameters())


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
def loop_with_predict_step() -> str:
    """predict_step outside of a trainer: probabilities that sum up to at most 1, best first."""
    data, model = ready_data(), new_model().eval()
    (batch, *_) = data.val_dataloader()
    ids, shares = model.predict_step(batch, 0)
    expect(bool((shares.diff(dim=1) <= 0).all() and (shares.sum(1) <= 1).all()), "not in order")
    network = plain_network(model)
    logits = network(batch.ids_BT).logits.flatten(0, 1)[batch.first_B]
    best = logits[:, model.candidate_ids[1:]].argmax(1)
    expect_equal(ids[:, 0].tolist(), model.candidate_ids[1:][best].tolist(), "best emoji")
    return f"{len(ids)} texts"


@use
def fabric_on_one() -> str:
    """Fabric on one process: the loss falls, each batch's loss is its mean."""
    fabric = Fabric(accelerator="cpu", devices=1)
    data, module = ready_data(), new_built()
    model, optimizer = fabric.setup(module, AdamW(module.parameters(), lr=0.01))
    losses = []
    for _ in range(3):
        for batch in data.train_dataloader():
            optimizer.zero_grad()
            nats, tokens = module.loss(model(batch.ids_BT, batch.positions_N), batch)
            loss = nats / tokens
            fabric.backward(loss)
            optimizer.step()
            losses.append(float(loss.detach()))
    expect(losses[-1] < losses[0] - 1, f"the loss went from {losses[0]} to {losses[-1]}")
    return f"{losses[0]:.2f} to {losses[-1]:.2f}"


@use
def fabric_with_training_step() -> str:
    """training_step within Fabric: the batch's mean."""
    fabric = Fabric(accelerator="cpu", devices=1)
    data, module = ready_data(), new_built()
    wanted = plain_network(module)
    model, optimizer = fabric.setup(module, SGD(module.parameters(), lr=0.1))
    model.mark_forward_method("training_step")
    (batch, *_) = data.train_dataloader()
    loss = model.training_step(batch, 0)
    named = {f"model.{name}": p for name, p in wanted.named_parameters()}
    _, mean = plain_gradients(module, named, [batch])
    expect_close(loss.detach(), mean, "loss")
    fabric.backward(loss)
    optimizer.step()
    return f"loss {mean:.3f}"


@use
def fabric_setup_dataloaders() -> str:
    """Fabric.setup_dataloaders of our loader: its batches, or Fabric's own refusal."""
    fabric, data = Fabric(accelerator="cpu", devices=1), ready_data()
    try:
        loader = fabric.setup_dataloaders(data.train_dataloader())  # type: ignore[arg-type]
    except TypeError as error:
        return Refusal(one_line(error, 120))
    expect_equal(len(epoch_texts(data, loader)), len(set(epoch_texts(data, loader))), "texts")
    return "its batches"


def _fabric_rank(fabric: Fabric) -> None:
    data = ready_data(batch_size=15)
    orders = [epoch_texts(data, data.train_dataloader()) for _ in range(2)]
    held = epoch_texts(data, data.val_dataloader())
    torch.save((orders, held), f"fabric-{fabric.global_rank}.pt")


@use
def fabric_on_two() -> str:
    """Fabric on two processes: each row on one of them, in another order each epoch."""
    Fabric(accelerator="cpu", devices=2, strategy="ddp_fork").launch(_fabric_rank)
    return expect_shares([torch.load(f"fabric-{rank}.pt") for rank in range(2)])


def expect_shares(ranks: list[Any]) -> str:
    """Expect both ranks to have each training and validation text once together."""
    data = ready_data(batch_size=15)
    wanted = sorted(epoch_texts(data, data.train_dataloader()))
    for epoch in range(2):
        got = sorted(text for orders, _ in ranks for text in orders[epoch])
        expect_equal(got, wanted, f"texts of epoch {epoch} on both")
    expect(ranks[0][0][0] != ranks[0][0][1], "both epochs have the same order")
    held = sorted(text for _, texts in ranks for text in texts)
    expect_equal(held, sorted(epoch_texts(data, data.val_dataloader())), "validation texts")
    return f"{len(wanted)} texts on two ranks"


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
    dist.init_process_group("gloo", init_method="file://" + str(Path("group").resolve()),
                            rank=rank, world_size=2)  # fmt: skip
    function(rank)
    dist.barrier()
    dist.destroy_process_group()


def _loads_rows(rank: int) -> None:
    data = ready_data(batch_size=15)
    orders = [epoch_texts(data, data.train_dataloader()) for _ in range(2)]
    held = epoch_texts(data, data.val_dataloader())
    torch.save((orders, held), f"plain-{rank}.pt")


@use
def plain_distributed() -> str:
    """torch.distributed alone, two gloo processes: each row on one, another order each epoch."""
    in_two_processes(_loads_rows)
    return expect_shares([torch.load(f"plain-{rank}.pt") for rank in range(2)])


_LOADERS: list[Any] = []


def _uses_loader_made_before(rank: int) -> None:
    data, loader = _LOADERS
    orders = [epoch_texts(data, loader) for _ in range(2)]
    held = epoch_texts(data, data.val_dataloader())
    torch.save((orders, held), f"before-{rank}.pt")


@use
def loader_made_before_the_group() -> str:
    """A loader made before init_process_group: it shards when it is iterated."""
    data = ready_data(batch_size=15)
    _LOADERS.extend((data, data.train_dataloader()))
    in_two_processes(_uses_loader_made_before)
    return expect_shares([torch.load(f"before-{rank}.pt") for rank in range(2)])


def _trains_in_ddp(rank: int) -> None:
    data, module = ready_data(batch_size=15), new_built()
    model = DistributedDataParallel(module)
    (batch, *_) = data.train_dataloader()
    start = {name: p.detach().clone() for name, p in module.named_parameters()}
    nats, tokens = module.loss(model(batch.ids_BT, batch.positions_N), batch)
    count = torch.as_tensor(tokens).clone()
    dist.all_reduce(count)
    (nats * 2 / count).backward()
    gradients = {n: p.grad for n, p in module.named_parameters()}
    torch.save((batch, start, gradients), f"ddp-{rank}.pt")


@use
def plain_ddp() -> str:
    """A torch DistributedDataParallel around the module: the mean over both ranks' tokens."""
    in_two_processes(_trains_in_ddp)
    (one, start, gradients), (two, _, _) = (
        torch.load(f"ddp-{rank}.pt", weights_only=False) for rank in range(2)
    )
    tokenizer = (model := new_built()).tokenizer
    shared = set(texts_of(one, tokenizer)) & set(texts_of(two, tokenizer))
    expect_equal(shared, set(), "texts that both ranks have")
    wanted, _ = plain_gradients(model, start, [one, two])
    for name, gradient in gradients.items():
        expect_close(gradient, wanted[name], name, 1e-3)
    return f"{len(one.first_B)} and {len(two.first_B)} rows"


@use
def setup_without_stage() -> str:
    """data.setup() without a stage: training, validation, test and prediction rows are there."""
    lines = "\n".join(["text", *(text for text, _ in rows(5))])
    Path("prompts.csv").write_text(f"{lines}\n", encoding="utf-8")
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
def data_module_hyper_parameters() -> str:
    """data.hparams: what it was made with."""
    data = new_data(batch_size=8, seed=3, max_length=32)
    found = {name: data.hparams.get(name) for name in ("batch_size", "seed", "max_length")}
    expect_equal(found, {"batch_size": 8, "seed": 3, "max_length": 32}, "hyper-parameters")
    return f"{found}"


@use
def data_module_from_checkpoint() -> str:
    """EmojiDataModule.load_from_checkpoint: a data module with the run's options."""
    fit = trained(data=new_data(batch_size=8, seed=3))
    fit.trainer.save_checkpoint("a.ckpt")
    data = EmojiDataModule.load_from_checkpoint("a.ckpt")
    expect_equal((data.batch_size, data.seed), (8, 3), "batch_size and seed")
    data.prepare_data()
    data.setup("fit")
    expect_equal(sorted(epoch_texts(data, data.train_dataloader())), sorted(fit.watch.texts(0)), "")
    return "batch_size 8, seed 3, the same rows"


@use
def loader_attributes() -> str:
    """A loader's dataset and length, and a batch_size: what a callback may ask."""
    data = ready_data()
    loader: Any = data.train_dataloader()
    expect(loader.batch_size in (None, 16), f"batch_size is {loader.batch_size}")
    expect_equal(len(loader), len(list(loader)), "length")
    expect_equal(len(loader.dataset), sum(len(b.first_B) for b in loader), "rows of the dataset")
    return f"{len(loader)} batches of {loader.batch_size}"


def own_cli(*words: str, model: Any = EmojiGPT2) -> LightningCLI:
    """Run a LightningCLI that a user wrote, with the flags of a tiny run."""
    write_table(rows())
    flags = {
        "data.path": "table.csv",
        "data.batch_size": 16,
        "data.val_fraction": 0.2,
        "data.cache_dir": "../cache",
        "trainer.max_epochs": 2,
        **{f"trainer.{name}": str(value).lower() for name, value in QUIET.items()},
    }
    base = [f"--{name}={value}" for name, value in flags.items()]
    sys.argv = ["train.py", words[0], *base, *words[1:]]
    return LightningCLI(model, EmojiDataModule, save_config_callback=None)


TINY_FLAGS = [f"--model.config.{name}={value}" for name, value in TINY.items()]
MODEL_FLAGS = [*TINY_FLAGS, "--model.dropout=0", "--model.learning_rate=0.01",
               "--model.warmup_steps=2"]  # fmt: skip


@use
def own_lightning_cli() -> str:
    """LightningCLI(EmojiGPT2, EmojiDataModule) fit: val/loss is that of its last weights."""
    cli = own_cli("fit", *MODEL_FLAGS)
    wanted = plain_scores(cli.model, cli.datamodule.val_dataloader())["loss"]
    expect_close(cli.trainer.callback_metrics["val/loss"], wanted, "val/loss")
    expect_equal(cli.trainer.global_step, 10, "steps")
    return f"val/loss {wanted:.3f}"


@use
def own_lightning_cli_optimizer() -> str:
    """The same with --optimizer SGD --lr_scheduler: these are used on all parameters."""
    cli = own_cli(
        "fit", *MODEL_FLAGS, "--optimizer=SGD", "--optimizer.lr=0.5",
        "--lr_scheduler=StepLR", "--lr_scheduler.step_size=1", "--lr_scheduler.gamma=0.1",
    )  # fmt: skip
    (optimizer,) = cli.trainer.optimizers
    expect_equal(type(optimizer).__name__, "SGD", "optimizer")
    expect_close(optimizer.param_groups[0]["lr"], 0.5 * 0.1**2, "rate after two epochs")
    held = sum(len(group["params"]) for group in optimizer.param_groups)
    expect_equal(held, len(list(cli.model.parameters())), "parameters of the optimizer")
    return f"SGD of {held} parameters"


class Signature(EmojiGPT2):
    """A subclass with a signature of its own.

    Args:
        gamma: Of its own.
        config: As of EmojiGPT2.
        learning_rate: As of EmojiGPT2.
        warmup_steps: As of EmojiGPT2.
    """

    def __init__(
        self,
        gamma: float = 2.0,
        config: dict[str, Any] | None = None,
        learning_rate: float = 1e-3,
        warmup_steps: int = 2,
    ) -> None:
        super().__init__(
            config=config, learning_rate=learning_rate, warmup_steps=warmup_steps, dropout=0.0
        )
        self.gamma = gamma


@use
def own_lightning_cli_subclass() -> str:
    """LightningCLI of a subclass with a signature of its own: its checkpoint loads."""
    cli = own_cli("fit", *TINY_FLAGS, "--model.gamma=5", model=Signature)
    expect_equal(cli.trainer.global_step, 10, "steps")
    cli.trainer.save_checkpoint("a.ckpt")
    loaded = Signature.load_from_checkpoint("a.ckpt", map_location="cpu")
    expect_equal(loaded.gamma, 5.0, "gamma")
    expect_close(
        weights(loaded)["transformer.wte.weight"],
        weights(cli.model)["transformer.wte.weight"],
        "the embedding",
        0.0,
    )
    return "gamma 5, the same weights"


@use
def own_lightning_cli_without_run() -> str:
    """LightningCLI(run=False), then cli.trainer.fit by hand: the embedding is trained."""
    write_table(rows())
    base = ["--data.path=table.csv", "--data.batch_size=16", "--data.cache_dir=../cache"]
    quiet = [f"--trainer.{name}={str(value).lower()}" for name, value in QUIET.items()]
    sys.argv = ["train.py", *base, *quiet, "--trainer.max_epochs=1", *MODEL_FLAGS]
    cli = LightningCLI(EmojiGPT2, EmojiDataModule, run=False, save_config_callback=None)
    start = new_model()
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    moved = weights(cli.model)["transformer.wte.weight"]
    wanted = plain_scores(cli.model, cli.datamodule.val_dataloader())["loss"]
    expect_close(cli.trainer.callback_metrics["val/loss"], wanted, "val/loss")
    expect_equal(start.hparams["learning_rate"], cli.model.hparams["learning_rate"], "rate")
    return f"val/loss {wanted:.3f}, {len(moved):,} tokens"
