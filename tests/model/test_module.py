"""The Lightning module: what it learns, divides, saves and refuses.

References walk over single rows through GPT2LMHeadModel's own full logits.
"""

import json
import re
import shutil
import warnings
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import SGD, Optimizer
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

from emoji_gpt2.batch import Batch, SoftTargets, collate
from emoji_gpt2.data.datamodule import EmojiDataModule
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import UserError
from emoji_gpt2.model.module import EmojiGPT2
from emoji_gpt2.model.network import building_network_of
from emoji_gpt2.model.optim import warmup_cosine
from emoji_gpt2.tokenizer import tokenizer_to_json
from tests.tiny import quiet_trainer

pytestmark = pytest.mark.filterwarnings(  # most tests here train without validating
    "ignore:You defined a .validation_step. but have no .val_dataloader.:UserWarning"
)

TINY: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 16}
EOS, FIRST_EMOJI, N_EMOJI = 50256, 50257, 3944
END_OF_PROMPT = FIRST_EMOJI + N_EMOJI
Row = tuple[np.ndarray, int, np.ndarray]


class Loader:
    """Batches in a fixed order."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def make_rows(n: int, seed: int = 0) -> list[Row]:
    """Rows of 1 to 5 emoji and 1 to 9 words: means of micro-batches differ from the window's."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        text = rng.integers(0, 1000, rng.integers(1, 10))
        emoji = rng.integers(FIRST_EMOJI, FIRST_EMOJI + N_EMOJI, rng.integers(1, 6))
        ids = np.array([*text, END_OF_PROMPT, *emoji, EOS])
        rows.append((ids, len(text) + 1, np.unique(emoji)))
    return rows


def loader(rows: list[Row], size: int) -> Loader:
    return Loader([collate(rows[i : i + size], EOS) for i in range(0, len(rows), size)])


@pytest.fixture(scope="module")
def shared() -> EmojiGPT2:
    """A model from scratch, to look at only."""
    torch.manual_seed(0)
    return EmojiGPT2(config=TINY | {"initializer_range": 0.3}, dropout=0.0).eval()


def nats_of(model: EmojiGPT2, ids: np.ndarray, n_prompt: int) -> Tensor:
    """Each supervised token's cross-entropy over end of text and emoji, from full logits."""
    logits = model.model(torch.from_numpy(ids)[None]).logits[0].double()
    scores = torch.cat([logits[:, EOS : EOS + 1], logits[:, FIRST_EMOJI:END_OF_PROMPT]], 1)
    normalised = scores - scores.exp().sum(1, keepdim=True).log()
    return torch.stack([-normalised[i - 1, ids[i] - EOS] for i in range(n_prompt, len(ids))])


def emoji_probabilities(model: EmojiGPT2, ids: np.ndarray, n_prompt: int) -> Tensor:
    logits = model.model(torch.from_numpy(ids[:n_prompt])[None]).logits[0, -1].double()
    powers = logits[FIRST_EMOJI:END_OF_PROMPT].exp()
    return powers / powers.sum()


# Learning


class TrainLoss(Callback):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.values.append(trainer.callback_metrics["train/loss"].item())


VAL_NAMES = {"val/loss", "val/hit_at_1", "val/hit_at_5", "val/mrr"}


@pytest.mark.parametrize("start", ["scratch", "folder"])
def test_learns_forty_rows(start: str, tiny_gpt2: Path, small_csv: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"dropout": 0.0, "learning_rate": 0.01, "warmup_steps": 0}
    if start == "scratch":
        model = EmojiGPT2(config=TINY, **options)
    else:
        model = EmojiGPT2(pretrained=str(tiny_gpt2), **options)
    data = EmojiDataModule(
        str(small_csv),
        batch_size=8,
        val_path=str(small_csv),  # what it was taught
        test_fraction=0,
        cache_dir=str(tmp_path / "cache"),
    )
    [before] = quiet_trainer(tmp_path).validate(model, datamodule=data, verbose=False)
    losses = TrainLoss()
    trainer = quiet_trainer(tmp_path, max_epochs=40, callbacks=[losses], check_val_every_n_epoch=40)
    trainer.fit(model, datamodule=data)
    assert trainer.callback_metrics.keys() >= VAL_NAMES | {"train/loss"}
    [after] = quiet_trainer(tmp_path).validate(model, datamodule=data, verbose=False)

    assert before.keys() == after.keys() == VAL_NAMES
    assert len(losses.values) == 40 * 5
    assert losses.values[0] == pytest.approx(np.log(N_EMOJI + 1), rel=0.1)
    assert np.mean(losses.values[-5:]) < losses.values[0] / 3
    assert after["val/loss"] < before["val/loss"] / 3
    assert before["val/hit_at_1"] < 0.3
    assert after["val/hit_at_1"] > 0.6
    for metrics in (before, after):
        assert metrics["val/hit_at_1"] <= metrics["val/mrr"] <= 1
        assert metrics["val/hit_at_1"] <= metrics["val/hit_at_5"]


