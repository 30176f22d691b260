"""Fitting, evaluating, saving and going on from Python, with EmojiGPT2 as it is."""

import copy
import pickle
from typing import Any

import pandas as pd
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.tuner import Tuner
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel

from emoji_gpt2 import EmojiDataModule, EmojiGenerator, EmojiGPT2
from tests.invariant.uses.harness import (
    expect,
    expect_close,
    expect_equal,
    expect_other_weights,
    expect_same_weights,
    refused,
    use,
)
from tests.invariant.uses.tiny import (
    TINY,
    kaggle_table,
    larger_data,
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
    candidates_of,
    expect_exact_steps,
    expect_rates,
    plain_gradients,
    plain_network,
    plain_scores,
    texts_of,
)

WTE = "model.transformer.wte.weight"


def fit_loaders(module: EmojiGPT2, train: Any, val: Any = None, **options: Any) -> Watch:
    """Train with loaders instead of a data module."""
    watch = Watch()
    new_trainer(callbacks=[watch], **options).fit(module, train, val)
    return watch


@use
def fit_with_loaders() -> str:
    """fit(model, train_loader, val_loader): the weights that fit(model, data) leads to."""
    data, module = ready_data(), new_model()
    fit_loaders(module, data.train_dataloader(), data.val_dataloader(), max_epochs=3)
    expect_same_weights(weights(module), trained(max_epochs=3).weights)
    return "bit for bit"


@use
def loaders_with_accumulation() -> str:
    """Loaders made before there was a trainer, with accumulate 3: exact means over each step."""
    data, module = ready_data(batch_size=8), new_model()
    watch = fit_loaders(module, data.train_dataloader(), accumulate_grad_batches=3)
    return expect_exact_steps(module, watch, most=12)


@use(may_refuse=True)
def two_validation_loaders() -> str:
    """fit(model, train, [val, test]): each loader's metrics are its own, whatever their names."""
    data, module = ready_data(), new_model()
    loaders = [data.val_dataloader(), data.test_dataloader()]
    watch = Watch()
    trainer = new_trainer(callbacks=[watch])
    trainer.fit(module, data.train_dataloader(), loaders)
    for number, loader in enumerate(loaders):
        wanted = plain_scores(module, loader)
        for name in ("loss", "mrr"):
            numbered, plain = f"val/{name}/dataloader_idx_{number}", f"val/{name}"
            expect(number == 0 or numbered in trainer.callback_metrics, f"no {numbered}")
            got = trainer.callback_metrics.get(numbered, trainer.callback_metrics.get(plain))
            expect_close(got, wanted[name], f"val/{name} of loader {number}")
    return "two times two metrics"


@use
def torch_loader_of_batches() -> str:
    """A torch DataLoader of one's own Batches: each step is the mean of its batch."""
    data, module = ready_data(), new_model()
    batches = [_without_count(batch) for batch in data.train_dataloader()]
    loader: Any = DataLoader(batches, batch_size=None, shuffle=True)  # type: ignore[arg-type]
    watch = fit_loaders(module, loader)
    expect_equal(len(watch.steps), 10, "steps")
    return expect_exact_steps(module, watch)


def _without_count(batch: Any) -> Any:
    fields = getattr(batch, "_fields", ())
    return batch._replace(step_tokens=None) if "step_tokens" in fields else batch


@use
def fit_twice() -> str:
    """A second fit of the same module with a new trainer: it begins with the trained weights."""
    first = trained()
    end = first.weights
    second = trained(first.module)
    begin = second.watch.steps[0].before[WTE]
    expect_close(begin, end["transformer.wte.weight"], "the embedding", 0.0)
    expect_rates(second.watch, 0.01, 2, 10)
    expect(second.watch.logged_losses[0] < first.watch.logged_losses[0] - 1, "it starts over")
    return f"{first.watch.logged_losses[0]:.2f}, then {second.watch.logged_losses[0]:.2f}"


