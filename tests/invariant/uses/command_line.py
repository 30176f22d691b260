"""The command line: python -m emoji_gpt2 {fit,validate,test,predict}."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file

from tests.invariant.uses.commands import (
    DATA,
    OUT,
    RATES,
    TRAINER,
    Ran,
    expect_one_line,
    fit,
    fit_words,
    on_data,
    run,
    succeed,
)
from tests.invariant.uses.harness import (
    expect,
    expect_close,
    expect_equal,
    one_line,
    use,
)
from tests.invariant.uses.tiny import files, load, logged, read_csv, rows, trained, write_table
from tests.invariant.uses.watch import expected_rates

RISING = ["--model.learning_rate=30", "--model.warmup_steps=300", "--trainer.max_epochs=4"]
"""A warm-up that does not end: val/loss is lowest after the first epoch."""
WTE = "model.transformer.wte.weight"


def metric(name: str, folder: str = OUT) -> dict[int, float]:
    """Return a metric of metrics.csv by step."""
    return logged(f"{folder}/metrics.csv", name)


def rates(folder: str = OUT) -> dict[int, float]:
    """Return the learning rates that a LearningRateMonitor logged, by step."""
    columns = [name for name in read_csv(f"{folder}/metrics.csv")[0] if name.startswith("lr-")]
    expect(bool(columns), "no learning rate in metrics.csv")
    return metric(columns[0], folder)


def measured(ran: Ran, name: str) -> float:
    """Return a metric of the table that validate and test print."""
    lines = [line for line in ran.stdout.splitlines() if name in line]
    expect(bool(lines), f"{name} is not printed")
    return float(lines[-1].replace("│", " ").split()[1])


def best_epoch(name: str, *, highest: bool, folder: str = OUT) -> int:
    """Return the epoch with the best value in metrics.csv."""
    values = list(metric(name, folder).values())
    return values.index(max(values) if highest else min(values))


def exported(folder: str = OUT) -> torch.Tensor:
    """Return the embedding of the exported model."""
    return load_file(f"{folder}/model/model.safetensors")["transformer.wte.weight"]


def checkpoint_of_epoch(epoch: int, folder: str = OUT) -> str:
    """Return the kept checkpoint of an epoch, by its content."""
    found = [path for path in files(folder) if load(f"{folder}/{path}")["epoch"] == epoch]
    found = [path for path in found if Path(path).name != "last.ckpt"]
    expect(bool(found), f"no checkpoint of epoch {epoch} among {files(folder)}")
    return found[0]


@use
def fit_command() -> str:
    """A fit: what it measured is what the same fit in Python measures; it exports its best."""
    fit()
    other = trained()
    expect_close(list(metric("train/loss").values()), other.watch.logged_losses, "train/loss")
    wanted = [one["val/mrr"] for one in other.watch.validations]
    expect_close(list(metric("val/mrr").values()), wanted, "val/mrr")
    best = checkpoint_of_epoch(best_epoch("val/mrr", highest=True))
    expect_close(exported(), load(f"{OUT}/{best}")["state_dict"][WTE], "exported embedding", 0.0)
    return f"{best}, {len(wanted)} validations"


@use
def validate_best() -> str:
    """Command validate --ckpt_path best: the best val/mrr of metrics.csv."""
    fit(*RISING, "--trainer.max_epochs=3")
    found = measured(on_data("validate", "--ckpt_path=best"), "val/mrr")
    expect_close(found, max(metric("val/mrr").values()), "val/mrr")
    return f"val/mrr {found:.4f}"


@use
def validate_last() -> str:
    """Command validate --ckpt_path last: the last val/mrr of metrics.csv."""
    fit(*RISING, "--trainer.max_epochs=3")
    found = measured(on_data("validate", "--ckpt_path=last"), "val/mrr")
    expect_close(found, list(metric("val/mrr").values())[-1], "val/mrr")
    return f"val/mrr {found:.4f}"


@use
def best_of_three() -> str:
    """--checkpoint.save_top_k 3, validate --ckpt_path best: the best of the three kept."""
    fit(*RISING, "--checkpoint.save_top_k=3", "--trainer.max_epochs=5")
    found = measured(on_data("validate", "--ckpt_path=best"), "val/mrr")
    expect_close(found, max(metric("val/mrr").values()), "val/mrr")
    wanted = load(f"{OUT}/{checkpoint_of_epoch(best_epoch('val/mrr', highest=True))}")
    expect_close(exported(), wanted["state_dict"][WTE], "exported embedding", 0.0)
    return f"val/mrr {found:.4f}"


@use(may_refuse=True)
def monitor_loss_flag() -> str:
    """--checkpoint.monitor val/loss: the epoch of the lowest val/loss is kept and exported."""
    ran = run(*fit_words(*RISING, "--checkpoint.monitor=val/loss"))
    if ran.status == 2:
        return expect_one_line(ran, "mode")
    losses = list(metric("val/loss").values())
    best = checkpoint_of_epoch(losses.index(min(losses)))
    expect_close(exported(), load(f"{OUT}/{best}")["state_dict"][WTE], "exported embedding", 0.0)
    found = measured(on_data("validate", "--ckpt_path=best"), "val/loss")
    expect_close(found, min(losses), "val/loss")
    return f"{best} of val/loss {[round(loss, 1) for loss in losses]}"


@use
def test_command() -> str:
    """Command test --ckpt_path last: what trainer.test of the same run in Python finds."""
    fit()
    other = trained()
    (wanted,) = other.trainer.test(other.module, datamodule=other.data)
    found = measured(on_data("test", "--ckpt_path=last"), "test/loss")
    expect_close(found, wanted["test/loss"], "test/loss")
    return f"test/loss {found:.4f}"


@use
def predict_command() -> str:
    """Command predict: predictions.csv has each text with the emoji that Python's predict finds."""
    texts = [text for text, _ in rows(9)]
    Path("prompts.csv").write_text("\n".join(["text", *texts]) + "\n", encoding="utf-8")
    fit()
    on_data("predict", "--ckpt_path=last", "--data.predict_path=prompts.csv")
    found = read_csv(f"{OUT}/predictions.csv")
    expect_equal([row["text"] for row in found], texts, "texts")
    module = trained().module
    ids = [module.tokenizer(text)["input_ids"] for text in texts]
    with torch.no_grad():
        scores = [module.eval().model(torch.tensor([one])).logits[0, -1] for one in ids]
    emoji = module.candidate_ids[1:]
    best = [module.tokenizer.decode(int(emoji[score[emoji].argmax()])) for score in scores]
    expect_equal([row["emoji_1"] for row in found], best, "best emoji")
    return f"{len(found)} rows"


