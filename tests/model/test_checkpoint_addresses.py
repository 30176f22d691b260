# ruff: noqa: F811 -- fixtures
"""A checkpoint at an address is fetched once, and nothing of it is ever unpickled."""

import pickle
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
    """Serves bytes by path on loopback, and keeps which were asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        content = self.server.files[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
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


def checkpoint(path: Path, seed: int) -> bytes:
    """A checkpoint whose end-of-text row says which it is."""
    model = tiny_model()
    model.model.transformer.wte.weight.data[50256] = float(seed)
    trainer = quiet_trainer(path.parent)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path)
    return path.read_bytes()


def seed_of(model: Any) -> float:
    return float(model.transformer.wte.weight[50256, 0].detach())


@pytest.mark.parametrize("load_one", [
    lambda url: EmojiGPT2.load_from_checkpoint(url).model,
    lambda url: EmojiGenerator.from_pretrained(url, "cpu").model,
], ids=["module", "generator"])  # fmt: skip
def test_it_is_fetched_once_and_known_by_its_whole_address(
    load_one: Any, server: Server, tmp_path: Path
) -> None:
    for seed in (1, 2):
        server.files[f"/{seed}/last.ckpt"] = checkpoint(tmp_path / "one.ckpt", seed)
    for _ in range(2):
        for seed in (1, 2):
            assert seed_of(load_one(f"{server.url}/{seed}/last.ckpt")) == seed
    assert sorted(server.asked) == ["/1/last.ckpt", "/2/last.ckpt"]


def test_a_run_goes_on_from_an_address(cli: Cli, trained_run: Path, server: Server) -> None:
    server.files["/last.ckpt"] = (trained_run / "last.ckpt").read_bytes()
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
    server.files["/bad.ckpt"] = path.read_bytes()
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    for name in (str(path), f"{server.url}/bad.ckpt"):
        for ask in (EmojiGPT2.load_from_checkpoint, EmojiGenerator.from_pretrained):
            with pytest.raises(UserError, match="wanted a whole checkpoint"):
                ask(name)
        assert "wanted a whole checkpoint" in cli(f"--ckpt_path={name}").error()
    assert not harmed.exists()


def test_a_model_that_lacks_an_emoji_of_the_table_is_refused(tiny_gpt2: Path) -> None:
    """It would read the emoji as end of text."""
    model = tiny_model()
    state: Any = model.get_extra_state()
    assert "🫩" in state["tokenizer"]
    older = state | {"tokenizer": state["tokenizer"].replace("🫩", "old")}
    with pytest.raises(UserError, match="got none with 🫩, wanted all emoji"):
        model.set_extra_state(older)