@use
def fit_on_with_one_trainer() -> str:
    """trainer.fit again after max_epochs is raised: as one run of all epochs."""
    module, data, watch = new_model(warmup_steps=0), new_data(), Watch()
    trainer = new_trainer(callbacks=[watch], max_epochs=1)
    trainer.fit(module, datamodule=data)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, datamodule=data)
    other = trained(new_model(warmup_steps=0), max_epochs=2)
    expect_equal(watch.texts(1), other.watch.texts(1), "texts of epoch 1")
    expect_exact_steps(module, watch)
    return f"{trainer.global_step} steps"


@use
def data_module_in_two_trainers() -> str:
    """One data module in two trainers: the second run is as with a new one."""
    data = new_data()
    trained(data=data)
    expect_same_weights(trained(data=data).weights, trained().weights)
    return "bit for bit"


@use
def validate_after_fit() -> str:
    """trainer.validate after fit: the val/ metrics of the last epoch."""
    fit = trained()
    wanted = {n: float(v) for n, v in fit.trainer.callback_metrics.items() if n[:4] == "val/"}
    (found,) = fit.trainer.validate(fit.module, datamodule=fit.data)
    expect_equal(found, wanted, "metrics")
    return f"{len(found)} metrics"


@use
def test_after_fit() -> str:
    """trainer.test: the metrics of a plain GPT-2 on the test rows."""
    fit = trained()
    (found,) = fit.trainer.test(fit.module, datamodule=fit.data)
    for name, wanted in plain_scores(fit.module, fit.data.test_dataloader()).items():
        expect_close(found[f"test/{name}"], wanted, name)
    return f"test/mrr {found['test/mrr']:.3f}"


def _prompts(count: int = 21) -> list[str]:
    texts = [text for text, _ in rows(count)]
    pd.DataFrame({"text": texts}).to_csv("prompts.csv", index=False)
    return texts


