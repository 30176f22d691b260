"""Fitting, evaluating, saving and going on from Python, with EmojiGPT2 as it is."""

import copy
import pickle
from functools import partial
from typing import Any

import pandas as pd
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.tuner import Tuner
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel

from emoji_gpt2 import EmojiDataModule, EmojiGenerator, EmojiGPT2
from tests.invariant.uses.callbacks import Hook, stop_after
from tests.invariant.uses.harness import (
    expect,
    expect_close,
    expect_equal,
    expect_other_weights,
    expect_same_weights,
    refused,
    use,
)
from tests.invariant.uses.judge import (
    WTE,
    expect_exact_steps,
    expect_rates,
    expect_right,
    fits,
    row,
)
from tests.invariant.uses.tiny import (
    TINY,
    Fit,
    kaggle_table,
    load,
    new_data,
    new_model,
    new_trainer,
    ready_data,
    rows,
    trained,
    weights,
    write_prompts,
)
from tests.invariant.uses.watch import (
    candidates_of,
    plain_gradients,
    plain_network,
    plain_scores,
    texts_in,
)


def moved(fit: Fit) -> set[str]:
    """Return the names of the weights that training changed."""
    start, end = fit.watch.steps[0].before, fit.watch.epoch_ends[-1]
    return {name for name, tensor in end.items() if not torch.equal(tensor, start[name])}


def expect_as_measured(module: EmojiGPT2, fit: Fit) -> str:
    """Expect a module to have the weights of a fit and what its last validation found."""
    expect_same_weights(weights(module), fit.weights)
    (found,) = new_trainer().validate(module, datamodule=new_data())
    wanted = {n: float(v) for n, v in fit.trainer.callback_metrics.items() if n[:4] == "val/"}
    expect_equal(found, wanted, "metrics")
    return f"bit for bit, val/mrr {found['val/mrr']:.3f}"


def loaded(path: str, **arguments: Any) -> EmojiGPT2:
    return EmojiGPT2.load_from_checkpoint(path, map_location="cpu", **arguments)


def block_stays(fit: Fit) -> str:
    names = moved(fit)
    expect(not any(".h.0." in name for name in names), "the frozen block was trained")
    expect(WTE in names, "the embedding was not trained")
    return f"{len(names)} moved"


def decayed(fit: Fit) -> str:
    """Expect rows of tokens that do not occur to shrink as AdamW says."""
    factor = torch.tensor([1 - 0.5 * rate for rate in fit.watch.rates]).prod()
    sizes = sum(step.gradients[WTE].abs().sum(1) for step in fit.watch.steps)
    untouched = torch.nonzero(sizes == 0)[:, 0]
    start, end = fit.watch.steps[0].before[WTE], fit.weights["transformer.wte.weight"]
    expect_close(end[untouched], start[untouched] * factor, "rows of tokens that do not occur")
    return f"{len(untouched):,} rows shrank by {float(factor):.4f}"


def reloads(fit: Fit) -> str:
    return expect_as_measured(loaded(fit.saved()), fit)


def both(data: EmojiDataModule) -> tuple[Any, Any]:
    return data.train_dataloader(), data.val_dataloader()


def own_loader(data: EmojiDataModule) -> list[Any]:
    """Return a torch DataLoader of one's own Batches."""
    batches = [batch._replace(step_tokens=None) for batch in data.train_dataloader()]
    return [DataLoader(batches, batch_size=None, shuffle=True)]  # type: ignore[arg-type]


def framed() -> EmojiDataModule:
    frame = pd.DataFrame(rows(), columns=["text", "emoji"])
    return EmojiDataModule.from_frame(frame, batch_size=16, cache_dir="../cache", val_fraction=0.2)


def with_gradient_checkpointing() -> EmojiGPT2:
    module = new_model()
    module.model.gradient_checkpointing_enable()
    return module


def begins_trained(fit: Fit) -> None:
    expect(fit.watch.logged_losses[0] < 7.2, f"it begins with {fit.watch.logged_losses[0]}")


def stopped() -> str:
    """Return the checkpoint of a run that was stopped after 2 of 4 epochs."""
    return trained(max_epochs=4, callbacks=[stop_after(10)]).saved()


ROWS = {
    "fit_with_loaders": row(
        15, data=ready_data, loaders=both, max_epochs=3, same=lambda: trained(max_epochs=3)
    ),
    "loaders_with_accumulation": row(
        6,
        data=partial(ready_data, batch_size=8),
        loaders=lambda data: [data.train_dataloader()],
        accumulate_grad_batches=3,
        validations=[],
    ),
    "torch_loader_of_batches": row(data=ready_data, loaders=own_loader, validations=[]),
    "fit_twice": row(model=lambda: trained().module, also=begins_trained),
    "data_module_in_two_trainers": row(data=lambda: trained().data, same=trained),
    "from_frame": row(data=framed, same=trained),
    "gradient_checkpointing": row(model=with_gradient_checkpointing),
    "resume": row(20, ckpt=stopped, first=10, max_epochs=4, same=lambda: trained(max_epochs=4)),
    "resume_for_longer": row(20, ckpt=lambda: trained().saved(), first=10, max_epochs=4),
    "resume_with_another_rate": row(
        20,
        model={"learning_rate": 0.001},
        ckpt=stopped,
        first=10,
        rate=(0.001, 2),
        max_epochs=4,
    ),
    "freeze_layers": row(model={"freeze_layers": 1}, also=block_stays),
    "weight_decay": row(3, model={"weight_decay": 0.5}, max_steps=3, also=decayed),
    "gpt2_config_object": row(model={"config": GPT2Config(**TINY)}, same=trained, also=reloads),
}
fits(__name__, ROWS)


