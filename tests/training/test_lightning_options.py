"""What Lightning's callbacks and options do to this module and its data: each, what it says."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    BasePredictionWriter,
    BatchSizeFinder,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelCheckpoint,
    ModelPruning,
    StochasticWeightAveraging,
)
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.tuner import Tuner
from lightning.pytorch.utilities import grad_norm
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

from emoji_gpt2.batch import Batch
from emoji_gpt2.data.datamodule import EmojiDataModule
from emoji_gpt2.model.module import EmojiGPT2
from emoji_gpt2.model.optim import warmup_cosine
from emoji_gpt2.tokenizer import decode_text
from tests.cli_runs import UPSTREAM
from tests.distributed.runs import finish, start
from tests.tiny import (
    NO_VALIDATION,
    RATE,
    WARMUP,
    Watch,
    all_rows,
    epoch_of,
    quiet_trainer,
    ready,
    same,
    tiny_data,
    tiny_model,
    weights,
)

pytestmark = [
    *NO_VALIDATION,
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning"),
    # Lightning's word for a hook that is a call per step, as it should be
    pytest.mark.filterwarnings(
        "ignore:When using `Trainer.accumulate_grad_batches != 1.` and overriding:UserWarning"
    ),
]
STEPS = 5
"""Of an epoch of ``small_csv``, 40 rows in batches of 8."""


def fit(
    model: EmojiGPT2, data: EmojiDataModule, folder: Path, *callbacks: Callback, **options: Any
) -> tuple[Trainer, Watch]:
    """Train, and look at each step."""
    ckpt_path = options.pop("ckpt_path", None)
    watch = Watch()
    trainer = quiet_trainer(folder, callbacks=[*callbacks, watch], **options)
    trainer.fit(model, data, ckpt_path=ckpt_path)
    return trainer, watch


def rates(rate: float, steps: range, total: int) -> list[float]:
    return [rate * warmup_cosine(step, WARMUP, total) for step in steps]


# The network is there


def test_network_and_optimizer_are_there_before_a_trainer_is() -> None:
    model = tiny_model()
    optimizer: Any = model.configure_optimizers()
    held = [p for group in optimizer["optimizer"].param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in model.parameters()} != set()


def test_a_callback_s_setup_sees_the_network(small_csv: Path, tmp_path: Path) -> None:
    class Count(Callback):
        def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
            self.parameters = sum(p.numel() for p in pl_module.parameters())

    model, count = tiny_model(), Count()
    fit(model, tiny_data(small_csv), tmp_path, count, max_steps=1)
    assert count.parameters == sum(p.numel() for p in model.parameters()) > 54_000 * 16


@UPSTREAM[0]
def test_a_cli_of_one_s_own_takes_an_optimizer(
    small_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["fit", f"--data.path={small_csv}", f"--data.cache_dir={tmp_path}"]
    words += [f"--model.config.{k}={v}" for k, v in (("n_layer", 1), ("n_embd", 16), ("n_head", 2))]
    words += ["--trainer.max_steps=1", "--trainer.accelerator=cpu", "--trainer.logger=false"]
    words += ["--trainer.enable_progress_bar=false", "--trainer.enable_checkpointing=false"]
    words += ["--optimizer=AdamW", "--optimizer.lr=0.25"]
    monkeypatch.setattr("sys.argv", ["one", *words])
    with pytest.warns(UserWarning, match=r"`EmojiGPT2.configure_optimizers` will be overridden"):
        made = LightningCLI(
            EmojiGPT2, EmojiDataModule, save_config_callback=None, seed_everything_default=0
        )
    (optimizer,) = made.trainer.optimizers
    assert isinstance(optimizer, AdamW)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25]
    assert optimizer.state


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork", "ddp_notebook"])
def test_processes_of_a_notebook_bring_the_weights_back(
    strategy: str, small_csv: Path, tmp_path: Path
) -> None:
    """In a process of its own: fit on two, measure on one, fit on."""
    words = ["tests.distributed.launchers", str(small_csv), strategy]
    (done,) = finish([start(words, tmp_path)], timeout=150)
    assert done.status == 0, done.stderr[-3000:]
    found = yaml.safe_load(done.stdout.splitlines()[-1])
    assert found["after fit"] == pytest.approx(found["validated"], rel=1e-6)
    assert found["after fit"] < found["before"] - 0.1
    assert found["after a second fit"] < found["after fit"] - 0.1
    assert found["first loss of the second fit"] < found["first loss"] - 0.1
    assert found["saved"] == pytest.approx(found["after a second fit"], rel=1e-6)


def test_a_module_can_be_copied_after_it_was_trained(small_csv: Path, tmp_path: Path) -> None:
    model = tiny_model()
    fit(model, tiny_data(small_csv), tmp_path, max_steps=1)
    copied = copy.deepcopy(model)
    assert same(weights(copied), weights(model))
    fit(copied, tiny_data(small_csv), tmp_path, max_steps=1)
    assert not same(weights(copied), weights(model))


# Callbacks that change the network


def test_swa_leaves_the_average_of_the_epochs_weights(small_csv: Path, tmp_path: Path) -> None:
    class Snapshots(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            if trainer.current_epoch >= 1:  # where averaging begins
                self.kept.append(weights(pl_module))

        def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            self.last = weights(pl_module)

    model, snapshots = tiny_model(), Snapshots()
    snapshots.kept = []
    averaging = StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=2, annealing_epochs=1)
    trainer = quiet_trainer(tmp_path, max_epochs=4, callbacks=[snapshots, averaging])
    with pytest.warns(UserWarning, match="SWA is currently only supported every epoch"):
        trainer.fit(model, tiny_data(small_csv))
    assert len(snapshots.kept) == 3
    got = weights(model)
    assert not same(got, snapshots.last)
    for name, value in got.items():
        mean = torch.stack([kept[name] for kept in snapshots.kept]).mean(0)
        torch.testing.assert_close(value, mean, rtol=1e-5, atol=1e-6)


def test_pruning_leaves_half_of_a_layer(small_csv: Path, tmp_path: Path) -> None:
    model = tiny_model()
    layer = model.model.transformer.h[0].mlp.c_fc
    before = layer.weight.detach().clone()
    pruning = ModelPruning(
        "l1_unstructured",
        [(layer, "weight")],
        amount=0.5,
        use_lottery_ticket_hypothesis=False,  # or it starts again from the first weights
    )
    data = tiny_data(small_csv)
    trainer, _ = fit(model, data, tmp_path, pruning, max_epochs=1)
    assert int((layer.weight == 0).sum()) == layer.weight.numel() // 2
    kept = layer.weight != 0
    assert not layer.weight[kept].equal(before[kept])  # what is left is trained
    trainer.save_checkpoint(tmp_path / "pruned.ckpt")
    again = EmojiGPT2.load_from_checkpoint(tmp_path / "pruned.ckpt")
    assert same(weights(again), weights(model))


def test_pruning_of_the_whole_network(small_csv: Path, tmp_path: Path) -> None:
    """Lightning finds the layers by itself."""
    model = tiny_model()
    pruning = ModelPruning("l1_unstructured", amount=0.3)
    fit(model, tiny_data(small_csv), tmp_path, pruning, max_epochs=1)
    values = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert 0.25 < float((values == 0).float().mean()) < 0.5
    assert model.model.lm_head.weight is model.model.transformer.wte.weight


class LateBlocks(BaseFinetuning):
    """GPT-2's blocks are trained from the second epoch on, at a tenth of the rate."""

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        self.freeze(pl_module.model.transformer.h)

    def finetune_function(
        self, pl_module: LightningModule, epoch: int, optimizer: Optimizer
    ) -> None:
        if epoch == 1:
            blocks = pl_module.model.transformer.h
            self.unfreeze_and_add_param_group(blocks, optimizer, lr=RATE / 10)


