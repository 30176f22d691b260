"""Going on from a checkpoint: with the same data only, from any place, in one metrics.csv."""

# ruff: noqa: F811 -- a fixture that is imported has the name of the parameter that asks for it

import os
import signal
import stat
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from emoji_gpt2.data import EmojiDataModule
from emoji_gpt2.loader import TrainingLoader
from tests.cli_runs import (
    LEARNING,
    UPSTREAM,
    Cli,
    begun,  # noqa: F401 -- a fixture
    cli,  # noqa: F401 -- a fixture
    load,
    train_losses,
    trained_run,  # noqa: F401 -- a fixture
    write_table,
)

pytestmark = UPSTREAM
GO_ON = "--ckpt_path=last"


def assert_equal_weights(one: Path, other: Path) -> None:
    ours, wanted = (load(run / "last.ckpt")["state_dict"] for run in (one, other))
    assert ours.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(tensor, ours[name]), name


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--data.batch_size=4", "batch_size was 8 and is 4"),
        ("--data.seed=5", "seed was 0 and is 5"),
        ("--data.max_length=64", "max_length was 128 and is 64"),
        ("--data.skin_tones=drop", "skin_tones was 'keep' and is 'drop'"),
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


def test_other_rows_are_refused_unless_allowed(cli: Cli, begun: Path) -> None:
    write_table(cli.data, n_emoji=16)
    words = [GO_ON, "--trainer.max_epochs=3"]
    assert "the sources or the tokenizer have changed" in cli(*words, tiny=False).error()
    before = len(train_losses(begun / "metrics.csv"))
    run = cli(*words, "--data.allow_other_data=true", tiny=False)
    assert run.status == 0, run.stderr
    assert "going on with other data: the sources or the tokenizer have changed" in run.stderr
    assert len(train_losses(begun / "metrics.csv")) > before


def test_the_same_rows_under_another_name_are_the_same(
    cli: Cli,
    begun: Path,
    tmp_path: Path,
) -> None:
    moved = cli.data.rename(tmp_path / "moved.csv")
    run = cli(GO_ON, "--trainer.max_epochs=3", f"--data.path={moved}", tiny=False)
    assert run.status == 0, run.stderr


def test_evaluation_of_other_data_is_not_refused(cli: Cli, trained_run: Path) -> None:
    words = [f"--ckpt_path={trained_run / 'last.ckpt'}", "--data.batch_size=3"]
    run = cli(*words, command="test", tiny=False)
    assert run.status == 0, run.stderr


def test_an_epoch_that_was_limited_is_over(cli: Cli, tmp_path: Path) -> None:
    words = [*LEARNING, "--trainer.limit_train_batches=2"]
    whole = cli(*words, "--trainer.max_epochs=2", f"--output_dir={tmp_path / 'whole'}")
    assert whole.status == 0, whole.stderr
    # The first epoch of two, as if killed at its end: by a limit on time, the schedule is the same.
    begun_run = cli(*words, "--trainer.max_epochs=2", "--checkpoint.save_top_k=-1")
    assert begun_run.status == 0, begun_run.stderr
    (first,) = begun_run.folder.glob("best-epoch=0-*.ckpt")
    content = load(first)
    assert content["EmojiDataModule"]["epoch"] == 1
    assert content["EmojiDataModule"]["batches"] == 0
    again = cli(*words, "--trainer.max_epochs=2", f"--ckpt_path={first}", tiny=False)
    assert again.status == 0, again.stderr
    assert_equal_weights(again.folder, whole.folder)


def test_a_loader_made_anew_each_epoch_goes_on_with_the_epochs(tmp_path: Path) -> None:
    data = EmojiDataModule(str(write_table(tmp_path / "a.csv")), cache_dir=str(tmp_path))
    data.prepare_data()
    data.setup("fit")
    data.trainer = trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    (of_epoch_0,) = [batch.ids_BT for batch in data.train_dataloader()]
    kept = TrainingLoader(data.train_dataloader().dataset, data.train_dataloader()._sampler)
    epochs = [batch.ids_BT for _ in range(2) for batch in kept]
    assert torch.equal(epochs[0], of_epoch_0)
    trainer.fit_loop.epoch_progress.current.completed = 1
    (of_epoch_1,) = [batch.ids_BT for batch in data.train_dataloader()]
    assert torch.equal(epochs[1], of_epoch_1)
    assert not torch.equal(of_epoch_0, of_epoch_1)


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
    with pytest.MonkeyPatch.context() as patch:
        for name, value in slurm.items():
            patch.setenv(name, value)
        process = cli.start(*words)
        metrics = cli.folder / "metrics.csv"
        while process.poll() is None and not (metrics.exists() and len(train_losses(metrics)) > 9):
            pass
        process.send_signal(signal.SIGUSR1)
        _, error = process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, error
        assert (tmp_path / "called").read_text() == "requeue 7\n"
        assert (cli.folder / "hpc_ckpt_1.ckpt").is_file()
        done = cli.start(*words)  # the very same command
        _, error = done.communicate(timeout=120)
        assert done.returncode == 0, error
    ours, wanted = (
        load(run / "last.ckpt")["state_dict"] for run in (cli.folder, tmp_path / "whole")
    )
    for name, tensor in wanted.items():
        assert torch.equal(tensor, ours[name]), name


@pytest.mark.slow
def test_two_runs_at_once_on_one_cold_cache_both_train(cli: Cli, tmp_path: Path) -> None:
    words = [f"--data.cache_dir={tmp_path / 'cold'}", "--trainer.max_steps=2"]
    folders = [tmp_path / "one", tmp_path / "two"]
    both = [cli.start(*words, f"--output_dir={folder}") for folder in folders]
    for process, folder in zip(both, folders, strict=True):
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        assert len(train_losses(folder / "metrics.csv")) == 2
    left = [path for path in (tmp_path / "cold" / "rows").iterdir() if path.suffix != ".lock"]
    assert len(left) == 1