@pytest.mark.parametrize("stage", ["val", "test"])
def test_evaluation_equals_loops_over_rows(shared: EmojiGPT2, tmp_path: Path, stage: str) -> None:
    rows = make_rows(11)
    rows[3] = (*rows[3][:2], np.empty(0, np.int64))  # in the loss but not in the ranking
    trainer = quiet_trainer(tmp_path)
    run = trainer.validate if stage == "val" else trainer.test
    batches = Loader([*loader(rows, 4).batches, collate([], EOS)])
    [got] = run(shared, batches, verbose=False)

    ranks = []
    with torch.no_grad():
        nats = torch.cat([nats_of(shared, ids, n) for ids, n, _ in rows])
        for ids, n_prompt, answers in rows:
            if len(answers):
                probabilities = emoji_probabilities(shared, ids, n_prompt).tolist()
                right = {int(a) - FIRST_EMOJI for a in answers}
                order = sorted(range(N_EMOJI), key=probabilities.__getitem__, reverse=True)
                ranks.append(1 + next(i for i, e in enumerate(order) if e in right))
    wanted = {
        f"{stage}/loss": nats.mean().item(),
        f"{stage}/hit_at_1": np.mean([r <= 1 for r in ranks]),
        f"{stage}/hit_at_5": np.mean([r <= 5 for r in ranks]),
        f"{stage}/mrr": np.mean([1 / r for r in ranks]),
    }
    assert len(ranks) == 10
    # Emoji whose scores differ by rounding may change places, far from the top.
    assert got == pytest.approx(wanted, rel=1e-5, abs=1e-6)


# The mean over an optimizer step


class PlainSteps(EmojiGPT2):
    """SGD, and a record of each step's gradient and loss."""

    rate: float

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.seen.append([p.grad.clone() for p in self.model.parameters()])
        self.losses.append(self.trainer.callback_metrics["train/loss"].item())

    def configure_optimizers(self) -> Optimizer:
        self.seen: list[list[Tensor]] = []
        self.losses: list[float] = []
        return SGD(self.model.parameters(), lr=self.rate)


@cache
def plain_start() -> PlainSteps:
    torch.manual_seed(1)
    return PlainSteps(config=TINY | {"initializer_range": 0.2}, dropout=0.0)


def plain_model(rate: float) -> PlainSteps:
    start = plain_start()
    model = deepcopy(start, {id(start.tokenizer): start.tokenizer})
    model.rate = rate
    return model


WAYS = {
    "8 x 1": (8, 1, False),
    "2 x 4": (2, 4, False),
    "2 x 4 and nothing": (2, 5, True),
}


def with_steps(batches: list[Batch], accumulate: int) -> Loader:
    """Batches that say what their optimizer steps hold, as those of the data module do."""
    told = []
    for start in range(0, len(batches), accumulate):
        step = batches[start : start + accumulate]
        tokens = sum(len(batch.labels_N) for batch in step)
        told += [b._replace(step_tokens=tokens, step_batches=accumulate) for b in step]
    return Loader(told)


OTHER = FIRST_EMOJI + 7
SHARE = 0.25


def softened(rows: list[Row], size: int) -> list[Batch]:
    """Batches whose rows of an odd length have a second right answer, ``OTHER``."""
    batches = []
    for i in range(0, len(rows), size):
        part = rows[i : i + size]
        odd = [place for place, (ids, _, _) in enumerate(part) if len(ids) % 2]
        tokens = [token for place in odd for token in (part[place][0][part[place][1]], OTHER)]
        shares = np.array([1 - SHARE, SHARE] * len(odd))
        soft = SoftTargets(
            np.array(odd, np.int64), np.full(len(odd), 2), np.array(tokens, np.int64), shares
        )
        batches.append(collate(part, EOS, soft))
    return batches


