"""Going on from a checkpoint: with the same data only, from any place, in one metrics.csv."""

# ruff: noqa: F811 -- a fixture that is imported has the name of the parameter that asks for it

import os
import re
import signal
import stat
import time
from pathlib import Path

import pytest
import torch

from tests.cli_runs import (
    LEARNING,
    UPSTREAM,
    Cli,
    begun,  # noqa: F401 -- a fixture
    cli,  # noqa: F401 -- a fixture
    contents,
    load,
    train_losses,
    trained_run,  # noqa: F401 -- a fixture
    write_table,
)
from tests.distributed.forked import Forked

pytestmark = UPSTREAM
GO_ON = "--ckpt_path=last"


def assert_equal_weights(one: Path, other: Path) -> None:
    ours, wanted = (load(run / "last.ckpt")["state_dict"] for run in (one, other))
    assert ours.keys() == wanted.keys()
    assert ours.pop("_extra_state") == wanted.pop("_extra_state")
    for name, tensor in wanted.items():
        assert torch.equal(tensor, ours[name]), name


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--data.batch_size=4", "batch_size was 8 and is 4"),
        ("--trainer.accumulate_grad_batches=2", "accumulate_grad_batches was 1 and is 2"),
    ],
)
def test_another_order_of_data_is_refused(cli: Cli, begun: Path, flag: str, said: str) -> None:
    before = load(begun / "last.ckpt")["global_step"]
    error = cli(GO_ON, "--trainer.max_epochs=3", flag, tiny=False).error()
    assert error.startswith("error: --ckpt_path: got a checkpoint of a run on other data")
    assert said in error
    assert "--data.allow_other_data true" in error
    assert load(begun / "last.ckpt")["global_step"] == before


def test_a_run_of_718b248_goes_on(cli: Cli, begun: Path) -> None:
    """Its config.yaml has options that are gone, its last.ckpt no path of its own."""
    path, config = begun / "last.ckpt", begun / "config.yaml"
    stored = load(path)
    (last,) = [s for name, s in stored["callbacks"].items() if name.startswith("LastCheckpoint")]
    last["last_model_path"] = ""
    torch.save(stored, path)
    gone = "hub:\n  tag: null\n  request_timeout: 60.0\n  exit_wait: 60.0\n"
    config.write_text(config.read_text(encoding="utf-8").replace("hub:\n", gone), encoding="utf-8")
    words = [f"--config={config}", GO_ON, "--trainer.max_epochs=3"]
    done = cli.raw("fit", *words, folder=begun)
    assert done.status == 0, done.stderr
    assert "hub.exit_wait: an option of older versions, not used" in done.stderr
    assert "hub.tag" not in done.stderr, "it had no value"
    assert "exit_wait" not in config.read_text(encoding="utf-8"), "it was written anew"
    assert load(path)["global_step"] > stored["global_step"]


def test_other_rows_are_refused_unless_allowed(cli: Cli, begun: Path) -> None:
    write_table(cli.data, n_emoji=16)
    words = [GO_ON, "--trainer.max_epochs=3"]
    said = "the sources, the tokenizer or the version of emoji_gpt2 have changed"
    assert said in cli(*words, tiny=False).error()
    before = len(train_losses(begun / "metrics.csv"))
    run = cli(*words, "--data.allow_other_data=true", tiny=False)
    assert run.status == 0, run.stderr
    assert f"going on with other data: {said}" in run.stderr
    assert len(train_losses(begun / "metrics.csv")) > before


def test_evaluation_of_other_data_is_not_refused(cli: Cli, trained_run: Path) -> None:
    words = [f"--ckpt_path={trained_run / 'last.ckpt'}", "--data.batch_size=3"]
    run = cli(*words, command="test", tiny=False)
    assert run.status == 0, run.stderr


def test_an_epoch_that_was_limited_is_over(cli: Cli, tmp_path: Path) -> None:
    words = [*LEARNING, "--trainer.limit_train_batches=2", "--trainer.max_epochs=2"]
    words.append("--checkpoint.save_top_k=-1")
    whole = cli(*words, f"--output_dir={tmp_path / 'whole'}")
    assert whole.status == 0, whole.stderr
    (first,) = whole.folder.glob("best-epoch=0-*.ckpt")
    content = load(first)
    assert content["EmojiDataModule"]["epoch"] == 1
    assert content["EmojiDataModule"]["batches"] == 0
    again = cli(*words, f"--ckpt_path={first}", tiny=False)
    assert again.status == 0, again.stderr
    assert_equal_weights(again.folder, whole.folder)


