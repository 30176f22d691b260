"""The Lightning module: what it learns, divides, saves and refuses.

References walk over single rows through GPT2LMHeadModel's own full logits.
"""

import json
import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import SGD, Optimizer
from transformers import GPT2Config, GPT2LMHeadModel

from emoji_gpt2.batch import Batch, SoftTargets, collate
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.errors import UserError
from emoji_gpt2.model.module import EmojiGPT2
from emoji_gpt2.model.optim import warmup_cosine
from emoji_gpt2.tokenizer import tokenizer_to_json
from tests.cli_runs import load
from tests.tiny import TINY, Watch, quiet_trainer, same, tiny_data, weights

pytestmark = pytest.mark.filterwarnings(  # most tests here train without validating
    "ignore:You defined a .validation_step. but have no .val_dataloader.:UserWarning"
)

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
        rows.append(row(text, rng.integers(FIRST_EMOJI, END_OF_PROMPT, rng.integers(1, 6))))
    return rows


def row(text: Sequence[int], emoji: Sequence[int]) -> Row:
    return np.array([*text, END_OF_PROMPT, *emoji, EOS]), len(text) + 1, np.unique(emoji)


def loader(rows: list[Row], size: int) -> Loader:
    return Loader([collate(rows[i : i + size], EOS) for i in range(0, len(rows), size)])


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


VAL_NAMES = {"val/loss", "val/hit_at_1", "val/hit_at_5", "val/mrr"}


def test_learns_forty_rows(small_csv: Path, tmp_path: Path) -> None:
    model = fresh(learning_rate=0.03, warmup_steps=0)
    data = tiny_data(small_csv, val_path=str(small_csv))  # what it was taught
    [before] = quiet_trainer(tmp_path).validate(model, datamodule=data, verbose=False)
    watch = Watch()
    trainer = quiet_trainer(tmp_path, max_epochs=16, callbacks=[watch], check_val_every_n_epoch=16)
    trainer.fit(model, datamodule=data)
    assert trainer.callback_metrics.keys() >= VAL_NAMES | {"train/loss"}
    [after] = quiet_trainer(tmp_path).validate(model, datamodule=data, verbose=False)

    assert before.keys() == after.keys() == VAL_NAMES
    losses = [*watch.losses.values()]
    assert len(losses) == 16 * 5
    assert losses[0] == pytest.approx(np.log(N_EMOJI + 1), rel=0.1)
    assert np.mean(losses[-5:]) < losses[0] / 3
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
    rows[5] = row([], [FIRST_EMOJI + 3] * 3)  # no text, a repeated emoji
    rows[6] = row([4, EOS, FIRST_EMOJI], [FIRST_EMOJI + 8])  # the text itself holds candidates
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
def start() -> EmojiGPT2:
    torch.manual_seed(1)
    return EmojiGPT2(config=TINY | {"initializer_range": 0.2}, dropout=0.0)


def fresh(kind: type[EmojiGPT2] = EmojiGPT2, **values: Any) -> Any:
    """A model of a kind, from scratch; to make one anew takes a second."""
    model = deepcopy(start(), {id(start().tokenizer): start().tokenizer})
    model.__class__ = kind
    for name, value in values.items():
        setattr(model, name, value)
    return model


@pytest.fixture(scope="module")
def shared() -> EmojiGPT2:
    """A model from scratch, to look at only."""
    model: EmojiGPT2 = fresh().eval()
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
    model = fresh(PlainSteps, rate=0.5)
    trainer = quiet_trainer(tmp_path, max_epochs=1, accumulate_grad_batches=accumulate)
    trainer.fit(model, with_steps(batches, accumulate))
    assert trainer.global_step == len(model.seen) == 3

    reference = fresh()
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


