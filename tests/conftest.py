"""What all tests share: an environment of their own, a tiny GPT-2 and a small table of emoji.

A test that asks for no ``hub`` has no network: huggingface_hub is offline. Caches and what a test
sets in ``os.environ`` end with it; a test that leaves a variable behind fails.
"""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import settings
from transformers import GPT2Config, GPT2LMHeadModel, tokenization_utils_tokenizers

from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.tokenizer import builtin_gpt2_tokenizer
from tests.hub.server import hub  # noqa: F401 -- a fixture

TINY = {"n_layer": 1, "n_head": 2, "n_embd": 16}
MAY_STAY = {
    "PYTEST_CURRENT_TEST",
    "PL_GLOBAL_SEED",
    "PL_SEED_WORKERS",
    "PYTORCH_NVML_BASED_CUDA_CHECK",  # Lightning, when it is imported
}

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as of a shell's command in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # runs that are started inherit it

torch.set_num_threads(1)  # the models are tiny: more threads only wait for each other

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


def _copied(tokenizer: object) -> object:
    """The tokenizer itself: Transformers copies each that it wraps, which takes 0.2 s."""
    return tokenizer


setattr(tokenization_utils_tokenizers, "copy", SimpleNamespace(deepcopy=_copied))  # noqa: B010


def pytest_collection_finish() -> None:
    """Let the garbage collector leave alone what the imports made: it is most of all objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_leaked_environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    leaked = {name for name, value in os.environ.items() if before.get(name) != value}
    lost = before.keys() - os.environ.keys()
    for name in leaked:
        del os.environ[name]
    os.environ.update(before)
    assert not (leaked | lost) - MAY_STAY, "the test changed os.environ and did not undo it"


@pytest.fixture(autouse=True)
def isolated(
    no_leaked_environment: None,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """No network, no token, no cache of the machine's user."""
    from huggingface_hub import constants

    monkeypatch.setattr("transformers.utils.hub._hf_api", None)  # it keeps the last test's Hub
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "xdg_cache"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    if "hub" not in request.fixturenames:
        home = tmp_path_factory.getbasetemp() / "hf_home"
        monkeypatch.setenv("HF_HOME", str(home))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a GPT-2 of one layer and 16 dimensions and GPT-2's tokenizer; do not change."""
    folder = tmp_path_factory.mktemp("tiny_gpt2")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(**TINY, initializer_range=0.15)  # the spread of GPT-2's own weights
        GPT2LMHeadModel(config).save_pretrained(folder)
    builtin_gpt2_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def small_csv(tmp_path: Path) -> Path:
    """Kaggle's columns, 40 rows: two texts for each of 20 emoji."""
    table = EmojiTable.builtin()
    emoji = [e for e in table if not table.tones(e)][:20]
    lines = ["emoji,name"]
    for number, one in enumerate(emoji):
        lines += [f"{one},{table.name(one)}", f"{one},thing number {number}"]
    path = tmp_path / "emoji.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