@pytest.mark.slow
def test_slurm_requeues_and_the_job_goes_on(cli: Cli, tmp_path: Path) -> None:
    """SIGUSR1, SLURM's warning, to a real process; `scontrol` is a script that notes its call."""
    words = [*LEARNING, "--trainer.max_epochs=8"]
    whole = cli(*words, f"--output_dir={tmp_path / 'whole'}")
    assert whole.status == 0, whole.stderr
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\nkill -KILL $PPID\n')
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IXUSR)
    slurm = {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "emoji", "SLURM_JOB_ID": "7"}
    slurm |= dict.fromkeys(("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"), "0")
    slurm["PATH"] = f"{scontrol.parent}:{os.environ['PATH']}"
    command = ["emoji_gpt2.fit", *cli._flags(tuple(words), "fit", tiny=True)]
    process = Forked(command, tmp_path, **slurm)
    metrics = cli.folder / "metrics.csv"
    while process.poll() is None and not (metrics.exists() and len(train_losses(metrics)) > 9):
        time.sleep(0.01)
    process.send_signal(signal.SIGUSR1)
    _, error = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, error
    assert (tmp_path / "called").read_text() == "requeue 7\n"
    assert (cli.folder / "hpc_ckpt_1.ckpt").is_file()
    done = Forked(command, tmp_path, **slurm)  # the very same command
    _, error = done.communicate(timeout=120)
    assert done.returncode == 0, error
    assert_equal_weights(cli.folder, tmp_path / "whole")


# The best checkpoint


def test_best_is_the_best_of_those_that_are_kept(cli: Cli, tmp_path: Path) -> None:
    """Three are kept, of which the best is the first: that of the largest loss."""
    words = ["--checkpoint.save_top_k=3", "--checkpoint.mode=max"]
    words += ["--checkpoint.filename={epoch}-{val/loss:.1f}", "--checkpoint.monitor=val/loss"]
    run = cli(*words, "--trainer.max_epochs=4")
    assert run.status == 0, run.stderr
    losses = {int(row["epoch"]): float(row["val/loss"]) for row in run.metrics if row["val/loss"]}
    best = max(losses, key=losses.__getitem__)
    assert best < 3, losses
    (path,) = run.folder.glob(f"epoch={best}-val_loss=*.ckpt")
    assert f"The weights of {path.name} are in" in run.stderr
    assert len(list(run.folder.glob("epoch=*.ckpt"))) == 3
    (tmp_path / "texts.csv").write_text("text\nthing\n", encoding="utf-8")
    words = ["--ckpt_path=best", f"--data.predict_path={tmp_path / 'texts.csv'}"]
    for command, more in (("predict", []), ("fit", ["--trainer.max_epochs=5"])):
        run = cli(*words, *more, command=command, tiny=False)
        assert run.status == 0, run.stderr
        assert str(path) in run.stderr


def test_best_moves_with_its_folder(cli: Cli, begun: Path, tmp_path: Path) -> None:
    moved = begun.rename(tmp_path / "moved")
    run = cli("--ckpt_path=best", f"--output_dir={moved}", command="test", tiny=False)
    begun.mkdir()
    assert run.status == 0, run.stderr
    (best,) = moved.glob("best-*.ckpt")
    assert str(best) in run.stderr
    best.unlink()
    error = cli("--ckpt_path=best", f"--output_dir={moved}", command="test", tiny=False).error()
    assert f"{best.name}' and is gone" in error
    (moved / "last.ckpt").write_bytes(b"no")
    error = cli("--ckpt_path=best", f"--output_dir={moved}", command="test", tiny=False).error()
    assert "wanted a whole checkpoint" in error
    (moved / "last.ckpt").unlink()
    error = cli("--ckpt_path=best", f"--output_dir={moved}", command="test", tiny=False).error()
    assert "wanted a last.ckpt" in error


# Another optimizer

SGD = ["--optimizer=SGD", "--optimizer.lr=0.1"]
STEP = ["--lr_scheduler=StepLR", "--lr_scheduler.step_size=1"]


@pytest.mark.parametrize(
    ("first", "refused"),
    [
        (
            SGD,
            {
                "": "--optimizer: got AdamW, .* parameter groups of",
                "--optimizer=AdamW": "--optimizer: got AdamW, .* momentum, nesterov instead of",
            },
        ),
        (STEP, {"": "--lr_scheduler: got WarmupCosine, .* step_size instead of lr_lambdas"}),
    ],
)
def test_another_optimizer_is_refused_and_changes_nothing(
    cli: Cli, first: list[str], refused: dict[str, str]
) -> None:
    # Killed after last.ckpt: metrics.csv has more rows than that knows of.
    run = cli(*first, "--checkpoint.every_n_train_steps=3", "--trainer.max_steps=3")
    assert run.status == 0, run.stderr
    with (run.folder / "metrics.csv").open("a", encoding="utf-8") as file:
        file.write("0,3" + "," * (len(run.metrics[0]) - 2) + "\n")
    before = contents(run.folder)
    for then, said in refused.items():
        error = cli(*then.split(), GO_ON, "--trainer.max_epochs=3").error()
        assert re.match(f"error: {said}", error), error
        after = contents(run.folder)
        assert [name for name in before if after[name] != before[name]] in ([], ["hparams.yaml"])
    assert cli(*first, GO_ON, "--trainer.max_epochs=2").status == 0


def test_weights_alone_are_nothing_to_go_on_from(cli: Cli, tmp_path: Path) -> None:
    run = cli("--checkpoint.save_weights_only=true")
    assert run.status == 0, run.stderr
    words = ["--ckpt_path=best", "--trainer.max_epochs=2"]
    assert "holds weights alone" in cli(*words).error()
    assert cli("--ckpt_path=best", command="test", tiny=False).status == 0
