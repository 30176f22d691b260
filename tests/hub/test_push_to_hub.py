"""Runs that push to the tests' Hub through the real client and the real command line.

What single requests do under faults is in ``test_uploader.py``; here it is that a run gets
there, and that its weights are those of a run without a Hub.
"""

# ruff: noqa: F811 -- a fixture that is imported has the name of the parameter that asks for it

import logging
import os
import signal
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from transformers import GPT2LMHeadModel, pipeline

from emoji_gpt2 import EmojiDataModule, EmojiGenerator, EmojiGPT2, PushToHub
from emoji_gpt2.errors import UserError
from emoji_gpt2.hub.__main__ import main as hub_main
from tests.cli_runs import (
    LEARNING,
    UPSTREAM,
    Cli,
    Run,
    begun,  # noqa: F401 -- a fixture
    cli,  # noqa: F401 -- a fixture
    contents,
    load,
    load_weights,
    trained_run,  # noqa: F401 -- a fixture
    write_table,
)
from tests.distributed.forked import Forked
from tests.hub.server import Fault, HubServer, _isolate_client
from tests.hub.server_repo import Repo

pytestmark = UPSTREAM
REPO = "tester/emoji"
INITIAL = "initial commit"
FOLDER = {
    "README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
    "tokenizer_config.json",
}  # fmt: skip
STEP_4, BEST = "Weights after step 4", "Best weights after step 8"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emoji_gpt2.hub.client.FIRST_WAIT_S", 0.02)