@pytest.mark.parametrize("rows", [[], [(np.array([7, 8, END_OF_PROMPT]), 3, np.empty(0))]])
def test_a_window_without_any_supervised_token_changes_nothing(
    tmp_path: Path, rows: list[Row]
) -> None:
    model = fresh(PlainSteps, rate=0.5)
    before = weights(model)
    quiet_trainer(tmp_path, max_epochs=1).fit(model, with_steps([collate(rows, EOS)], 1))
    assert len(model.seen) == 1  # each parameter has a gradient
    assert model.losses == [0]
    assert same(weights(model), before)


# The learning rate


def test_the_learning_rate_ends_with_each_run(tmp_path: Path) -> None:
    """10 batches, accumulated by 5: 2 steps an epoch."""
    model = fresh(learning_rate=1e-3, warmup_steps=1)
    runs = ({"max_epochs": 3}, 6), ({"max_steps": 4}, 4), ({"max_epochs": 3, "max_steps": 2}, 2)
    for options, total in runs:
        watch = Watch()
        trainer = quiet_trainer(tmp_path, accumulate_grad_batches=5, callbacks=[watch], **options)
        trainer.fit(model, loader(make_rows(10), 1))
        assert trainer.global_step == total
        wanted = {step: 1e-3 * warmup_cosine(step, 1, total) for step in range(total)}
        assert watch.rate_of_step == pytest.approx(wanted)


# The network


def test_candidates_are_end_of_text_and_the_table_in_order(shared: EmojiGPT2) -> None:
    tokens = shared.tokenizer.convert_ids_to_tokens(shared.candidate_ids.tolist())
    assert tokens == ["<|endoftext|>", *EmojiTable.builtin()]
    assert shared.candidate_index[shared.candidate_ids].tolist() == list(range(1 + N_EMOJI))
    assert (shared.candidate_index >= 0).sum() == 1 + N_EMOJI


def test_dropout_is_on_in_training(tiny_gpt2: Path, tmp_path: Path) -> None:
    """``from_pretrained`` gives a model in evaluation mode, and Lightning leaves it there."""

    class Modes(Callback):
        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, *_: Any
        ) -> None:
            self.training = [module.training for module in pl_module.model.modules()]

    modes = Modes()
    model = EmojiGPT2(pretrained=str(tiny_gpt2), dropout=0.5)
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


# Checkpoints


class Checkpoint(NamedTuple):
    """A checkpoint of a model from a folder that is gone, its weights and its scores."""

    path: Path
    weights: dict[str, Tensor]
    scores: Tensor


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2: Path) -> Checkpoint:
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
    return Checkpoint(home / "whole.ckpt", weights(model), scores)


def test_a_checkpoint_holds_plain_values_only(checkpoint: Checkpoint) -> None:
    content = load(checkpoint.path)
    state = content["state_dict"]["_extra_state"]
    assert json.loads(json.dumps(state)) == {**state, "adapters": list(state["adapters"])}
    assert state["config"]["n_embd"] == 16
    assert state["config"]["vocab_size"] == END_OF_PROMPT + 1
    assert state["base_model"] == content["hyper_parameters"]["pretrained"]
    assert content["hyper_parameters"]["learning_rate"] == 0.01


def test_a_checkpoint_needs_nothing_else(checkpoint: Checkpoint, shared: EmojiGPT2) -> None:
    model = EmojiGPT2.load_from_checkpoint(checkpoint.path).eval()
    batch = collate(make_rows(5, seed=9), EOS)
    with torch.no_grad():
        assert model(batch.ids_BT, batch.positions_N).equal(checkpoint.scores)
    assert same(weights(model), checkpoint.weights)
    assert model.model.lm_head.weight is model.model.transformer.wte.weight
    assert tokenizer_to_json(model.tokenizer) == tokenizer_to_json(shared.tokenizer)
    assert model.tokenizer("I love pizza").input_ids[-1] == END_OF_PROMPT
    assert model.tokenizer.eos_token_id == model.model.config.eos_token_id == EOS


def dropouts(model: EmojiGPT2) -> list[float]:
    block = model.model.transformer.h[0]
    layers = (model.model.transformer.drop, block.attn.attn_dropout, block.attn.resid_dropout,
              block.mlp.dropout)  # fmt: skip
    return [layer.p for layer in layers]