@use(may_refuse=True)
def two_validation_loaders() -> str:
    """fit(model, train, [val, test]): each loader's metrics are its own, whatever their names."""
    data = ready_data()
    loaders = [data.val_dataloader(), data.test_dataloader()]
    fit = trained(data=data, loaders=(data.train_dataloader(), loaders))
    metrics = fit.trainer.callback_metrics
    for number, loader in enumerate(loaders):
        wanted = plain_scores(fit.module, loader)
        for name in ("loss", "mrr"):
            numbered, plain = f"val/{name}/dataloader_idx_{number}", f"val/{name}"
            expect(number == 0 or numbered in metrics, f"no {numbered}")
            got = metrics.get(numbered, metrics.get(plain))
            expect_close(got, wanted[name], f"val/{name} of loader {number}")
    return "two times two metrics"


@use
def fit_on_with_one_trainer() -> str:
    """trainer.fit again after max_epochs is raised: as one run of all epochs."""
    fit = trained(new_model(warmup_steps=0), max_epochs=1)
    fit.trainer.fit_loop.max_epochs = 2
    fit.trainer.fit(fit.module, datamodule=fit.data)
    other = trained(new_model(warmup_steps=0), max_epochs=2)
    expect_equal(fit.watch.texts(1), other.watch.texts(1), "texts of epoch 1")
    return expect_exact_steps(fit.module, fit.watch)