@pytest.fixture
def token(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_good")


def hub_flags(strategy: str) -> list[str]:
    """A run as ``trained_run``, 2 epochs of 4 steps, whose best weights are the newest."""
    flags = [f"--hub.repo_id={REPO}", f"--hub.strategy={strategy}", "--hub.min_interval=0"]
    return [*flags, *LEARNING, "--trainer.max_epochs=2", "--checkpoint.monitor=null"]


def pushing(cli: Cli, strategy: str, *words: str) -> Run:
    return cli(*hub_flags(strategy), *words)


def repo_of(hub: HubServer) -> Repo:
    return hub.repos[f"models/{REPO}"]


def assert_same_weights(folder: Path, wanted: Path) -> None:
    """Bit for bit, those of last.ckpt and those exported."""
    ours, theirs = (load(run / "last.ckpt") for run in (folder, wanted))
    assert ours["global_step"] == theirs["global_step"]
    exported = GPT2LMHeadModel.from_pretrained(folder / "model").state_dict()
    weights = load_weights(folder / "last.ckpt")
    for name, tensor in load_weights(wanted / "last.ckpt").items():
        assert torch.equal(weights[name], tensor), name
        assert torch.equal(exported[name.removeprefix("model.")], tensor), name


def assert_nothing_aside(folder: Path) -> None:
    assert not list(folder.glob(".push-*")), "snapshots stay behind"


# What is pushed

EXPECTED = {
    "every_save": set(),
    "all_checkpoints": {"last.ckpt", "best-epoch=0-step=4.ckpt", "best-epoch=1-step=8.ckpt"},
}


@pytest.mark.parametrize("strategy", EXPECTED)
def test_strategy(cli: Cli, hub: HubServer, token: None, trained_run: Path, strategy: str) -> None:
    run = pushing(cli, strategy)
    assert run.status == 0, run.stderr
    repo = repo_of(hub)
    assert repo.messages == [INITIAL, STEP_4, BEST]
    model = contents(run.folder / "model")
    assert model.items() <= repo.files.items()
    assert {*repo.files} == FOLDER | EXPECTED[strategy] | {".gitattributes"}
    first = repo.commits[1].files
    assert FOLDER <= {*first} <= {*repo.files}, "each commit is whole"
    assert {name for name in FOLDER if first[name] != repo.files[name]} == {"model.safetensors"}
    if strategy != "every_save":
        assert repo.files["last.ckpt"] == (run.folder / "last.ckpt").read_bytes()
        path = run.folder / "earlier.ckpt"
        path.write_bytes(first["last.ckpt"])
        assert load(path)["global_step"] == 4
    assert_same_weights(run.folder, trained_run)
    assert_nothing_aside(run.folder)
    assert f"Pushes to the Hub repository {REPO}: 2 went well." in run.stderr


def test_end_pushes_the_best_weights_to_a_branch(
    cli: Cli, hub: HubServer, token: None, trained_run: Path
) -> None:
    """The best are those of the first epoch."""
    where = ["--hub.revision=runs/a", "--hub.private=true"]
    run = pushing(cli, "end", "--checkpoint.monitor=val/mrr", *where)
    assert run.status == 0, run.stderr
    repo = repo_of(hub)
    assert repo.private
    assert repo.messages == [INITIAL]
    assert [commit.message for commit in repo.history("runs/a")] == [INITIAL, BEST]
    files = dict(repo.at("runs/a").files)
    assert {*files} == FOLDER | {".gitattributes"}
    best = (trained_run / "model" / "model.safetensors").read_bytes()
    assert files["model.safetensors"] == best
    last = load(trained_run / "last.ckpt")["state_dict"]["model.lm_head.weight"]
    pushed = GPT2LMHeadModel.from_pretrained(REPO, revision="runs/a", token="hf_good")
    assert not torch.equal(pushed.lm_head.weight, last)


def test_what_was_pushed_works_with_transformers_and_with_us(
    hub: HubServer, trained_run: Path, tmp_path: Path
) -> None:
    hub.add_repo(REPO, trained_run / "model")
    answers = [
        pipeline("text-generation", str(name))("pizza") for name in (trained_run / "model", REPO)
    ]
    assert answers[0] == answers[1]
    wanted = EmojiGenerator.from_pretrained(trained_run / "model").rank(["pizza"])
    assert EmojiGenerator.from_pretrained(REPO).rank(["pizza"]) == wanted
    model = EmojiGPT2(pretrained=REPO).model
    local = GPT2LMHeadModel.from_pretrained(trained_run / "model")
    assert model.config.vocab_size == local.config.vocab_size, "emoji tokens added twice"
    assert torch.equal(model.lm_head.weight, local.lm_head.weight)


def test_a_run_goes_on_and_what_is_unchanged_makes_no_commit(
    cli: Cli, hub: HubServer, token: None, begun: Path
) -> None:
    flags = [f"--hub.repo_id={REPO}", "--hub.strategy=checkpoint", "--ckpt_path=last"]
    for _ in range(2):  # there is nothing left to train
        run = cli(*flags, "--trainer.max_epochs=2")
        assert run.status == 0, run.stderr
        assert repo_of(hub).messages == [INITIAL, BEST]
    assert contents(begun / "model").items() <= repo_of(hub).files.items()


class Larger(EmojiGPT2):
    """As a user writes one: with weights of its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.scale = torch.nn.Parameter(torch.ones(1))


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
def test_any_trainer_with_callbacks_in_any_order(
    hub: HubServer, token: None, tmp_path: Path
) -> None:
    data = EmojiDataModule(
        str(write_table(tmp_path / "t.csv")), batch_size=8, cache_dir=str(tmp_path / "cache")
    )
    model = Larger(config={"n_layer": 1, "n_embd": 16, "n_head": 2})
    push = PushToHub("emoji", strategy="checkpoint", min_interval=0)
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        default_root_dir=tmp_path,
        callbacks=[push],
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    assert isinstance(trainer.checkpoint_callback, ModelCheckpoint), "Lightning's own is kept"
    assert repo_of(hub).messages == [INITIAL, STEP_4, BEST]
    saved = load(Path(trainer.checkpoint_callback.best_model_path))
    (tmp_path / "pushed.ckpt").write_bytes(repo_of(hub).files["last.ckpt"])
    pushed = load(tmp_path / "pushed.ckpt")
    assert pushed["global_step"] == saved["global_step"] == 8
    weights = GPT2LMHeadModel.from_pretrained(REPO).state_dict()
    assert torch.equal(weights["lm_head.weight"], saved["state_dict"]["model.lm_head.weight"])
    assert_nothing_aside(tmp_path)


def test_a_persons_readme_stays_through_a_run_which_says_so_once(
    cli: Cli, hub: HubServer, token: None
) -> None:
    hub.add_repo(REPO, {"README.md": b"# Mine\n"})
    run = pushing(cli, "every_save")
    assert run.status == 0, run.stderr
    repo = repo_of(hub)
    assert repo.messages == [INITIAL, STEP_4, BEST]
    model = contents(run.folder / "model")
    assert repo.files == model | {"README.md": b"# Mine\n"}
    assert run.stderr.count(f"README.md of {REPO} stays") == 1


def test_a_failed_push_of_a_plain_trainer_is_said(
    hub: HubServer, token: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.faults.append(Fault("POST", "/commit/", status=403, times=None))
    model = EmojiGPT2(config={"n_layer": 1, "n_embd": 16, "n_head": 2})
    trainer: Any = SimpleNamespace(
        checkpoint_callbacks=[],
        default_root_dir=tmp_path,
        is_global_zero=True,
        global_step=3,
        world_size=1,
    )
    push = PushToHub(REPO, strategy="end")
    push.preflight()
    push.on_fit_start(trainer, model)
    push.teardown(trainer, model, "fit")
    assert "1 failed:\n  Best weights after step 3: " in caplog.text
    assert "Push by hand" not in caplog.text, "there is no folder"
    assert_nothing_aside(tmp_path)


def test_another_module_is_refused(hub: HubServer, token: None, tmp_path: Path) -> None:
    trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path)
    with pytest.raises(UserError, match="wanted an EmojiGPT2"):
        PushToHub(REPO).setup(trainer, LightningModule(), "fit")


# Before the run

MISTAKES: dict[str, tuple[str | None, list[str], str]] = {
    "no token": (None, [], "Token is required"),
    "somebody else's": ("hf_good", ["--hub.repo_id=other/emoji"], "other/emoji"),
    "an unknown strategy": ("hf_good", ["--hub.strategy=sometimes"], "strategy"),
    "an interval below 0": ("hf_good", ["--hub.min_interval=-1"], "--hub.min_interval: got -1"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_the_run_before_it_writes(
    cli: Cli, hub: HubServer, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    token, words, said = MISTAKES[mistake]
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    assert said in pushing(cli, "every_save", *words).error()
    assert not [*cli.folder.rglob("*.*")], "the corrected command could not use the folder"
    assert not hub.repos


# Faults


def commit_fault(**fault: Any) -> Any:
    def apply(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
        hub.faults.append(Fault("POST", "/commit/", **{"times": None, **fault}))

    return apply


class Struck(Fault):
    """Does something when the second commit arrives."""

    def __init__(self, action: Any, after: int = 1) -> None:
        super().__init__("POST", "/commit/", after=after)
        self.action = action

    def strikes(self, method: str, path: str) -> bool:
        if super().strikes(method, path):
            self.action()
        return False


def deleted(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.faults.append(Struck(hub.repos.clear))


def disk_full(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def copyfile(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:1000])
        raise OSError(28, "No space left on device")

    def no_link(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("emoji_gpt2.hub.snapshots.os.link", no_link)
    monkeypatch.setattr("emoji_gpt2.hub.snapshots.shutil.copyfile", copyfile)


def hanging_for_ever(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.faults.append(Fault("POST", "/commit/", times=None, kind="hang", seconds=99, after=1))
    monkeypatch.setattr("emoji_gpt2.hub.client.REQUEST_TIMEOUT_S", 99.0)
    monkeypatch.setattr("emoji_gpt2.hub.callback.END_WAIT_S", 1.0)


LASTING: dict[str, tuple[Any, str, int]] = {  # what it is, what the report says, pushes that went
    "401 in the middle": (commit_fault(status=401), "401", 0),
    "a server killed for good": (commit_fault(kind="stop", after=1), "", 1),
    "a server that hangs for ever": (hanging_for_ever, "given up after 1 s", 1),
    "a repository deleted while training": (deleted, "404", 1),
    "no room for the snapshot": (disk_full, "No space left on device", 0),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", LASTING)
def test_training_ends_the_same_whatever_the_hub_does(
    cli: Cli,
    hub: HubServer,
    token: None,
    trained_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    apply, said, pushed = LASTING[fault]
    monkeypatch.setattr("emoji_gpt2.hub.client.REQUEST_TIMEOUT_S", 0.3)
    apply(hub, monkeypatch)
    run = pushing(cli, "checkpoint")
    assert run.status == 0, run.stderr
    assert_same_weights(run.folder, trained_run)
    assert_nothing_aside(run.folder)
    assert f"{REPO}: {pushed} went well." in run.stderr
    report = run.stderr.partition("went well.")[2]
    assert report.count("after step") == 2 - pushed, report
    assert said in report
    assert f"python -m emoji_gpt2.hub push {run.folder} --repo_id {REPO}\n" in report
    if pushed and hub.repos:
        assert repo_of(hub).messages == [INITIAL, STEP_4]


@pytest.mark.slow
def test_strict_stops_the_training(cli: Cli, hub: HubServer, token: None) -> None:
    hub.faults.append(Fault("POST", "/commit/", status=403, times=None))
    run = pushing(cli, "every_save", "--hub.strict=true", "--trainer.max_epochs=200")
    assert "--hub.strict: got a push to tester/emoji that failed" in run.error()
    assert load(run.folder / "last.ckpt")["epoch"] < 199
    assert "push by hand" in run.stderr.lower()


@pytest.mark.slow
def test_a_signal_pushes_what_it_wrote(cli: Cli, hub: HubServer, token: None) -> None:
    hub.faults.append(Struck(lambda: os.kill(os.getpid(), signal.SIGINT), after=0))
    run = pushing(cli, "checkpoint", "--trainer.max_epochs=1000")
    assert run.status == 130
    assert repo_of(hub).files["last.ckpt"] == (run.folder / "last.ckpt").read_bytes()
    assert_nothing_aside(run.folder)


# The token


@pytest.mark.slow
def test_the_token_is_nowhere(
    cli: Cli, hub: HubServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "hf_" + "Sesame" * 6
    hub.tokens[secret] = ("tester", "write")
    monkeypatch.setenv("HF_TOKEN", secret)
    monkeypatch.setattr("huggingface_hub.utils._http.constants.HF_DEBUG", True)
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "huggingface_hub")
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "propagate", True)
    hub.faults += [
        Fault("POST", "/commit/", status=503),
        Fault("POST", "/commit/", status=403, body={"error": f"{secret} may not do this"}),
    ]
    run = pushing(cli, "all_checkpoints")
    assert run.status == 0, run.stderr
    assert "Send: curl" in run.stderr, "not at debug level"
    assert "*** may not do this" in run.stderr
    assert hub.requests[0].headers["Authorization"].endswith(secret)
    said = run.stdout + run.stderr
    assert secret not in said
    files = {**contents(cli.folder.parent), **repo_of(hub).files}
    assert len(files) > 15
    assert not [name for name, data in files.items() if secret.encode() in data]
    hub.tokens.clear()
    assert secret not in pushing(cli, "end", f"--output_dir={cli.folder}-2").error()


# Processes


def at(url: str, home: Path) -> None:
    """Let a process know this Hub alone, with a token."""
    _isolate_client(url, home, pytest.MonkeyPatch())
    os.environ["HF_TOKEN"] = "hf_good"


def start_fit(cli: Cli, hub: HubServer, *words: str) -> Forked:
    flags = cli._flags((*hub_flags("checkpoint"), *words), "fit", tiny=True)
    home = cli.folder.parent
    before = partial(at, hub.url, home / "hf_home")
    return Forked(["emoji_gpt2.fit", *flags], home, before)


@pytest.mark.slow
def test_a_killed_run_goes_on_from_the_hub_on_an_empty_disk(
    cli: Cli, hub: HubServer, token: None, trained_run: Path, tmp_path: Path
) -> None:
    hub.faults.append(Fault("POST", "/commit/", kind="hang", after=1))
    process = start_fit(cli, hub)
    while hub.count("POST", "/commit/") < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    hub.faults.clear()
    empty = f"--output_dir={tmp_path / 'empty'}"
    run = pushing(cli, "checkpoint", f"--ckpt_path=hf://{REPO}/last.ckpt", empty)
    assert run.status == 0, run.stderr
    steps = [row["step"] for row in run.metrics if row["train/loss"]]
    assert steps == ["4", "5", "6", "7"], "the first epoch came from the Hub"
    assert_same_weights(run.folder, trained_run)
    assert repo_of(hub).files["last.ckpt"] == (run.folder / "last.ckpt").read_bytes()


def test_no_checkpoint_on_the_hub(cli: Cli, hub: HubServer) -> None:
    hub.add_repo(REPO, {"config.json": b"{}"})
    for address in (f"hf://{REPO}/last.ckpt", "hf://tester/none/last.ckpt"):
        assert f"--ckpt_path: got '{address}'" in cli(f"--ckpt_path={address}").error()
    assert not cli.folder.exists()


@pytest.mark.slow
def test_two_processes_push_once_per_save(cli: Cli, hub: HubServer) -> None:
    two = ["--trainer.devices=2", "--trainer.strategy=ddp_fork"]
    process = start_fit(cli, hub, *two)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert repo_of(hub).messages == [INITIAL, STEP_4, BEST]
    assert hub.count("POST", "/commit/") == 2
    assert hub.count("GET", "whoami") == 1, "only rank 0 talks"


# By hand


def test_push_by_hand(
    hub: HubServer,
    token: None,
    trained_run: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delattr("shutil.copyfile")  # files are pushed from where they lie
    hub_main(["push", str(trained_run), "--repo_id", REPO, "--private"])
    assert capsys.readouterr().out == f"{hub.url}/{REPO}\n"
    repo, model = repo_of(hub), contents(trained_run / "model")
    wanted = model | {"last.ckpt": (trained_run / "last.ckpt").read_bytes()}
    assert repo.files == wanted | {".gitattributes": repo.files[".gitattributes"]}
    assert repo.private
    hub_main(["push", str(trained_run / "model"), "--repo_id", REPO, "--revision", "dev"])
    assert {*repo.branches} == {"main", "dev"}
    assert len(repo.commits) == 2, "unchanged files make no commit"
    edited = model["README.md"].replace(b"# ", b"# My ", 1)
    repo.commit("main", "a person's", {"README.md": edited})
    hub_main(["push", str(trained_run / "model"), "--repo_id", REPO])
    assert repo.files == model | {"README.md": edited}
    assert f"README.md of {REPO} stays" in caplog.text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "command"),
        (["push", "DIR"], "--repo_id"),
        (["push", "/nowhere", "--repo_id", REPO], "'/nowhere'"),
        (["push", "DIR", "--repo_id", "other/emoji"], "--repo_id: got 'other/emoji'"),
        (["push", "DIR", "--repo_id", REPO], "to which the push failed (Server error '500"),
    ],
)
def test_a_mistake_by_hand_is_one_line(
    hub: HubServer,
    token: None,
    trained_run: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    hub.faults.append(Fault("POST", "/commit/", status=500, times=None))
    with pytest.raises(SystemExit) as caught:
        hub_main([str(trained_run) if word == "DIR" else word for word in words])
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not out
