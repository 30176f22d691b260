# ruff: noqa: F811 -- fixtures
"""A checkpoint at an address is fetched once, and nothing of it is ever unpickled."""

import pickle
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from emoji_gpt2 import EmojiGenerator, EmojiGPT2
from emoji_gpt2.errors import UserError
from tests.cli_runs import (
    UPSTREAM,
    Cli,
    cli,  # noqa: F401 -- a fixture
    load,
    load_weights,
    trained_run,  # noqa: F401 -- a fixture
)
from tests.tiny import quiet_trainer, tiny_model

pytestmark = UPSTREAM


class Server(ThreadingHTTPServer):
    """Serves a folder on loopback, and keeps which paths were asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=folder))
        self.folder = folder
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(SimpleHTTPRequestHandler):
    def log_request(self, *_: Any) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Harm:
    """What runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def model() -> EmojiGPT2:
    return tiny_model()


def test_it_is_fetched_once_and_known_by_its_whole_address(
    server: Server, model: EmojiGPT2, tmp_path: Path
) -> None:
    end = model.model.transformer.wte.weight.data[50256]  # it says which checkpoint it is
    trainer = quiet_trainer(tmp_path)
    trainer.strategy.connect(model)
    for seed in (1, 2):
        end[:] = seed
        trainer.save_checkpoint(tmp_path / str(seed) / "last.ckpt")
    for ask in (EmojiGPT2.load_from_checkpoint, EmojiGenerator.from_pretrained):
        for seed in (1, 2):
            loaded = ask(f"{server.url}/{seed}/last.ckpt").model  # type: ignore[operator]
            assert loaded.transformer.wte.weight[50256, 0] == seed
    assert sorted(server.asked) == ["/1/last.ckpt", "/2/last.ckpt"]


def test_a_run_goes_on_from_an_address(cli: Cli, trained_run: Path, server: Server) -> None:
    shutil.copy(trained_run / "last.ckpt", server.folder)
    run = cli(f"--ckpt_path={server.url}/last.ckpt", "--trainer.max_epochs=3", tiny=False)
    assert run.status == 0, run.stderr
    assert server.asked == ["/last.ckpt"]
    before, after = load(trained_run / "last.ckpt"), load(run.folder / "last.ckpt")
    assert after["global_step"] == before["global_step"] * 3 // 2
    assert (
        load_weights(run.folder / "last.ckpt").keys()
        == load_weights(trained_run / "last.ckpt").keys()
    )


def test_nothing_is_unpickled(cli: Cli, server: Server, tmp_path: Path) -> None:
    """In a file and at an address, by every way in."""
    harmed = tmp_path / "harmed"
    path = tmp_path / "bad.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": {}, "x": Harm(harmed)}, path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    for name in (str(path), f"{server.url}/bad.ckpt"):
        for ask in (EmojiGPT2.load_from_checkpoint, EmojiGenerator.from_pretrained):
            with pytest.raises(UserError, match="wanted a whole checkpoint"):
                ask(name)
        assert "wanted a whole checkpoint" in cli(f"--ckpt_path={name}").error()
    assert not harmed.exists()


def test_a_model_that_lacks_an_emoji_of_the_table_is_refused(model: EmojiGPT2) -> None:
    """It would read the emoji as end of text."""
    state: Any = model.get_extra_state()
    assert "🫩" in state["tokenizer"]
    older = state | {"tokenizer": state["tokenizer"].replace("🫩", "old")}
    with pytest.raises(UserError, match="got none with 🫩, wanted all emoji"):
        model.set_extra_state(older)