@use
def predict() -> str:
    """trainer.predict: each text's best emoji and probabilities, by a plain GPT-2, in order."""
    texts, fit = _prompts(), trained()
    data = new_data(predict_path="prompts.csv", batch_size=8)
    found: Any = new_trainer().predict(fit.module, datamodule=data)
    ids_BK, probabilities_BK = (torch.cat([batch[k] for batch in found]) for k in (0, 1))
    network, candidates = plain_network(fit.module), candidates_of(fit.module.tokenizer)[1:]
    for row, text in enumerate(texts):
        prompt = torch.tensor([fit.module.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            shares = network(prompt).logits[0, -1, candidates].softmax(0)
        best = shares.topk(5)
        expect_equal(ids_BK[row].tolist(), candidates[best.indices].tolist(), text)
        expect_close(probabilities_BK[row], best.values, text)
    return f"{len(texts)} texts"


@use
def predict_loader_after_fit() -> str:
    """fit(datamodule=data), then predict(model, loader) of the same trainer: that loader's rows."""
    fit = trained()
    loader = fit.data.val_dataloader()
    found: Any = fit.trainer.predict(fit.module, loader)
    rows_in_it = sum(len(batch.first_B) for batch in loader)
    expect_equal(sum(len(ids) for ids, _ in found), rows_in_it, "texts")
    return f"{len(found)} batches"


@use
def predict_then_fit() -> str:
    """predict, then fit, on a table validated by built-in keywords: as fit alone."""
    _prompts()
    path = kaggle_table()
    module = new_model()
    new_trainer().predict(module, datamodule=new_data(path=path, predict_path="prompts.csv"))
    torch.manual_seed(0)
    fit = trained(module, new_data(path=path))
    other = trained(data=new_data(path=path))
    expect_same_weights(fit.watch.steps[0].before, other.watch.steps[0].before, 1e-6)
    expect_close(fit.value("val/mrr"), other.value("val/mrr"), "val/mrr")
    return f"val/mrr {fit.value('val/mrr'):.3f} both times"


@use
def network_looked_at_before_fit() -> str:
    """model.model is there from the start, and fit begins with it, whatever the data hold out."""
    module = new_model()
    start = weights(module)
    fit = trained(module, new_data(path=kaggle_table()))
    begin = fit.watch.steps[0].before[WTE]
    expect_close(begin, start["transformer.wte.weight"], "the embedding", 0.0)
    return f"{sum(p.numel() for p in start.values()):,} weights"


@use
def start_does_not_depend_on_data() -> str:
    """Data module or loaders, keywords held out or not: the embeddings start the same."""
    data = ready_data(path=kaggle_table())
    module = new_model()
    watch = fit_loaders(module, data.train_dataloader(), data.val_dataloader())
    starts = [watch, trained(data=new_data(path="kaggle.csv")).watch, trained().watch]
    for other in starts[1:]:
        expect_same_weights(other.steps[0].before, watch.steps[0].before)
    return "three times the same start"


@use
def held_out_keywords_are_a_fact() -> str:
    """No keyword that one table validates on is trained on with the built-in table."""
    kaggle, builtin = ready_data(path=kaggle_table()), ready_data(path=None, batch_size=512)
    held = {t for b in kaggle.val_dataloader() for t in texts_of(b, kaggle.tokenizer)}
    seen = {t for b in builtin.train_dataloader() for t in texts_of(b, builtin.tokenizer)}
    expect(len(held) > 3, f"{len(held)} validation texts")
    expect_equal(sorted(held & seen), [], "validation texts of the one among rows of the other")
    return f"{len(held)} texts, none among {len(seen):,}"


@use
def save_and_load() -> str:
    """save_checkpoint, load_from_checkpoint: weights, tokenizer, hyper-parameters, predictions."""
    fit = trained()
    fit.trainer.save_checkpoint("a.ckpt")
    loaded = EmojiGPT2.load_from_checkpoint("a.ckpt", map_location="cpu")
    expect_same_weights(weights(loaded), fit.weights)
    expect_equal(loaded.tokenizer.get_vocab(), fit.module.tokenizer.get_vocab(), "vocabulary")
    expect_equal(loaded.hparams["learning_rate"], 0.01, "learning_rate")
    (found,) = new_trainer().validate(loaded, datamodule=new_data())
    expect_close(found["val/mrr"], fit.value("val/mrr"), "val/mrr")
    return f"val/mrr {found['val/mrr']:.3f}"


@use
def load_with_other_hyper_parameters() -> str:
    """load_from_checkpoint(learning_rate=0.5, dropout=0.9): training uses both."""
    trained().trainer.save_checkpoint("a.ckpt")
    loaded = EmojiGPT2.load_from_checkpoint(
        "a.ckpt", map_location="cpu", learning_rate=0.5, dropout=0.9
    )
    fit = trained(loaded)
    expect_rates(fit.watch, 0.5, 2, 10)
    wanted, _ = plain_gradients(loaded, fit.watch.steps[0].before, fit.watch.window(0))
    expect_other_weights(fit.watch.steps[0].gradients, wanted)
    probabilities = {m.p for m in loaded.modules() if "ropout" in type(m).__name__}
    expect_equal(probabilities, {0.9}, "dropout")
    return "0.5 and 0.9"


@use
def load_another_architecture() -> str:
    """load_from_checkpoint with another config: refused."""
    trained().trainer.save_checkpoint("a.ckpt")

    def load() -> None:
        try:
            EmojiGPT2.load_from_checkpoint(
                "a.ckpt", map_location="cpu", config=TINY | {"n_embd": 8}
            )
        except RuntimeError as error:  # Lightning's and torch's own for wrong shapes has many lines
            raise ValueError(str(error).splitlines()[0]) from error

    return refused(load)


@use
def load_state_dict_by_hand() -> str:
    """torch.load, then load_state_dict into a new module: the same scores."""
    fit = trained()
    fit.trainer.save_checkpoint("a.ckpt")
    module = new_model(learning_rate=0.3)
    content = torch.load("a.ckpt", map_location="cpu", weights_only=True)
    module.load_state_dict(content["state_dict"])
    expect_same_weights(weights(module), fit.weights)
    return "bit for bit"


@use
def state_dict_round_trip() -> str:
    """load_state_dict(state_dict()) into an untouched module of another seed: the same scores."""
    module = new_model()
    torch.manual_seed(5)
    other = EmojiGPT2(config=TINY, dropout=0.0)
    other.load_state_dict(module.state_dict())
    expect_same_weights(weights(other), weights(module))
    (batch, *_) = ready_data().val_dataloader()
    scores = [m.eval()(batch.ids_BT, batch.positions_N) for m in (module, other)]
    expect(torch.equal(*scores), "the scores differ")
    return "bit for bit"


@use
def deepcopy_of_the_module() -> str:
    """copy.deepcopy before fit: the copy stays, the original trains; the copy then trains alike."""
    module = new_model()
    copied = copy.deepcopy(module)
    start = weights(copied)
    fit = trained(module)
    expect_same_weights(weights(copied), start)
    expect_same_weights(trained(copied).weights, fit.weights)
    return "bit for bit"


@use
def pickle_of_the_module() -> str:
    """pickle.loads(pickle.dumps(module)) after fit: the same weights and predictions."""
    fit = trained()
    fit.module.trainer = None  # type: ignore[assignment]
    again = pickle.loads(pickle.dumps(fit.module))
    expect_same_weights(weights(again), fit.weights)
    (found,) = new_trainer().validate(again, datamodule=new_data())
    expect_close(found["val/mrr"], fit.value("val/mrr"), "val/mrr")
    return "bit for bit"


@use
def resume_for_longer() -> str:
    """fit(ckpt_path=...) of a run of 2 epochs with max_epochs=4: the rates of the longer plan."""
    trained(max_epochs=2).trainer.save_checkpoint("a.ckpt")
    rest = trained(new_model(), ckpt_path="a.ckpt", max_epochs=4)
    whole = trained(max_epochs=4)
    expect_equal(rest.watch.texts(2), whole.watch.texts(2), "texts of epoch 2")
    expect_close(rest.watch.rates, whole.watch.rates[10:], "rates", 1e-6)
    expect_equal(rest.trainer.global_step, 20, "steps")
    return "epochs 2 and 3 with their rows and rates"


@use
def resume() -> str:
    """fit(ckpt_path=...) of a run that was stopped after 2 of 4 epochs: to the same weights."""
    trained(max_epochs=4, callbacks=[StopAt(10)]).trainer.save_checkpoint("a.ckpt")
    rest = trained(new_model(), ckpt_path="a.ckpt", max_epochs=4)
    expect_same_weights(rest.weights, trained(max_epochs=4).weights)
    return "bit for bit"


class StopAt(Callback):
    """Stop after so many steps.

    Args:
        step: After which.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        """Stop, as Ctrl-C would."""
        if trainer.global_step == self.step:
            trainer.should_stop = True


@use
def resume_with_another_rate() -> str:
    """fit(ckpt_path=...) of a module with another learning_rate: that rate, from there on."""
    trained(max_epochs=4, callbacks=[StopAt(10)]).trainer.save_checkpoint("a.ckpt")
    fit = trained(new_model(learning_rate=0.001), ckpt_path="a.ckpt", max_epochs=4)
    wanted = trained(new_model(learning_rate=0.001), max_epochs=4).watch.rates[10:]
    expect_close(fit.watch.rates, wanted, "rates", 1e-5)
    return f"{fit.watch.rates[0]:.2g} at step 10"


@use
def resume_with_other_rows() -> str:
    """fit(ckpt_path=...) with another batch_size: refused."""
    trained().trainer.save_checkpoint("a.ckpt")
    return refused(
        lambda: trained(new_model(), new_data(batch_size=8), ckpt_path="a.ckpt", max_epochs=3),
        "batch_size",
    )


@use
def tuner_lr_find() -> str:
    """Tuner.lr_find, then fit: warm-up and cosine to the rate found, the weights untouched."""
    start = trained().watch.steps[0].before[WTE]
    module, data = new_model(learning_rate=3e-4), new_data()
    found = Tuner(new_trainer(max_epochs=10)).lr_find(module, datamodule=data, num_training=40)
    rate = found.suggestion() if found else None
    assert rate is not None
    expect_close(weights(module)["transformer.wte.weight"], start, "the embedding", 0.0)
    fit = trained(module, data)
    expect_rates(fit.watch, rate, 2, 10)
    return f"found {rate:.3g}"


@use
def tuner_lr_find_with_accumulation() -> str:
    """Tuner.lr_find, accumulate 2: half of the losses that it sees without, as Lightning has it."""
    losses = []
    for window in (1, 2):
        trainer = new_trainer(accumulate_grad_batches=window)
        data = larger_data(batch_size=16 // window)
        found = Tuner(trainer).lr_find(new_model(), datamodule=data, num_training=40)
        assert found is not None
        losses.append(window * torch.tensor(found.results["loss"]))
    expect_close(losses[1], losses[0], "losses", 0.1)
    return f"{len(losses[0])} losses"


@use
def tuner_scale_batch_size() -> str:
    """Tuner.scale_batch_size, then fit: that size, each row once, the rates as planned."""
    module, data = new_model(), new_data(batch_size=4)
    trainer = new_trainer(max_epochs=2)
    size = Tuner(trainer).scale_batch_size(
        module, datamodule=data, init_val=8, max_trials=2, steps_per_trial=1
    )
    expect_equal(data.batch_size, size, "batch_size")
    fit = trained(module, data)
    sizes = sorted(len(one.texts) for one in fit.watch.batches if one.epoch == 0)
    expect_equal(set(sizes[1:]), {size}, "rows of all batches but one")
    expect_equal(len(set(fit.watch.texts(0))), len(fit.watch.texts(1)), "texts")
    expect_rates(fit.watch, 0.01, 2, len(fit.watch.steps))
    return f"from 4 to {size}"


@use
def gpt2_config_object() -> str:
    """config=GPT2Config(n_layer=1, ...): the network of the same dict, and it can be reloaded."""
    module = new_model(config=GPT2Config(**TINY))
    fit = trained(module)
    expect_same_weights(fit.weights, trained().weights)
    fit.trainer.save_checkpoint("a.ckpt")
    loaded = EmojiGPT2.load_from_checkpoint("a.ckpt", map_location="cpu")
    expect_same_weights(weights(loaded), fit.weights)
    return "bit for bit"


class Modes(Callback):
    """Keep whether dropout was on in each step."""

    def __init__(self) -> None:
        self.on: list[bool] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, *rest: Any
    ) -> None:
        """Look at all dropouts."""
        drops = [m.training for m in pl_module.modules() if "ropout" in type(m).__name__]
        self.on.append(bool(drops) and all(drops))


@use
def generator_then_fit() -> str:
    """An EmojiGenerator of the module answers, then fit: dropout is on in training."""
    fit, modes = trained(new_model(dropout=0.3)), Modes()
    EmojiGenerator(fit.module.model, fit.module.tokenizer).rank(["thing 3"])
    trained(fit.module, callbacks=[modes])
    expect(all(modes.on), f"dropout was off in {modes.on.count(False)} of {len(modes.on)} steps")
    return f"on in {len(modes.on)} steps"


@use
def generator_in_a_callback() -> str:
    """A callback answers texts with an EmojiGenerator after each epoch: dropout stays on."""

    class Answer(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            assert isinstance(pl_module, EmojiGPT2)
            EmojiGenerator(pl_module.model, pl_module.tokenizer).rank(["thing 3"])

    modes = Modes()
    trained(new_model(dropout=0.3), callbacks=[Answer(), modes], max_epochs=3)
    expect(all(modes.on), f"dropout was off in {modes.on.count(False)} of {len(modes.on)} steps")
    return f"on in {len(modes.on)} steps"


def _pretrained() -> str:
    torch.manual_seed(1)
    fit = trained(max_steps=1)
    fit.module.model.save_pretrained("gpt2")
    fit.module.tokenizer.save_pretrained("gpt2")
    return "gpt2"


@use
def pretrained_folder() -> str:
    """pretrained=FOLDER with dropout=0.3: its weights at the start, dropout on in training."""
    folder, modes = _pretrained(), Modes()
    module = EmojiGPT2(pretrained=folder, dropout=0.3, warmup_steps=2)
    fit = trained(module, new_data(tokenizer=folder), callbacks=[modes])
    start = GPT2LMHeadModel.from_pretrained(folder).transformer.wte.weight
    expect_close(fit.watch.steps[0].before[WTE], start.detach(), "the embedding", 0.0)
    expect(all(modes.on), f"dropout was off in {modes.on.count(False)} of {len(modes.on)} steps")
    return f"dropout on in {len(modes.on)} steps"


@use
def save_pretrained_of_the_network() -> str:
    """model.model.save_pretrained: Transformers loads it with the same scores."""
    fit = trained()
    fit.module.model.save_pretrained("out")
    loaded = GPT2LMHeadModel.from_pretrained("out").eval()
    (batch, *_) = fit.data.val_dataloader()
    with torch.no_grad():
        wanted = plain_network(fit.module)(batch.ids_BT).logits
        expect_close(loaded(batch.ids_BT).logits, wanted, "scores", 1e-5)
    return "the same scores"


@use
def gradient_checkpointing() -> str:
    """model.model.gradient_checkpointing_enable(): exact steps."""
    module = new_model()
    module.model.gradient_checkpointing_enable()
    fit = trained(module)
    return expect_exact_steps(fit.module, fit.watch)


@use
def freeze_layers() -> str:
    """freeze_layers=1: the block stays as it is, the embedding is trained."""
    fit = trained(new_model(freeze_layers=1))
    start, end = fit.watch.steps[0].before, fit.watch.epoch_ends[-1]
    moved = {name for name, tensor in end.items() if not torch.equal(tensor, start[name])}
    expect(not any(".h.0." in name for name in moved), "the frozen block was trained")
    expect(WTE in moved, "the embedding was not trained")
    return f"{len(moved)} of {len(end)} moved"


@use
def lora() -> str:
    """lora_rank=2: adapters and embedding are trained, nothing else; a checkpoint reloads."""
    fit = trained(new_model(lora_rank=2, dropout=0.0))
    start, end = fit.watch.steps[0].before, fit.watch.epoch_ends[-1]
    moved = {name for name, tensor in end.items() if not torch.equal(tensor, start[name])}
    expect(bool(moved), "nothing was trained")
    expect(all("lora_" in n or "wte" in n for n in moved), f"trained: {sorted(moved)}")
    fit.trainer.save_checkpoint("a.ckpt")
    loaded = EmojiGPT2.load_from_checkpoint("a.ckpt", map_location="cpu")
    (found,) = new_trainer().validate(loaded, datamodule=new_data())
    expect_close(found["val/loss"], fit.value("val/loss"), "val/loss", 1e-6)
    return f"{len(moved)} of {len(end)} moved"


@use
def init_module() -> str:
    """The model made within trainer.init_module(): the same weights."""
    watch = Watch()
    trainer = new_trainer(callbacks=[watch])
    with trainer.init_module():
        module = new_model()
    trainer.fit(module, datamodule=new_data())
    expect_same_weights(weights(module), trained().weights)
    return "bit for bit"


@use
def from_frame() -> str:
    """EmojiDataModule.from_frame of the table: the weights that the file leads to."""
    frame = pd.DataFrame(rows(), columns=["text", "emoji"])
    data = EmojiDataModule.from_frame(frame, batch_size=16, cache_dir="../cache", val_fraction=0.2)
    expect_same_weights(trained(data=data).weights, trained().weights)
    return "bit for bit"


@use
def weight_decay() -> str:
    """weight_decay=0.5: matrices without a gradient shrink as AdamW says, vectors stay."""
    fit = trained(new_model(weight_decay=0.5), max_steps=3, max_epochs=-1)
    factor = torch.tensor([1 - 0.5 * rate for rate in fit.watch.rates]).prod()
    start, end = fit.watch.steps[0].before, fit.weights
    untouched = _rows_without_gradient(fit.watch)
    got, wanted = end["transformer.wte.weight"][untouched], start[WTE][untouched] * factor
    expect_close(got, wanted, "rows of tokens that do not occur", 1e-4)
    return f"{len(untouched):,} rows shrank by {float(factor):.4f}"


def _rows_without_gradient(watch: Watch) -> Tensor:
    sizes = sum(step.gradients[WTE].abs().sum(1) for step in watch.steps)
    return torch.nonzero(sizes == 0)[:, 0]
