"""Runs that push to the tests' Hub through the real client and the real command line."""

# ruff: noqa: F811 -- a fixture that is imported has the name of the parameter that asks for it

from pathlib import Path

import pytest

from tests.cli_runs import (
    UPSTREAM,
    Cli,
    Run,
    cli,  # noqa: F401 -- a fixture
    contents,
)
from tests.hub_server import HubServer

pytestmark = UPSTREAM
REPO = "tester/emoji"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emoji_gpt2.hub_client.FIRST_WAIT_S", 0.02)


@pytest.fixture
def token(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_good")


def pushing(cli: Cli, strategy: str, *words: str) -> Run:
    flags = [f"--hub.repo_id={REPO}", f"--hub.strategy={strategy}", "--hub.min_interval=0"]
    return cli(*flags, *words)


@pytest.mark.parametrize("strategy", ["end", "every_save", "checkpoint", "all_checkpoints"])
def test_strategy(cli: Cli, hub: HubServer, token: None, strategy: str) -> None:
    run = pushing(cli, strategy, "--trainer.max_epochs=3")
    assert run.status == 0, run.stderr
    print(run.stderr)
    repo = hub.repos[f"models/{REPO}"]
    print(repo.messages)
    for c in repo.commits:
        print(c.message, sorted(c.files))
    assert contents(run.folder / "model").items() <= repo.files.items()
    assert 0