@use
def going_on() -> str:
    """--ckpt_path last with more epochs: metrics.csv goes on, each step once; the longer plan."""
    fit(*RATES)
    fit(*RATES, "--trainer.max_epochs=4", "--ckpt_path=last")
    expect_equal(list(metric("train/loss")), list(range(20)), "steps")
    wanted = expected_rates(0.01, 2, 20, 20)
    expect_close([rates()[step] for step in range(10, 20)], wanted[10:], "rates from step 10 on")
    return "20 steps"


@use
def going_on_in_the_middle() -> str:
    """A run that max_steps ended within an epoch goes on: each step and each row once."""
    fit("--trainer.max_epochs=3", "--trainer.max_steps=7")
    fit("--trainer.max_epochs=3", "--ckpt_path=last")
    expect_equal(list(metric("train/loss")), list(range(15)), "steps of metrics.csv")
    expect_equal(list(metric("val/mrr")), [4, 9, 14], "steps of validations")
    expect_equal(load(f"{OUT}/last.ckpt")["global_step"], 15, "steps of last.ckpt")
    return "15 steps"


@use
def going_on_after_a_stop() -> str:
    """A run that SIGTERM stopped goes on to the weights of one never stopped."""
    words = ("--trainer.max_epochs=40", "--model.dropout=0.2")
    fit("--output_dir=whole", *words)
    process = subprocess.Popen(
        [sys.executable, "-m", "emoji_gpt2.fit", *fit_words(*words)[1:]],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    while process.poll() is None and not Path(f"{OUT}/last.ckpt").exists():
        time.sleep(0.01)
    process.terminate()
    expect_equal(process.wait(), 128 + signal.SIGTERM, "exit status")
    stopped = load(f"{OUT}/last.ckpt")["global_step"]
    expect(0 < stopped < 200, f"stopped after step {stopped}")
    fit(*words, "--ckpt_path=last")
    whole, ours = (load(f"{folder}/last.ckpt")["state_dict"] for folder in ("whole", OUT))
    expect_close(ours[WTE], whole[WTE], "embedding", 0.0)
    expect_equal(list(metric("train/loss")), list(range(200)), "steps")
    return f"stopped after step {stopped}"


@use
def going_on_with_another_rate() -> str:
    """--ckpt_path last --model.learning_rate: the new rate on the longer schedule."""
    fit(*RATES, "--trainer.max_epochs=4")
    fit(*RATES, "--trainer.max_epochs=6", "--ckpt_path=last", "--model.learning_rate=0.001")
    wanted, found = expected_rates(0.001, 2, 30, 30), rates()
    # The first step, which `going_on` looks at, aside.
    expect_close([found[step] for step in range(21, 30)], wanted[21:], "rates from step 21 on")
    return f"{found[21]:.3g} at step 21"


@use
def optimizer_flags() -> str:
    """--optimizer SGD --lr_scheduler StepLR: these, with their own rate."""
    fit("--optimizer=SGD", "--optimizer.lr=0.5", "--lr_scheduler=StepLR",
        "--lr_scheduler.step_size=1", "--lr_scheduler.gamma=0.1", *RATES)  # fmt: skip
    expect_close([rates()[step] for step in (0, 4, 5, 9)], [0.5, 0.5, 0.05, 0.05], "rates")
    states = load(f"{OUT}/last.ckpt")["optimizer_states"][0]
    expect("momentum" in states["param_groups"][0], "the optimizer is no SGD")
    return "0.5, then 0.05"


@use(may_refuse=True)
def optimizer_and_learning_rate() -> str:
    """--optimizer AdamW with --model.learning_rate 0.05: refused, or that rate."""
    ran = run(*fit_words("--optimizer=AdamW", "--model.learning_rate=0.05", *RATES))
    if ran.status:
        return expect_one_line(ran, "learning_rate")
    said = "learning_rate" in ran.stderr
    first = next(iter(rates().values()))
    expect(said or first == 0.05, f"the first rate is {first}, 0.05 is ignored without a word")
    return "a line says so" if said else "0.05"


@use
def callbacks_flag() -> str:
    """--trainer.callbacks+=EarlyStopping: it ends training after the epoch it should."""
    fit(*RISING, "--trainer.max_epochs=8", "--trainer.callbacks+=EarlyStopping",
        "--trainer.callbacks.monitor=val/loss", "--trainer.callbacks.patience=2")  # fmt: skip
    losses = list(metric("val/loss").values())
    expect_equal(len(losses), losses.index(min(losses)) + 3, "epochs")
    return f"{len(losses)} epochs"


@use
def learning_rate_finder_flag() -> str:
    """--trainer.callbacks+=LearningRateFinder: warm-up and cosine to the rate it found."""
    fit("--trainer.callbacks+=LearningRateFinder", "--trainer.callbacks.num_training_steps=40",
        *RATES, "--trainer.max_epochs=10", "--trainer.limit_val_batches=0")  # fmt: skip
    found = load(f"{OUT}/last.ckpt")["hyper_parameters"]["learning_rate"]
    expect(found != 0.01, "the rate that was asked for is used")
    wanted = expected_rates(found, 2, 50, 50)
    expect_close([rates()[step] for step in range(5)], wanted[:5], f"rates ({found:.3g} found)")
    return f"found {found:.3g}"


@use
def timer_flag() -> str:
    """--trainer.callbacks+=Timer: it ends training."""
    fit("--trainer.callbacks+=Timer", "--trainer.callbacks.duration=00:00:00:02",
        "--trainer.max_epochs=9999", "--checkpoint.every_n_epochs=500")  # fmt: skip
    steps = len(metric("train/loss"))
    expect(0 < steps < 9999 * 5, f"{steps} steps")
    return f"{steps} steps"


@use
def max_time_flag() -> str:
    """--trainer.max_time: it ends training, and the model is exported."""
    fit("--trainer.max_time=00:00:00:02", "--trainer.max_epochs=-1")
    expect(Path(f"{OUT}/model/model.safetensors").exists(), "no model")
    return f"{len(metric('train/loss'))} steps"


@use
def barebones_flag() -> str:
    """--trainer.barebones true: it trains and exits with 0."""
    words = [word for word in fit_words("--trainer.barebones=true") if "log_every" not in word]
    words = [w for w in words if "progress_bar" not in w and "model_summary" not in w]
    succeed(*words)
    expect("val/mrr" not in "".join(files(OUT, "*.csv")), "metrics were logged")
    return f"{files(OUT, '*')}"


@use
def fast_dev_run_flag() -> str:
    """--trainer.fast_dev_run true: nothing is written, the real command runs afterwards."""
    fit("--trainer.fast_dev_run=true")
    expect_equal(files(OUT, "*"), [], "files")
    fit("--trainer.max_epochs=1")
    return "no file"


@use
def overfit_batches_flag() -> str:
    """--trainer.overfit_batches 1: one batch is learnt by heart."""
    fit("--trainer.overfit_batches=1", "--trainer.max_epochs=40", "--trainer.limit_val_batches=0",
        "--trainer.enable_checkpointing=false", "--model.learning_rate=0.03")  # fmt: skip
    losses = list(metric("train/loss").values())
    expect(losses[-1] < 1.6, f"train/loss ends at {losses[-1]}")
    return f"{losses[0]:.2f} to {losses[-1]:.2f}"


@use(may_refuse=True)
def accumulation_scheduler_flag() -> str:
    """--trainer.callbacks+=GradientAccumulationScheduler, then --ckpt_path last: it goes on."""
    words = ["--trainer.callbacks+=GradientAccumulationScheduler",
             '--trainer.callbacks.scheduling={"0": 1, "1": 2}', *RATES]  # fmt: skip
    ran = run(*fit_words(*words))
    if ran.status:
        return expect_one_line(ran, "accumulate")
    expect_close(rates()[7], expected_rates(0.01, 2, 8, 8)[7], "last rate")
    fit(*words, "--trainer.max_epochs=3", "--ckpt_path=last")
    expect_equal(list(metric("train/loss")), list(range(11)), "steps")
    return "8 and 3 steps"


@use
def batch_size_finder_flag() -> str:
    """--trainer.callbacks+=BatchSizeFinder, then --ckpt_path last: it goes on with that size."""
    words = ["--trainer.callbacks+=BatchSizeFinder", "--trainer.callbacks.max_trials=2",
             "--trainer.callbacks.init_val=4", "--trainer.callbacks.steps_per_trial=1"]  # fmt: skip
    fit(*words, "--trainer.max_epochs=3", *RATES)
    planned = expected_rates(0.01, 2, len(rates()), len(rates()))
    expect_close(list(rates().values()), planned, "rates")
    fit(*words, "--trainer.max_epochs=4", *RATES, "--ckpt_path=last")
    return f"{len(rates())} steps"


@use
def filename_flag() -> str:
    """--checkpoint.filename '{epoch:02d}-{step}': validate --ckpt_path best finds it."""
    fit(*RISING, "--checkpoint.filename={epoch:02d}-{step}", "--trainer.max_epochs=3")
    found = measured(on_data("validate", "--ckpt_path=best"), "val/mrr")
    expect_close(found, max(metric("val/mrr").values()), "val/mrr")
    return f"{files(OUT)}"


@use
def dirpath_flag() -> str:
    """--checkpoint.dirpath D: validate --ckpt_path best finds it."""
    fit(*RISING, "--checkpoint.dirpath=kept", "--trainer.max_epochs=3")
    expect_equal(len(files("kept")), 1, "checkpoints")
    found = measured(on_data("validate", "--ckpt_path=best"), "val/mrr")
    expect_close(found, max(metric("val/mrr").values()), "val/mrr")
    return f"{files('kept')}"


@use
def filename_with_metric_flag() -> str:
    """--checkpoint.filename 'm-{val/mrr:.3f}': a file in the run's folder, in no folder `m-val`."""
    fit("--checkpoint.filename=m-{val/mrr:.3f}")
    best = max(metric("val/mrr").values())
    expect_equal(files(OUT), ["last.ckpt", f"m-val_mrr={best:.3f}.ckpt"], "checkpoints")
    return f"{files(OUT)}"


@use
def fused_clipping_flag() -> str:
    """--optimizer.fused true with clipping in bf16-mixed: the gradients are clipped."""
    words = ("--optimizer=SGD", "--optimizer.lr=1", "--optimizer.fused=true",
             "--trainer.precision=bf16-mixed")  # fmt: skip
    fit(*words, "--trainer.gradient_clip_val=1e-9")
    fit(*words, "--output_dir=free")
    clipped, free = (list(metric("val/loss", folder).values()) for folder in (OUT, "free"))
    expect_close(clipped[-1], clipped[0], "val/loss of the last epoch", 1e-5)
    expect(free[-1] < free[0] - 0.01, f"without clipping val/loss is {free}")
    return f"val/loss {clipped[0]:.3f} to {clipped[-1]:.3f}, unclipped to {free[-1]:.3f}"


@use
def ddp_fork_flag() -> str:
    """--trainer.devices 2 --trainer.strategy ddp_fork: metrics.csv is that of one process."""
    fit("--trainer.devices=2", "--trainer.strategy=ddp_fork")
    fit("--output_dir=one")
    for name in ("train/loss", "val/mrr"):
        two, one = (list(metric(name, folder).values()) for folder in (OUT, "one"))
        expect_close(two, one, name, 1e-4)
    expect_close(exported(), exported("one"), "exported embedding", 1e-3)
    return f"{len(metric('train/loss'))} steps"


@use
def ddp_flag() -> str:
    """Module emoji_gpt2.fit --trainer.devices 2 --trainer.strategy ddp: as one process."""
    words = fit_words("--trainer.devices=2", "--trainer.strategy=ddp")[1:]
    done = subprocess.run(
        [sys.executable, "-m", "emoji_gpt2.fit", *words],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}: {one_line(done.stderr[-300:])}")
    fit("--output_dir=one")
    for name in ("train/loss", "val/mrr"):
        two, one = (list(metric(name, folder).values()) for folder in (OUT, "one"))
        expect_close(two, one, name, 1e-4)
    return f"{len(metric('train/loss'))} steps"


@use
def saved_config() -> str:
    """Command fit --config out/config.yaml --output_dir again: the same run."""
    fit(*RISING)
    succeed("fit", f"--config={OUT}/config.yaml", "--output_dir=again")
    expect_equal(metric("train/loss", "again"), metric("train/loss"), "train/loss")
    expect_close(exported("again"), exported(), "exported embedding", 0.0)
    return "bit for bit"


@use
def print_config() -> str:
    """Command fit --print_config: a config that runs."""
    ran = succeed(*fit_words(), "--print_config")
    config = yaml.safe_load(ran.stdout)
    expect_equal(config["trainer"]["max_epochs"], 2, "max_epochs")
    Path("printed.yaml").write_text(ran.stdout, encoding="utf-8")
    succeed("fit", "--config=printed.yaml")
    return f"{len(metric('train/loss'))} steps"


@use
def logger_flags() -> str:
    """--trainer.logger false writes no metrics; TensorBoardLogger writes its own."""
    fit("--trainer.logger=false")
    expect_equal(files(OUT, "metrics.csv"), [], "metrics")
    fit("--output_dir=tb", "--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=logs")
    expect_equal(len(files("logs", "events*")), 1, "event files")
    return "none; events"


@use
def seed_flag() -> str:
    """--seed_everything 1 twice, and 2: the same losses, and others."""
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        fit(f"--output_dir={folder}", f"--seed_everything={seed}", "--model.dropout=0.3")
    expect_equal(metric("train/loss", "b"), metric("train/loss", "a"), "train/loss")
    expect(metric("train/loss", "c") != metric("train/loss", "a"), "seeds 1 and 2 are the same")
    return "bit for bit"


@use
def stopped_before_validation() -> str:
    """--trainer.max_steps 3, before any validation: the newest weights are exported."""
    fit("--trainer.max_steps=3")
    expect_close(exported(), load(f"{OUT}/last.ckpt")["state_dict"][WTE], "embedding", 0.0)
    return "3 steps"


@use
def no_validation_rows() -> str:
    """--data.val_fraction 0: the newest weights are kept and exported."""
    fit("--data.val_fraction=0")
    expect_close(exported(), load(f"{OUT}/last.ckpt")["state_dict"][WTE], "embedding", 0.0)
    return "the last weights"


@use
def second_model_checkpoint_flag() -> str:
    """--trainer.callbacks+=ModelCheckpoint beside ours: each keeps its own, ours is exported."""
    fit(*RISING, "--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.monitor=val/loss",
        "--trainer.callbacks.dirpath=mine")  # fmt: skip
    losses = list(metric("val/loss").values())
    (mine,) = files("mine")
    expect_equal(load(f"mine/{mine}")["epoch"], losses.index(min(losses)), "epoch of mine")
    best = checkpoint_of_epoch(best_epoch("val/mrr", highest=True))
    expect_close(exported(), load(f"{OUT}/{best}")["state_dict"][WTE], "exported embedding", 0.0)
    return f"{mine}, {best}"


@use
def exported_model_as_pretrained() -> str:
    """Command fit --model.pretrained out/model: it begins where the first run's best ended."""
    fit(*RISING)
    write_table(rows())
    start = f"--model.pretrained={OUT}/model"
    succeed("fit", *DATA, *TRAINER, start, "--trainer.max_epochs=1", "--output_dir=second",
            "--trainer.log_every_n_steps=1", "--model.learning_rate=1e-9")  # fmt: skip
    best = best_epoch("val/mrr", highest=True)
    wanted = list(metric("val/loss").values())[best]
    expect_close(metric("val/loss", "second")[4], wanted, "val/loss", 1e-3)
    return f"val/loss {wanted:.3f}"