def softened_nats_of(model: EmojiGPT2, ids: np.ndarray, n_prompt: int) -> Tensor:
    """What a row costs that is answered in one share of all cases by ``OTHER``."""
    nats = nats_of(model, ids, n_prompt)
    if len(ids) % 2 == 0:
        return nats
    otherwise = ids.copy()
    otherwise[n_prompt] = OTHER
    first = (1 - SHARE) * nats[:1] + SHARE * nats_of(model, otherwise, n_prompt)[:1]
    return torch.cat([first, nats[1:]])


@pytest.mark.parametrize(("size", "accumulate", "with_empty"), WAYS.values(), ids=WAYS.keys())
def test_a_step_is_the_mean_over_all_of_its_tokens(
    tmp_path: Path, size: int, accumulate: int, with_empty: bool
) -> None:
    """Windows of 8, 8 and, at the end of the epoch, 4 rows, however they are cut.

    Some of them have soft targets.
    """
    rows = make_rows(20)
    batches = softened(rows, size)
    assert 0 < len(torch.cat([batch.soft_indices_M for batch in batches])) < 2 * len(rows)
    if with_empty:  # after each window's four micro-batches, one with no row
        for place in (8, 4):
            batches.insert(place, collate([], EOS))
    model = plain_model(rate=0.5)
    trainer = quiet_trainer(tmp_path, max_epochs=1, accumulate_grad_batches=accumulate)
    trainer.fit(model, with_steps(batches, accumulate))
    assert trainer.global_step == len(model.seen) == 3

    reference = plain_model(rate=0.5)
    parameters = list(reference.model.parameters())
    for step, window in enumerate([rows[:8], rows[8:16], rows[16:]]):
        mean = torch.cat([softened_nats_of(reference, ids, n) for ids, n, _ in window]).mean()
        gradients = torch.autograd.grad(mean, parameters)
        assert model.losses[step] == pytest.approx(mean.item(), rel=1e-5)
        for got, wanted in zip(model.seen[step], gradients, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(0.5 * gradient)
    for got, wanted in zip(model.model.parameters(), parameters, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_a_window_without_any_supervised_token_changes_nothing(tmp_path: Path) -> None:
    model = plain_model(rate=0.5)
    before = [p.detach().clone() for p in model.model.parameters()]
    quiet_trainer(tmp_path, max_epochs=1).fit(model, with_steps([collate([], EOS)], 1))
    assert len(model.seen) == 1
    assert model.losses == [0]
    assert all(p.equal(b) for p, b in zip(model.model.parameters(), before, strict=True))


# The learning rate


class Rates(Callback):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self.values.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.parametrize(
    ("options", "total"),
    [({"max_epochs": 3}, 6), ({"max_steps": 4}, 4), ({"max_epochs": 3, "max_steps": 2}, 2)],
)
def test_the_learning_rate_ends_with_the_run(
    tmp_path: Path, options: dict[str, int], total: int
) -> None:
    """10 batches, accumulated by 5: 2 steps an epoch."""
    rates = Rates()
    model = EmojiGPT2(config=TINY, learning_rate=1e-3, warmup_steps=1)
    trainer = quiet_trainer(tmp_path, accumulate_grad_batches=5, callbacks=[rates], **options)
    trainer.fit(model, loader(make_rows(10), 1))
    assert trainer.global_step == total
    wanted = [1e-3 * warmup_cosine(step, 1, total) for step in range(total)]
    assert rates.values[::5] == pytest.approx(wanted)


def test_a_second_fit_has_a_schedule_of_its_own(tmp_path: Path) -> None:
    model = EmojiGPT2(config=TINY, learning_rate=1e-3, warmup_steps=0)
    for steps in (2, 6):
        rates = Rates()
        trainer = quiet_trainer(tmp_path, max_steps=steps, callbacks=[rates])
        trainer.fit(model, loader(make_rows(6), 1))
        wanted = [1e-3 * warmup_cosine(step, 0, steps) for step in range(steps)]
        assert rates.values == pytest.approx(wanted)


# The network


def test_candidates_are_end_of_text_and_the_table_in_order(shared: EmojiGPT2) -> None:
    tokens = shared.tokenizer.convert_ids_to_tokens(shared.candidate_ids.tolist())
    assert tokens == ["<|endoftext|>", *EmojiTable.builtin()]
    assert shared.candidate_index[shared.candidate_ids].tolist() == list(range(1 + N_EMOJI))
    assert (shared.candidate_index >= 0).sum() == 1 + N_EMOJI


@pytest.mark.parametrize(("given", "wanted"), [(None, 0.3), (0.0, 0.0), (0.7, 0.7)])
def test_dropout_reaches_the_network(given: float | None, wanted: float) -> None:
    pdrops = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.3)
    model = EmojiGPT2(config=TINY | pdrops, dropout=given).model
    block = model.transformer.h[0]
    drops = [model.transformer.drop, block.attn.attn_dropout, block.attn.resid_dropout,
             block.mlp.dropout]  # fmt: skip
    assert [drop.p for drop in drops] == [wanted] * 4


@pytest.mark.parametrize("start", ["scratch", "folder"])
def test_dropout_is_on_in_training(start: str, tiny_gpt2: Path, tmp_path: Path) -> None:
    """``from_pretrained`` gives a model in evaluation mode, and Lightning leaves it there."""

    class Modes(Callback):
        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, *_: Any
        ) -> None:
            self.training = [module.training for module in pl_module.model.modules()]

    modes = Modes()
    arguments = {"config": TINY} if start == "scratch" else {"pretrained": str(tiny_gpt2)}
    model = EmojiGPT2(**arguments, dropout=0.5)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found .* in eval mode")
        quiet_trainer(tmp_path, max_steps=1, callbacks=[modes]).fit(model, loader(make_rows(2), 2))
    assert all(modes.training)


