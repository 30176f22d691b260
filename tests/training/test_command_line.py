"""How a command begins and ends: mistakes in one line, one run a folder, nothing left of none."""

# ruff: noqa: F811 -- a fixture that is imported has the name of the parameter that asks for it

import io
import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

from emoji_gpt2 import EmojiDataModule, EmojiGPT2, fine_tune_gpt2
from emoji_gpt2.distill import __main__ as distill
from emoji_gpt2.errors import UserError
from emoji_gpt2.evaluation import command as evaluate_cli
from emoji_gpt2.training import processes
from emoji_gpt2.training.cli import main
from emoji_gpt2.training.run_folder import claim, run_files
from tests.cli_runs import (
    UPSTREAM,
    Cli,
    begun,  # noqa: F401 -- a fixture
    cli,  # noqa: F401 -- a fixture
    contents,
    load,
    train_losses,
    trained_run,  # noqa: F401 -- a fixture
)
from tests.distributed.forked import Forked

pytestmark = UPSTREAM
STOPPING = "--trainer.callbacks+=EarlyStopping"
PLATEAU = "--lr_scheduler=ReduceLROnPlateau"
UNCHECKED = "--trainer.num_sanity_val_steps=0"

LATE: dict[str, tuple[list[str], str]] = {
    "no interval": (["--trainer.val_check_interval=0"], "--trainer.val_check_interval: got 0"),
    "an interval beyond the epoch": (["--trainer.val_check_interval=25"], "(`val_check"),
    "no epoch": (["--trainer.check_val_every_n_epoch=0"], "--trainer.check_val_every_n_epoch"),
    "a share of nothing": (
        ["--trainer.limit_val_batches=0.01"],
        "--trainer: got options that Lightning refuses (You requested",
    ),
    "nothing to keep the best of": (["--checkpoint.monitor=val/acc"], "--checkpoint.monitor"),
    "nothing, untried": (["--checkpoint.monitor=val/acc", UNCHECKED], "--checkpoint.monitor"),
    "nothing to stop for": ([STOPPING, "--trainer.callbacks.monitor=val/los"], "EarlyStopping"),
    "nothing of training": ([STOPPING, "--trainer.callbacks.monitor=loss"], "EarlyStopping"),
    "nothing to wait for": ([PLATEAU, "--lr_scheduler.monitor=val_loss"], "--lr_scheduler.monitor"),
    "no word on what is best": (["--checkpoint.monitor=val/x"], "--checkpoint.mode: got none"),
    "a plugin": (["--trainer.precision=transformer-engine"], "transformer_engine"),
    "a logger's package": (["--trainer.logger=WandbLogger"], "wandb"),
    "less than nothing": (
        ["--optimizer=SGD", "--optimizer.lr=-1"],
        "--optimizer: got options that it refuses (Invalid",
    ),
    "a logger that is off": (
        ["--trainer.callbacks+=LearningRateMonitor", "--trainer.logger=false"],
        "--trainer: got options that Lightning refuses (Cannot use `LearningRateMonitor`",
    ),
}


@pytest.mark.parametrize("mistake", LATE)
def test_what_lightning_finds_late_is_one_line_before_training(cli: Cli, mistake: str) -> None:
    words, said = LATE[mistake]
    assert said in cli(*words).error()
    assert run_files(cli.folder) == [], "the corrected command could not use the folder"


def test_a_value_that_yaml_takes_for_a_comment_is_refused(cli: Cli) -> None:
    said = "--data.delimiter: got '#', wanted no # in front; write ./# for a file, or give it in"
    assert said in cli("--data.delimiter=#").error()