def test_dropout_reaches_the_network(shared: EmojiGPT2, checkpoint: Checkpoint) -> None:
    pdrops = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.3)
    assert dropouts(EmojiGPT2(config=TINY | pdrops)) == [0.3] * 4
    assert dropouts(shared) == [0.0] * 4
    assert dropouts(EmojiGPT2.load_from_checkpoint(checkpoint.path)) == [0.25] * 4


def test_a_loaded_model_can_be_evaluated_trained_and_saved_again(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """At the learning rate given: only a run that goes on has a schedule to bring to another."""
    model = EmojiGPT2.load_from_checkpoint(checkpoint.path, warmup_steps=0)
    assert model.learning_rate == 0.01
    model.learning_rate = 0.5
    batches = loader(make_rows(8), 8)
    quiet_trainer(tmp_path).validate(model, batches, verbose=False)
    watch = Watch()
    trainer = quiet_trainer(tmp_path, max_steps=1, callbacks=[watch])
    trainer.fit(model, batches)
    assert watch.rates == [0.5]
    trainer.save_checkpoint(tmp_path / "again.ckpt")
    again = EmojiGPT2.load_from_checkpoint(tmp_path / "again.ckpt")
    assert same(weights(again), weights(model))
    assert not same(weights(again), checkpoint.weights)
    assert again.base_model == model.base_model


class Foreign(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters({"width": 3})
        self.layer = torch.nn.Linear(3, 3)


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    line = str(error.value)
    assert "\n" not in line
    assert re.match(r"\w+: got ", line)
    return line


def test_a_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.ckpt"
    trainer = quiet_trainer(tmp_path, max_steps=2)
    trainer.strategy.connect(Foreign())
    trainer.save_checkpoint(path)
    for ask in (
        lambda: EmojiGPT2.load_from_checkpoint(path),
        lambda: trainer.fit(fresh(), loader(make_rows(2), 2), ckpt_path=path),
    ):
        with pytest.raises(UserError) as caught:
            ask()
        assert "wanted one of EmojiGPT2" in one_line(caught)


def test_the_checkpoint_decides_what_is_loaded_and_weights_of_another_shape_are_refused(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    loaded = EmojiGPT2.load_from_checkpoint(checkpoint.path, pretrained=None)
    assert same(weights(loaded), checkpoint.weights)
    wider = TINY | {"n_embd": 32}
    with pytest.raises(UserError, match="config: got"):
        EmojiGPT2.load_from_checkpoint(checkpoint.path, config=wider)
    model = fresh(model=GPT2LMHeadModel(GPT2Config(**wider, vocab_size=END_OF_PROMPT + 1)))
    trainer = quiet_trainer(tmp_path, max_steps=3)
    with pytest.raises(RuntimeError, match="size mismatch"):
        trainer.fit(model, loader(make_rows(2), 2), ckpt_path=checkpoint.path)


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
    "freeze": ({"freeze_layers": -1}, "freeze_layers: got -1, wanted 0 or more"),
    "rank": ({"lora_rank": -1}, "lora_rank: got -1, wanted 0 or more"),
    "alpha": ({"lora_alpha": 0}, "lora_alpha: got 0, wanted more than 0"),
    "freeze more": (
        {"config": TINY, "freeze_layers": 2},
        "freeze_layers: got 2, wanted 0 to 1, the model's n_layer",
    ),
}


@pytest.mark.parametrize(("arguments", "says"), BAD.values(), ids=BAD.keys())
def test_a_bad_argument_is_one_line(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as caught:
        EmojiGPT2(**arguments)
    assert says in one_line(caught)


def test_rows_longer_than_the_model_reads_are_one_line(tmp_path: Path) -> None:
    model = fresh()
    model.model.config.n_positions = 4
    with pytest.raises(UserError) as caught:
        quiet_trainer(tmp_path, max_steps=1).fit(model, loader(make_rows(2), 2))
    assert "max_length" in one_line(caught)