# Predicting


def test_predictions_are_over_all_emoji(shared: EmojiGPT2) -> None:
    rows = make_rows(4)
    batch = collate(rows, EOS)
    with torch.no_grad():
        ids, shares = shared.predict_step(batch, 0, top_k=N_EMOJI)
        five_ids, five = shared.predict_step(batch, 0)
        for got_ids, got, (row, n_prompt, _) in zip(ids, shares, rows, strict=True):
            assert sorted(got_ids.tolist()) == list(range(FIRST_EMOJI, END_OF_PROMPT))
            wanted = emoji_probabilities(shared, row, n_prompt)
            torch.testing.assert_close(
                got.double(), wanted[got_ids - FIRST_EMOJI], rtol=1e-4, atol=1e-8
            )
            assert got.sum().item() == pytest.approx(1, abs=1e-4)
            assert got.tolist() == sorted(got.tolist(), reverse=True)
    assert five.shape == five_ids.shape == (4, 5)
    assert five_ids.equal(ids[:, :5])
    assert five.equal(shares[:, :5])


def test_trainer_predicts_with_a_fresh_model(tiny_gpt2: Path, tmp_path: Path) -> None:
    """There are no prepared rows then, so nothing is held out."""
    table = tmp_path / "texts.csv"
    table.write_text("text\npizza\nhappy birthday to you\nred heart\n", encoding="utf-8")
    data = EmojiDataModule(predict_path=str(table), batch_size=2, cache_dir=str(tmp_path / "c"))
    model = EmojiGPT2(pretrained=str(tiny_gpt2))
    first, second = quiet_trainer(tmp_path).predict(model, datamodule=data)
    assert [len(first[0]), len(second[0])] == [2, 1]
    model.eval()
    prompt = model.tokenizer("pizza").input_ids
    wanted = emoji_probabilities(model, np.array(prompt), len(prompt))
    torch.testing.assert_close(first[1][0].double(), wanted.topk(5).values, rtol=1e-4, atol=0)


# Checkpoints


@pytest.fixture(scope="module")
def checkpoint(
    tmp_path_factory: pytest.TempPathFactory, tiny_gpt2: Path
) -> tuple[Path, dict[str, Tensor], Tensor]:
    """A checkpoint of a model from a folder that is gone, its weights and its scores."""
    home = tmp_path_factory.mktemp("run")
    folder = shutil.copytree(tiny_gpt2, home / "gpt2")
    torch.manual_seed(2)
    model = EmojiGPT2(pretrained=str(folder), learning_rate=0.01, warmup_steps=0, dropout=0.25)
    trainer = quiet_trainer(home, max_steps=2)
    trainer.fit(model, loader(make_rows(8), 4))
    trainer.save_checkpoint(home / "whole.ckpt")
    shutil.rmtree(folder)
    batch = collate(make_rows(5, seed=9), EOS)
    with torch.no_grad():
        scores = model.eval()(batch.ids_BT, batch.positions_N)
    return home / "whole.ckpt", weights_of(model), scores