def test_what_was_in_the_folder_stays_and_the_corrected_command_works(cli: Cli) -> None:
    cli.folder.mkdir()
    (cli.folder / "notes.txt").write_text("mine", encoding="utf-8")
    cli("--trainer.val_check_interval=25").error()
    assert cli().status == 0
    assert (cli.folder / "notes.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("rehearsal", ["--trainer.fast_dev_run=true", "--trainer.barebones=true"])
@pytest.mark.filterwarnings("ignore:You are trying to .self.log..:UserWarning")
def test_a_rehearsal_leaves_nothing(cli: Cli, rehearsal: str) -> None:
    if "barebones" in rehearsal:  # it refuses what would slow it down
        flags = ("log_every_n_steps", "progress_bar", "model_summary")
        cli.base = [word for word in cli.base if not any(flag in word for flag in flags)]
    run = cli(rehearsal)
    assert run.status == 0, run.stderr
    assert not cli.folder.exists()
    said = [line for line in run.stderr.splitlines() if line.startswith("barebones: ")]
    assert len(said) == ("barebones" in rehearsal)


class Faulty(EmojiGPT2):
    """Has a fault of the program's, before training or in its second step."""

    def __init__(self, before: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.before = before

    def on_fit_start(self) -> None:
        if self.before:
            raise RuntimeError("a fault of ours")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if batch_idx:
            self.log("a", "text")  # type: ignore[arg-type]


@pytest.mark.parametrize(("before", "fault"), [(True, "a fault of ours"), (False, "`str` values")])
def test_a_fault_of_the_program_keeps_its_traceback(cli: Cli, before: bool, fault: str) -> None:
    """Ours always, one that Lightning finds from the first step on."""
    with pytest.raises((RuntimeError, ValueError), match=fault):
        cli(f"--model.before={before}".lower(), model=Faulty)
    assert (cli.folder / "config.yaml").exists() != before


def test_a_configuration_that_cannot_be_written_does_not_end_the_run(cli: Cli) -> None:
    run = cli("--trainer.callbacks+=Timer", "--trainer.callbacks.duration=00:00:10:00")
    assert run.status == 0, run.stderr
    assert "config.yaml cannot be written: " in run.stderr
    assert not (run.folder / "config.yaml").exists()
    assert load(run.folder / "last.ckpt")["hyper_parameters"]["config"]["n_embd"] == 16


# One run a folder


def held(folder: Path) -> AbstractContextManager[None]:
    return claim(folder, resuming=True)


@pytest.mark.parametrize("going_on", [[], ["--ckpt_path=last"]])
def test_a_folder_in_use_is_refused(cli: Cli, begun: Path, going_on: list[str]) -> None:
    with held(begun):
        before = contents(begun)
        assert "another run is writing into" in cli(*going_on).error()
        with pytest.raises(UserError, match=r"^output_dir: got .* another run is writing into"):
            fine_tune_gpt2(output_dir=str(begun), resume=bool(going_on))
        assert contents(begun) == before


def test_a_folder_is_in_use_while_data_is_prepared_and_free_after_ctrl_c(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: EmojiDataModule) -> None:
        with pytest.raises(UserError, match="another run is writing into"), held(cli.folder):
            pass
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EmojiDataModule, "prepare_data", interrupted)
        assert cli().status == 130
    assert not cli.folder.exists()


def test_the_lock_of_a_killed_run_is_none(cli: Cli) -> None:
    cli.folder.mkdir()
    (cli.folder / ".lock").touch()
    assert cli().status == 0
    assert not (cli.folder / ".lock").exists()


@pytest.mark.parametrize("name", ["LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_NODEID"])
def test_only_the_first_process_of_a_run_locks(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert processes.first_of_run()
    monkeypatch.setenv(name, "1")
    assert not processes.first_of_run()
    assert processes.first_of_node() == (name != "LOCAL_RANK")


# What a rank other than the first finds


def test_a_mistake_that_another_process_finds_is_said(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "FIRST_SAYS_IT", 0.0)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    run = cli("--ckpt_path=nowhere.ckpt")
    assert run.status == 2
    assert run.stderr.startswith("error (rank 1): --ckpt_path: got 'nowhere.ckpt'")


OWN_MODEL = """
import os
from emoji_gpt2 import EmojiGPT2
from emoji_gpt2.training.cli import main
from emoji_gpt2.errors import UserError


class MyModel(EmojiGPT2):
    def __init__(self, finder: str = "", **options):
        super().__init__(**options)
        self.finder = finder

    def on_fit_start(self):
        if os.environ.get("LOCAL_RANK", "0") in self.finder:
            raise UserError("rank " + os.environ.get("LOCAL_RANK", "0"))


main("fit", MyModel)
"""


@pytest.mark.slow
def test_a_key_in_an_address_is_stored_nowhere(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    shared = tmp_path / "shared"
    shared.mkdir()
    rows = [f"pizza number {i},{emoji}" for i in range(30) for emoji in "🍕🐶"]
    (shared / "a.csv").write_text("\n".join(["text,emoji", *rows]), encoding="utf-8")
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    handler = partial(SimpleHTTPRequestHandler, directory=str(shared))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://me:hunter2@127.0.0.1:{server.server_port}/a.csv?key=hunter2"
        run = cli(f"--data.path={address}", f"--data.cache_dir={tmp_path / 'cache'}")
        server.shutdown()
    assert run.status == 0, run.stderr
    assert "hunter2" not in run.stdout + run.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"config.yaml", "hparams.yaml", "last.ckpt", "README.md"} <= {
        path.name for path in files
    }
    assert [path for path in files if b"hunter2" in path.read_bytes()] == []


@pytest.mark.parametrize("finder", ["1", "01"])
def test_two_processes_say_a_mistake_once(cli: Cli, tmp_path: Path, finder: str) -> None:
    words = ["--trainer.devices=2", "--trainer.strategy=ddp", f"--model.finder={finder}"]
    (tmp_path / "own.py").write_text(OWN_MODEL, encoding="utf-8")
    process = Forked(["own.py", *cli._flags(tuple(words), "fit", True)], tmp_path)
    _, err = process.communicate(timeout=120)
    wanted = "error (rank 1): rank 1" if finder == "1" else "error: rank 0"
    assert [line for line in err.splitlines() if line.startswith("error")] == [wanted], err
    assert process.returncode == (2 if finder != "1" else 1)
    assert run_files(cli.folder) == []


# A model of one's own


class Scaled(EmojiGPT2):
    """Scales its loss.

    Args:
        gamma: Times the loss.
    """

    def __init__(self, gamma: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.gamma = gamma

    def loss(self, logits_NV: torch.Tensor, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        nats, tokens = super().loss(logits_NV, batch)
        return self.gamma * nats, tokens


def test_the_command_line_takes_a_model_of_one_s_own(cli: Cli) -> None:
    words = ["--trainer.max_steps=1", "--model.dropout=0"]
    runs = [
        cli(*words, f"--model.gamma={gamma}", f"--output_dir={cli.folder}{gamma}", model=Scaled)
        for gamma in (1, 2)
    ]
    (one,), (two,) = (train_losses(run.folder / "metrics.csv").values() for run in runs)
    assert float(two) == pytest.approx(2 * float(one))


# Addresses, and consoles

ADDRESS = "s3://bucket/run"


@pytest.mark.parametrize("flag", ["--output_dir", "--data.cache_dir", "--checkpoint.dirpath"])
def test_an_address_is_no_folder_to_write_into(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"{flag}: got '{ADDRESS}', wanted a local folder" in cli(f"{flag}={ADDRESS}").error()
    assert not (tmp_path / "s3:").exists()
    with pytest.raises(UserError, match=r"^output_dir: got 's3://bucket/run'"):
        fine_tune_gpt2(output_dir=ADDRESS)
    with pytest.raises(SystemExit) as caught:
        evaluate_cli.main(["--model=x", "--data=names", f"--output_dir={ADDRESS}"])
    assert caught.value.code == 2


@pytest.mark.parametrize(
    "command",
    [
        lambda: main("fit"),
        lambda: evaluate_cli.main(["--help"]),
        distill.main,
        lambda: fine_tune_gpt2(output_dir=ADDRESS),
    ],
    ids=["fit", "evaluate", "distill", "fine_tune_gpt2"],
)
def test_a_console_that_cannot_show_emoji_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, command: Callable[[], object]
) -> None:
    console = io.BytesIO()
    for name in ("stdout", "stderr"):
        stream = io.TextIOWrapper(console, encoding="cp1252", write_through=True)
        monkeypatch.setattr(sys, name, stream)
    monkeypatch.setattr(sys, "argv", ["emoji_gpt2", "--help"])
    with pytest.raises((SystemExit, UserError)):
        command()
    print("🍕")
    assert console.getvalue().endswith(rb"\U0001f355" + os.linesep.encode())