class BlocksAtEpochs(Callback):
    def __init__(self) -> None:
        self.kept: list[dict[str, Tensor]] = []
        self.rates: list[list[float]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.kept.append(weights(pl_module.model.transformer.h))

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.kept.append(weights(pl_module.model.transformer.h))


def test_finetuning_freezes_blocks_and_unfreezes_them_later(
    small_csv: Path, tmp_path: Path
) -> None:
    model, blocks = tiny_model(), BlocksAtEpochs()
    saved = ModelCheckpoint(tmp_path / "kept", save_top_k=-1, every_n_train_steps=7)
    fit(model, tiny_data(small_csv), tmp_path, LateBlocks(), blocks, saved, max_epochs=2,
        enable_checkpointing=True)  # fmt: skip
    begin, after_one, after_two = blocks.kept
    assert same(begin, after_one)
    assert all(not after_two[name].equal(value) for name, value in begin.items())
    assert [len(groups) for groups in blocks.rates] == [2] * STEPS + [3] * STEPS
    whole = rates(RATE, range(2 * STEPS), 2 * STEPS)
    assert [groups[0] for groups in blocks.rates] == pytest.approx(whole)

    (path,) = (tmp_path / "kept").glob("*step=7.ckpt")
    go_on = BlocksAtEpochs()
    fit(
        tiny_model(),
        tiny_data(small_csv),
        tmp_path,
        LateBlocks(),
        go_on,
        max_epochs=2,
        ckpt_path=path,
    )
    torch.testing.assert_close(torch.tensor(go_on.rates), torch.tensor(blocks.rates[7:]))


# Finders


def finder_model(start: str, tiny_gpt2: Path) -> EmojiGPT2:
    if start == "scratch":
        return tiny_model(learning_rate=0.3)
    return tiny_model(pretrained=str(tiny_gpt2), config=None, learning_rate=0.3)


@pytest.mark.parametrize("start", ["scratch", "folder"])
def test_the_run_s_rates_are_those_that_a_finder_found(
    start: str, tiny_gpt2: Path, small_csv: Path, tmp_path: Path
) -> None:
    model, data = finder_model(start, tiny_gpt2), tiny_data(small_csv)
    asked, begin = model.learning_rate, weights(model)
    finder = LearningRateFinder(min_lr=1e-5, num_training_steps=40)
    at_start = BlocksAtEpochs()
    _, watch = fit(model, data, tmp_path, finder, at_start, max_epochs=3)
    assert finder.optimal_lr is not None
    found = finder.optimal_lr.suggestion()
    assert found is not None
    assert found < asked / 2
    assert model.learning_rate == model.hparams["learning_rate"] == found
    assert watch.rates == pytest.approx(rates(found, range(15), 15))
    blocks = {name: begin[f"model.transformer.h.{name}"] for name in at_start.kept[0]}
    assert same(at_start.kept[0], blocks)
    assert all_rows(watch.rows[:STEPS]) == all_rows(epoch_of(tiny_data(small_csv)))


def test_a_finder_begins_at_its_own_lowest_rate(small_csv: Path, tmp_path: Path) -> None:
    """A step at the rate that was asked for would spoil the search."""

    class Moves(EmojiGPT2):
        def optimizer_step(self, *args: Any, **options: Any) -> None:
            before = weights(self)
            super().optimizer_step(*args, **options)
            moves = [(value - before[name]).abs().max() for name, value in weights(self).items()]
            self.moves.append(float(max(moves)))

    model = tiny_model(Moves, learning_rate=0.3, warmup_steps=0)
    model.moves = []
    trainer = quiet_trainer(tmp_path, max_steps=1)
    Tuner(trainer).lr_find(model, tiny_data(small_csv), min_lr=1e-7, num_training=5)
    assert model.moves[0] < 1e-6


def test_finders_find_the_same_with_accumulation(small_csv: Path, tmp_path: Path) -> None:
    found = []
    for size, accumulate in ((8, 1), (4, 2)):
        trainer = quiet_trainer(tmp_path, accumulate_grad_batches=accumulate, max_epochs=20)
        data = tiny_data(small_csv, batch_size=size)
        finder = Tuner(trainer).lr_find(tiny_model(), data, min_lr=1e-5, num_training=40)
        assert finder is not None
        found.append(finder.suggestion() or 0)
    assert 0.1 < found[0] / found[1] < 10
    assert found[0] > 1e-4


@pytest.mark.parametrize("again", [True, False], ids=["with the finder", "with what it found"])
def test_a_run_with_a_batch_size_finder_can_be_gone_on_from(
    again: bool, small_csv: Path, tmp_path: Path
) -> None:
    """With the finder, Lightning 2.6 begins at step 0 again, but for the weights."""

    def finder() -> BatchSizeFinder:
        return BatchSizeFinder("power", steps_per_trial=1, init_val=4, max_trials=3)

    saved = ModelCheckpoint(tmp_path / "kept", filename="two", every_n_train_steps=2)
    data = tiny_data(small_csv, batch_size=2)
    _, watch = fit(tiny_model(), data, tmp_path, finder(), saved, max_epochs=1,
                   enable_checkpointing=True)  # fmt: skip
    assert data.batch_size == data.hparams["batch_size"] == 16
    assert len(watch.rows) == 3

    data = tiny_data(small_csv, batch_size=2 if again else 16)
    callbacks = [finder()] if again else []
    _, rest = fit(tiny_model(), data, tmp_path, *callbacks, max_epochs=3,
                        ckpt_path=tmp_path / "kept" / "two.ckpt")  # fmt: skip
    assert rest.steps == list(range(0 if again else 2, 9))
    place = data.state_dict()
    assert (place["epoch"], place["batches"]) == (3, 0)
    if not again:
        assert all_rows([*watch.rows[:2], *rest.rows[:1]]) == all_rows(epoch_of(data))


# Accumulation


def test_an_accumulation_scheduler_s_run_ends_at_rate_0_and_can_be_gone_on_from(
    small_csv: Path, tmp_path: Path
) -> None:
    """Epochs of 5, 2 (of 3 and 2 batches) and 2 optimizer steps."""

    def scheduler() -> GradientAccumulationScheduler:
        return GradientAccumulationScheduler({0: 1, 1: 3})

    kept = tmp_path / "kept"
    saved = ModelCheckpoint(kept, filename="{step}", save_top_k=-1, every_n_train_steps=1)
    trainer, watch = fit(tiny_model(), tiny_data(small_csv), tmp_path, scheduler(), saved,
                         max_epochs=3, enable_checkpointing=True)  # fmt: skip
    assert trainer.global_step == 9
    assert watch.steps == [0, 1, 2, 3, 4, *[5] * 3, *[6] * 2, *[7] * 3, *[8] * 2]
    assert [watch.rate_of_step[step] for step in range(9)] == pytest.approx(
        rates(RATE, range(9), 9)
    )
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0
    for step in (2, 5, 6, 7):
        options = {"max_epochs": 3, "ckpt_path": kept / f"step={step}.ckpt"}
        again, rest = fit(tiny_model(), tiny_data(small_csv), tmp_path, scheduler(), **options)
        assert again.global_step == 9
        assert rest.steps == watch.steps[-len(rest.steps) :]
        assert rest.rates == pytest.approx(watch.rates[-len(rest.rates) :])
        assert rest.rows == watch.rows[-len(rest.rows) :]
        assert again.optimizers[0].param_groups[0]["lr"] == 0


class Norms(EmojiGPT2):
    """Lightning's own recipe: the norms of the gradients, in a hook whose super is not called."""

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.log_dict(grad_norm(self, norm_type=2))

    def configure_optimizers(self) -> Any:
        return SGD(self.parameters(), lr=0.5)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_norms_of_gradients_are_those_of_the_mean(
    accumulate: int, small_csv: Path, tmp_path: Path
) -> None:
    data = tiny_data(small_csv, batch_size=8 // accumulate)
    model = tiny_model(Norms)
    reference = copy.deepcopy(model)
    trainer, watch = fit(
        model, data, tmp_path, max_steps=1, accumulate_grad_batches=accumulate,
        logger=CSVLogger(tmp_path), log_every_n_steps=1, gradient_clip_val=1e6,
    )  # fmt: skip
    assert all_rows(watch.rows) == sorted(epoch_of(tiny_data(small_csv))[0])
    batch = next(iter(ready(tiny_data(small_csv)).train_dataloader()))
    nats, count = reference.loss(reference(batch.ids_BT, batch.positions_N), batch)
    mean = nats / count
    mean.backward()
    norm = torch.cat([p.grad.flatten() for p in reference.parameters()]).norm()
    logged = float(trainer.logged_metrics["grad_2.0_norm_total"])
    assert logged == pytest.approx(float(norm), rel=1e-4)
    assert watch.losses[1] == pytest.approx(mean.item(), rel=1e-5)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_what_callbacks_see_of_a_step_sums_to_its_mean(
    accumulate: int, small_csv: Path, tmp_path: Path
) -> None:
    """40 rows, 3 in a micro-batch: the short step of 4 has micro-batches of 2 or fewer."""

    class Returned(EmojiGPT2):
        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            self.returned.append(loss.item())
            return loss

    model = tiny_model(Returned)
    model.returned = []
    data = tiny_data(small_csv, batch_size=3)
    _, watch = fit(model, data, tmp_path, max_epochs=1, accumulate_grad_batches=accumulate)
    for step, loss in watch.losses.items():
        parts = [
            part for at, part in zip(watch.steps, watch.outputs, strict=True) if at == step - 1
        ]
        assert sum(parts) == pytest.approx(loss, rel=1e-5)
        assert 3 < loss < 9
    assert model.returned == pytest.approx([accumulate * part for part in watch.outputs])
    assert len(watch.losses) == -(-len(watch.steps) // accumulate)


# Options of the Trainer


@pytest.mark.filterwarnings("ignore:You requested to overfit:UserWarning")
@pytest.mark.parametrize("given", ["data module", "loaders"])
@pytest.mark.parametrize("batches", [1, 2])
def test_overfit_batches_are_the_same_in_each_epoch(
    given: str, batches: int, small_csv: Path, tmp_path: Path
) -> None:
    watch = Watch()
    trainer = quiet_trainer(tmp_path, max_epochs=3, overfit_batches=batches, callbacks=[watch])
    data = tiny_data(small_csv, val_path=str(small_csv))
    if given == "data module":
        trainer.fit(tiny_model(), data)
    else:
        ready(data)
        trainer.fit(tiny_model(), data.train_dataloader(), data.val_dataloader())
    first = watch.rows[:batches]
    assert watch.rows == first * 3
    assert len(all_rows(first)) == len(set(all_rows(first))) == 8 * batches


def test_double_precision_computes_in_float64(small_csv: Path, tmp_path: Path) -> None:
    class Kinds(EmojiGPT2):
        def loss(self, logits_NV: Tensor, batch: Batch) -> tuple[Tensor, int | Tensor]:
            self.kinds = {logits_NV.dtype}
            nats, count = super().loss(logits_NV, batch)
            self.kinds.add(nats.dtype)
            return nats, count

    model = tiny_model(Kinds)
    exact = copy.deepcopy(model).double()
    _, watch = fit(model, tiny_data(small_csv), tmp_path, max_steps=1, precision="64-true")
    assert model.kinds == {torch.float64}
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} <= {torch.float64}
    batch = next(iter(ready(tiny_data(small_csv)).train_dataloader()))
    full = exact.model(batch.ids_BT).logits.flatten(0, 1)[batch.positions_N]
    nats = torch.nn.functional.cross_entropy(
        full[:, exact.candidate_ids], exact.candidate_index[batch.labels_N]
    )
    assert nats.dtype == torch.float64
    assert watch.outputs[0] == pytest.approx(nats.item(), rel=1e-12)


@pytest.mark.parametrize("run", ["fit", "validate", "test"])
def test_two_evaluation_loaders_have_metrics_of_their_own(
    run: str, small_csv: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    lines = small_csv.read_text(encoding="utf-8").splitlines()
    other.write_text("\n".join([lines[0], *lines[11:31]]) + "\n", encoding="utf-8")
    stage = "test" if run == "test" else "val"
    model, alone = tiny_model(), []
    sources = [{f"{stage}_path": str(path)} for path in (small_csv, other)]
    loaders = []
    for source in sources:
        data = ready(tiny_data(small_csv, **source))
        loaders.append(data.test_dataloader() if stage == "test" else data.val_dataloader())
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    if run == "fit":
        train = ready(tiny_data(small_csv)).train_dataloader()
        trainer.fit(model, train, loaders)
        found = {k: float(v) for k, v in trainer.callback_metrics.items() if k != "train/loss"}
    else:
        both = getattr(trainer, run)(model, loaders, verbose=False)
        found = both[0] | both[1]
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    for loader in loaders:
        one = quiet_trainer(tmp_path)
        alone += (one.test if stage == "test" else one.validate)(model, loader, verbose=False)
    wanted = {
        f"{name}/dataloader_idx_{number}": value
        for number, metrics in enumerate(alone)
        for name, value in metrics.items()
    }
    assert alone[0] != alone[1]
    assert found == pytest.approx(wanted, rel=1e-6)
    EmojiGPT2.load_from_checkpoint(tmp_path / "two.ckpt")


# Hyper-parameters


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_loggers_get_the_hyper_parameters_of_data_and_model(
    kind: type[CSVLogger | TensorBoardLogger], small_csv: Path, tmp_path: Path
) -> None:
    logger = kind(tmp_path / "log", name="", version="")
    options = {"batch_size": 4, "seed": 3, "max_length": 77}
    trainer = quiet_trainer(tmp_path, max_steps=1, logger=logger, log_every_n_steps=1)
    trainer.fit(tiny_model(weight_decay=0.125), tiny_data(small_csv, **options))
    written = (tmp_path / "log" / "hparams.yaml").read_text(encoding="utf-8")
    found = yaml.safe_load(written)
    wanted = options | {"path": str(small_csv), "learning_rate": RATE, "weight_decay": 0.125}
    assert {name: found.get(name) for name in wanted} == wanted
    assert found["config"]["n_embd"] == 16


def test_a_data_module_is_loaded_from_a_checkpoint(small_csv: Path, tmp_path: Path) -> None:
    options = {"batch_size": 4, "seed": 3, "skin_tones": "drop"}
    data = tiny_data(small_csv, **options)
    trainer, _ = fit(tiny_model(), data, tmp_path, max_steps=1)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    again = EmojiDataModule.load_from_checkpoint(tmp_path / "one.ckpt")
    assert again.hparams == data.hparams
    fresh = tiny_data(small_csv, **options)
    assert all_rows(epoch_of(again)) == all_rows(epoch_of(fresh))
    other = EmojiDataModule.load_from_checkpoint(tmp_path / "one.ckpt", batch_size=8)
    assert (other.batch_size, other.seed) == (8, 3)


# Stages and predictions


@pytest.mark.parametrize("predicts", [False, True])
def test_setup_without_a_stage_prepares_all(
    predicts: bool, small_csv: Path, tmp_path: Path
) -> None:
    paths = {"val_path": str(small_csv), "test_path": str(small_csv)}
    if predicts:
        paths["predict_path"] = str(texts_of(7, tmp_path))
    data = ready(tiny_data(small_csv, **paths), stage=None)
    loaders = [data.train_dataloader(), data.val_dataloader(), data.test_dataloader()]
    loaders += [data.predict_dataloader()] if predicts else []
    counts = [sum(len(batch.first_B) for batch in loader) for loader in loaders]
    assert counts == [40, 40, 40, 7][: len(loaders)]


def texts_of(number: int, folder: Path) -> Path:
    """A table of texts of falling length."""
    path = folder / "texts.csv"
    lines = ["text", *("word " * (number - i) + f"number {i}" for i in range(number))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


class Writer(BasePredictionWriter):
    def __init__(self, interval: Any) -> None:
        super().__init__(interval)
        self.batches: list[tuple[list[int], list[str]]] = []
        self.epoch: list[list[int]] = []

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        assert batch_indices is not None
        ends = (batch.first_B - torch.arange(len(batch.first_B)) * batch.ids_BT.shape[1]).tolist()
        texts = [
            decode_text(pl_module.tokenizer, ids[:end].tolist())
            for ids, end in zip(batch.ids_BT, ends, strict=True)
        ]
        assert len(prediction[0]) == len(batch_indices)
        self.batches.append((list(batch_indices), texts))

    def write_on_epoch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        self.epoch += batch_indices[0]


@pytest.mark.parametrize("interval", ["batch", "epoch", "batch_and_epoch"])
def test_a_prediction_writer_is_told_the_rows(interval: str, tmp_path: Path) -> None:
    data = EmojiDataModule(
        predict_path=str(texts_of(7, tmp_path)), batch_size=3, cache_dir=str(tmp_path)
    )
    writer = Writer(interval)
    trainer = quiet_trainer(tmp_path, callbacks=[writer])
    trainer.predict(tiny_model(), data, return_predictions=False)
    wanted = [[0, 1, 2], [3, 4, 5], [6]]
    if interval != "epoch":
        assert [rows for rows, _ in writer.batches] == wanted
        for rows, texts in writer.batches:
            assert texts == [f"{'word ' * (7 - row)}number {row}" for row in rows]
    if interval != "batch":
        assert writer.epoch == wanted