Checkpoint = tuple[Path, dict[str, Tensor], Tensor]


def weights_of(model: EmojiGPT2) -> dict[str, Tensor]:
    return {n: v.clone() for n, v in model.state_dict().items() if isinstance(v, Tensor)}


def same_weights(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(v.equal(right[name]) for name, v in left.items())


def test_a_checkpoint_holds_plain_values_only(checkpoint: Checkpoint) -> None:
    content = torch.load(checkpoint[0], weights_only=True)
    state = content["state_dict"]["_extra_state"]
    assert json.loads(json.dumps(state)) == {**state, "adapters": list(state["adapters"])}
    assert state["config"]["n_embd"] == 16
    assert state["config"]["vocab_size"] == END_OF_PROMPT + 1
    assert state["base_model"] == content["hyper_parameters"]["pretrained"]
    assert content["hyper_parameters"]["learning_rate"] == 0.01


def test_a_checkpoint_needs_nothing_else(checkpoint: Checkpoint, shared: EmojiGPT2) -> None:
    path, weights, scores = checkpoint
    model = EmojiGPT2.load_from_checkpoint(path).eval()
    batch = collate(make_rows(5, seed=9), EOS)
    with torch.no_grad():
        assert model(batch.ids_BT, batch.positions_N).equal(scores)
    assert same_weights(weights_of(model), weights)
    assert model.model.lm_head.weight is model.model.transformer.wte.weight
    assert tokenizer_to_json(model.tokenizer) == tokenizer_to_json(shared.tokenizer)
    assert model.tokenizer("I love pizza").input_ids[-1] == END_OF_PROMPT
    assert model.tokenizer.eos_token_id == model.model.config.eos_token_id == EOS
    assert model.model.transformer.drop.p == 0.25


def test_a_loaded_model_can_be_evaluated_trained_and_saved_again(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    model = EmojiGPT2.load_from_checkpoint(checkpoint[0])
    batches = loader(make_rows(8), 4)
    quiet_trainer(tmp_path).validate(model, batches, verbose=False)
    trainer = quiet_trainer(tmp_path, max_steps=2)
    trainer.fit(model, batches)
    trainer.save_checkpoint(tmp_path / "again.ckpt")
    again = EmojiGPT2.load_from_checkpoint(tmp_path / "again.ckpt")
    assert same_weights(weights_of(again), weights_of(model))
    assert again.base_model == model.base_model


def test_a_run_goes_on_from_a_checkpoint(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """With the checkpoint's own hyper-parameters, as the command line takes them, or one's own."""
    content = torch.load(checkpoint[0], weights_only=True)
    with building_network_of(content):
        as_stored = EmojiGPT2(**content["hyper_parameters"])
    for model in (as_stored, EmojiGPT2(config=TINY, warmup_steps=0)):
        trainer = quiet_trainer(tmp_path, max_steps=3)
        trainer.fit(model, loader(make_rows(8), 4), ckpt_path=checkpoint[0])
        assert trainer.global_step == 3
        start = checkpoint[1]["model.transformer.ln_f.weight"]
        moved = (model.model.transformer.ln_f.weight - start).abs().max().item()
        assert 0 <= moved < 0.05  # it went on from the stored weights


def test_loaded_weights_start_a_new_run_at_the_learning_rate_given(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """Only a run that goes on has a schedule to bring to another rate."""
    model = EmojiGPT2.load_from_checkpoint(checkpoint[0], warmup_steps=0)
    assert model.learning_rate == 0.01
    model.learning_rate = 0.5
    rates = Rates()
    quiet_trainer(tmp_path, max_steps=1, callbacks=[rates]).fit(model, loader(make_rows(8), 8))
    assert rates.values == [0.5]


class Foreign(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters({"width": 3})
        self.layer = torch.nn.Linear(3, 3)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).sum()

    def configure_optimizers(self) -> Optimizer:
        return SGD(self.parameters(), lr=0.1)


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    line = str(error.value)
    assert "\n" not in line
    assert re.match(r"\w+: got ", line)
    return line


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    trainer = quiet_trainer(tmp_path, max_steps=1)
    trainer.fit(Foreign(), Loader([torch.ones(2, 3)]))  # type: ignore[list-item]
    trainer.save_checkpoint(tmp_path / "foreign.ckpt")
    return tmp_path / "foreign.ckpt"


def test_a_foreign_checkpoint_is_refused(foreign: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        EmojiGPT2.load_from_checkpoint(foreign)
    assert "wanted one of EmojiGPT2" in one_line(caught)
    with pytest.raises(UserError) as caught:
        quiet_trainer(tmp_path, max_steps=2).fit(
            EmojiGPT2(config=TINY), loader(make_rows(2), 2), ckpt_path=foreign
        )
    assert "wanted one of EmojiGPT2" in one_line(caught)


@pytest.mark.parametrize("change", [{"n_embd": 32}, {"n_layer": 2}], ids=str)
def test_the_checkpoint_decides_what_is_loaded_and_weights_of_another_shape_are_refused(
    checkpoint: Checkpoint, tmp_path: Path, change: dict[str, int]
) -> None:
    loaded = EmojiGPT2.load_from_checkpoint(checkpoint[0], pretrained=None)
    assert same_weights(weights_of(loaded), checkpoint[1])
    with pytest.raises(UserError, match="config: got"):
        EmojiGPT2.load_from_checkpoint(checkpoint[0], config=TINY | change)
    with pytest.raises(RuntimeError, match=r"size mismatch|Missing key"):
        quiet_trainer(tmp_path, max_steps=3).fit(
            EmojiGPT2(config=TINY | change), loader(make_rows(2), 2), ckpt_path=checkpoint[0]
        )


# Mistakes


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no learning rate": ({"learning_rate": 0.0}, "learning_rate: got 0.0, wanted more"),
    "nan": ({"learning_rate": float("nan")}, "learning_rate: got nan"),
    "negative decay": ({"weight_decay": -0.1}, "weight_decay: got -0.1, wanted 0 or more"),
    "negative warm-up": ({"warmup_steps": -1}, "warmup_steps: got -1, wanted 0 or more"),
    "dropout 1": ({"dropout": 1.0}, "dropout: got 1.0, wanted 0 to below 1"),
    "negative dropout": ({"dropout": -0.1}, "dropout: got -0.1"),
    "unknown field": ({"config": {"n_lyaer": 2}}, "config: got 'n_lyaer'"),
    "vocabulary": ({"config": {"vocab_size": 1000}}, "vocab_size: got 1000, wanted"),
}


@pytest.mark.parametrize(("arguments", "says"), BAD.values(), ids=BAD.keys())
def test_a_bad_argument_is_one_line(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as caught:
        EmojiGPT2(**arguments)
    assert says in one_line(caught)


def test_rows_longer_than_the_model_reads_are_one_line(tmp_path: Path) -> None:
    model = EmojiGPT2(config=TINY | {"n_positions": 4})
    with pytest.raises(UserError) as caught:
        quiet_trainer(tmp_path, max_steps=1).fit(model, loader(make_rows(2), 2))
    assert "max_length" in one_line(caught)


def test_a_data_module_of_another_tokenizer_is_refused(tmp_path: Path, small_csv: Path) -> None:
    vocab = {symbol: number for number, symbol in enumerate([*map(chr, range(33, 127)), "\u0120"])}
    vocab |= {f"<{number}>": len(vocab) + number for number in range(300)}
    other = tmp_path / "other"
    GPT2Tokenizer(vocab={**vocab, "<|endoftext|>": len(vocab)}, merges=[]).save_pretrained(other)
    GPT2LMHeadModel(GPT2Config(**TINY, vocab_size=len(vocab) + 1)).save_pretrained(other)
    data = EmojiDataModule(str(small_csv), cache_dir=str(tmp_path))
    with pytest.raises(UserError, match="another tokenizer") as caught:
        quiet_trainer(tmp_path, max_steps=1).fit(EmojiGPT2(str(other)), datamodule=data)
    assert "\n" not in str(caught.value)