@use
def predict() -> str:
    """trainer.predict: each text's best emoji and probabilities, by a plain GPT-2, in order."""
    texts, fit = write_prompts(), trained()
    data = new_data(predict_path="prompts.csv", batch_size=8)
    found: Any = new_trainer().predict(fit.module, datamodule=data)
    ids_BK, probabilities_BK = (torch.cat([batch[k] for batch in found]) for k in (0, 1))
    network, candidates = plain_network(fit.module), candidates_of(fit.module.tokenizer)[1:]
    for number, text in enumerate(texts):
        prompt = torch.tensor([fit.module.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            best = network(prompt).logits[0, -1, candidates].softmax(0).topk(5)
        expect_equal(ids_BK[number].tolist(), candidates[best.indices].tolist(), text)
        expect_close(probabilities_BK[number], best.values, text)
    return f"{len(texts)} texts"


@use
def predict_then_fit() -> str:
    """predict, then fit, on a table validated by built-in keywords: as fit alone."""
    write_prompts()
    path, module = kaggle_table(), new_model()
    new_trainer().predict(module, datamodule=new_data(path=path, predict_path="prompts.csv"))
    fit, other = (trained(one, new_data(path=path)) for one in (module, new_model()))
    expect_same_weights(fit.weights, other.weights)
    expect_close(fit.value("val/mrr"), other.value("val/mrr"), "val/mrr")
    return f"val/mrr {fit.value('val/mrr'):.3f} both times"


@use
def start_does_not_depend_on_data() -> str:
    """The network is there from the start, and fit begins with it, whatever is held out."""
    start = {f"model.{name}": tensor for name, tensor in new_model().model.named_parameters()}
    data = ready_data(path=kaggle_table())
    loaders = (data.train_dataloader(), data.val_dataloader())
    for fit in (trained(data=data), trained(data=data, loaders=loaders), trained()):
        expect_same_weights(fit.watch.steps[0].before, start)
    return "three times the same start"


@use
def held_out_keywords_are_a_fact() -> str:
    """No keyword that one table validates on is trained on with the built-in table."""
    kaggle, builtin = ready_data(path=kaggle_table()), ready_data(path=None, batch_size=512)
    held = set(texts_in(kaggle.val_dataloader(), kaggle.tokenizer))
    seen = set(texts_in(builtin.train_dataloader(), builtin.tokenizer))
    expect(len(held) > 3, f"{len(held)} validation texts")
    expect_equal(sorted(held & seen), [], "validation texts of the one among rows of the other")
    return f"{len(held)} texts, none among {len(seen):,}"


@use
def load_with_other_hyper_parameters() -> str:
    """load_from_checkpoint(learning_rate=0.5, dropout=0.9): training uses both."""
    module = loaded(trained().saved(), learning_rate=0.5, dropout=0.9)
    fit = trained(module)
    expect_rates(fit.watch, 0.5, 2, 10)
    wanted, _ = plain_gradients(module, fit.watch.steps[0].before, fit.watch.window(0))
    expect_other_weights(fit.watch.steps[0].gradients, wanted)
    probabilities = {m.p for m in module.modules() if "ropout" in type(m).__name__}
    expect_equal(probabilities, {0.9}, "dropout")
    return "0.5 and 0.9"


@use
def copies_of_the_module() -> str:
    """validate, test, a saved, a pickled and a hand-loaded module after fit; a copy before it."""
    module = new_model()
    before = copy.deepcopy(module)
    fit = trained(module)
    expect_same_weights(trained(before).weights, fit.weights)
    by_hand = new_model(learning_rate=0.3)
    by_hand.load_state_dict(load(fit.saved())["state_dict"])
    module.trainer = None  # type: ignore[assignment]
    for one in (module, loaded("a.ckpt"), by_hand, pickle.loads(pickle.dumps(module))):
        seen = expect_as_measured(one, fit)
    (found,) = fit.trainer.test(fit.module, datamodule=fit.data)
    for name, wanted in plain_scores(fit.module, fit.data.test_dataloader()).items():
        expect_close(found[f"test/{name}"], wanted, name)
    return seen


@use
def resume_in_the_middle() -> str:
    """A ModelCheckpoint's checkpoint within an epoch: the same rows, to the same weights."""
    keep = ModelCheckpoint("ckpt", "{step}", save_top_k=-1, every_n_train_steps=3)
    fit = trained(callbacks=[keep])
    step = fit.watch.steps[3]
    state = load("ckpt/step=3.ckpt")["state_dict"]
    expect_same_weights({name: state[name] for name in step.before}, step.before)
    resumed = trained(ckpt_path="ckpt/step=3.ckpt")
    texts, wanted = ([one.texts for one in f.watch.batches] for f in (resumed, fit))
    expect_equal(texts, wanted[3:], "batches")
    expect_same_weights(resumed.weights, fit.weights)
    return "bit for bit"


@use
def resume_with_other_rows() -> str:
    """fit(ckpt_path=...) with another batch_size: refused."""
    path = trained().saved()
    again = partial(trained, data=new_data(batch_size=8), ckpt_path=path, max_epochs=3)
    return refused(again, "batch_size")


@use
def tuner_lr_find() -> str:
    """Tuner.lr_find, then fit: as a module made with the rate that was found."""
    module, data = new_model(learning_rate=3e-4), new_data()
    found = Tuner(new_trainer(max_epochs=10)).lr_find(module, datamodule=data, num_training=40)
    rate = found.suggestion() if found else None
    assert rate is not None
    fit = trained(module, data)
    expect_same_weights(fit.weights, trained(new_model(learning_rate=rate)).weights)
    return expect_right(fit, rate=(rate, 2))


def expect_dropout(_trainer: Trainer, module: Any) -> None:
    """Expect all dropouts to be on."""
    drops = [m.training for m in module.modules() if "ropout" in type(m).__name__]
    expect(bool(drops) and all(drops), f"{drops.count(True)} of {len(drops)} dropouts are on")


WITH_DROPOUT = Hook("on_train_batch_start", expect_dropout)


@use
def generator_between() -> str:
    """An EmojiGenerator of the module answers after each epoch, then fit again: dropout stays."""

    def answer(_trainer: Any, module: Any) -> None:
        EmojiGenerator(module.model, module.tokenizer).rank(["thing 3"])

    after = Hook("on_train_epoch_end", answer)
    fit = trained(new_model(dropout=0.3), callbacks=[after, WITH_DROPOUT], max_epochs=3)
    answer(None, fit.module)
    trained(fit.module, callbacks=[WITH_DROPOUT])
    return "on in all steps"


@use
def pretrained_folder() -> str:
    """pretrained=FOLDER with dropout=0.3: its weights at the start, dropout on in training."""
    first = trained(max_steps=1)
    first.module.model.save_pretrained("gpt2")
    first.module.tokenizer.save_pretrained("gpt2")
    module = EmojiGPT2(pretrained="gpt2", dropout=0.3, warmup_steps=2)
    fit = trained(module, new_data(tokenizer="gpt2"), callbacks=[WITH_DROPOUT])
    start = GPT2LMHeadModel.from_pretrained("gpt2").transformer.wte.weight
    expect_close(fit.watch.steps[0].before[WTE], start.detach(), "the embedding", 0.0)
    return "dropout on in all steps"


@use
def lora() -> str:
    """lora_rank=2: adapters and embedding are trained, nothing else; a checkpoint reloads."""
    fit = trained(new_model(lora_rank=2))
    names = moved(fit)
    expect(bool(names), "nothing was trained")
    expect(all("lora_" in n or "wte" in n for n in names), f"trained: {sorted(names)}")
    (found,) = new_trainer().validate(loaded(fit.saved()), datamodule=new_data())
    expect_close(found["val/loss"], fit.value("val/loss"), "val/loss", 1e-6)
    return f"{len(names)} moved"
