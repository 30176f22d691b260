"""Loading GPT-2 from folders and from a Hub: what works, and the one line when it does not.

pytest tests/model/test_pretrained.py
"""

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import GPT2LMHeadModel

from emoji_gpt2.data.datamodule import EmojiDataModule
from emoji_gpt2.errors import UserError
from emoji_gpt2.gpt2_files import load_gpt2_config, load_gpt2_tokenizer, new_gpt2_config
from emoji_gpt2.model.module import EmojiGPT2
from emoji_gpt2.model.pretrained import load_gpt2_weights
from emoji_gpt2.tokenizer import builtin_gpt2_tokenizer, tokenizer_to_json
from tests.hub.server import HubServer
from tests.tiny import Watch, quiet_trainer

SENTENCES = ["Hello world", "I don't know, naïve café", "  two  spaces\n", "🍕 中文"]
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


@pytest.fixture
def folder(tiny_gpt2: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(tiny_gpt2, tmp_path / "copy"))


def edit_config(folder: Path, **fields: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def one_line(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line
    assert re.match(r"\w+: got ", line)
    return line


def build(name: str) -> EmojiGPT2:
    """What a training does with a name."""
    return EmojiGPT2(pretrained=name)


def cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])


def remove(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names]  # type: ignore[return-value]


def write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def pickled_garbage(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"garbage")


def old_files(vocab: str, merges: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        remove(*TOKENIZER_FILES)(folder)
        (folder / "vocab.json").write_text(vocab)
        (folder / "merges.txt").write_text(merges)

    return change


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (remove("config.json"), "no config.json"),
    "config is no JSON": (write("config.json", b"{"), "not a valid JSON"),
    "config is a list": (write("config.json", b"[]"), "config.json"),
    "not GPT-2": (lambda f: edit_config(f, model_type="bert"), "'bert', wanted a GPT-2"),
    "no model type": (lambda f: edit_config(f, model_type=None), "wanted a GPT-2"),
    "layers in words": (lambda f: edit_config(f, n_layer="twelve"), "n_layer"),
    "activation unknown": (lambda f: edit_config(f, activation_function="magic"), "magic"),
    "other width": (lambda f: edit_config(f, n_embd=32), "copy"),
    "layers missing": (lambda f: edit_config(f, n_layer=3), "transformer.h.1."),
    "untied": (lambda f: edit_config(f, tie_word_embeddings=False), "tie_word_embeddings"),
    "no weights": (remove("model.safetensors"), "model.safetensors"),
    "weights cut off": (cut_weights, "safetensors"),
    "weights empty": (write("model.safetensors", b""), "safetensors"),
    "weights no pickle": (pickled_garbage, "copy"),
    "tokenizer is no JSON": (write("tokenizer.json", b"{"), "copy"),
    "tokenizer is empty": (write("tokenizer.json", b"{}"), "copy"),
    "old vocabulary is no JSON": (old_files("{", ""), "vocab.json"),
    "old vocabulary is empty": (old_files("{}", ""), "tokenizer"),
    "old merges without vocabulary": (
        old_files('{"a": 0, "<|endoftext|>": 1}', "#version: 0.2\nb c\n"),
        "copy",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_folder_is_one_line(folder: Path, what: str) -> None:
    change, says = BROKEN[what]
    change(folder)
    line = one_line(lambda: build(str(folder)))
    assert str(folder) in line
    assert says in line


@pytest.mark.parametrize("load", [load_gpt2_config, load_gpt2_weights, load_gpt2_tokenizer, build])
def test_an_unknown_name_is_one_line(load: Callable[[str], object]) -> None:
    for names, says in (
        (("/no/such/folder", "./gpt2-mine", "~/gpt2-mine", "a/b/c"), "no such folder"),
        (("gpt2-medium", "tester/tiny"), "HF_HUB_OFFLINE"),  # a Hub id while offline
    ):
        for name in names:
            line = one_line(lambda name=name: load(name))
            assert repr(name) in line
            assert says in line


def test_what_the_hub_does_not_have_and_a_hub_that_is_gone(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "'tester/nothing'" in one_line(lambda: build("tester/nothing"))
    assert hub.count(path_contains="tester/nothing")
    hub.stop()
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # between retries
    assert "'tester/tiny'" in one_line(lambda: load_gpt2_config("tester/tiny"))


def test_trains_from_a_hub_id(
    hub: HubServer, tiny_gpt2: Path, small_csv: Path, tmp_path: Path
) -> None:
    hub.add_repo("tester/tiny", tiny_gpt2)
    model = EmojiGPT2(pretrained="tester/tiny", dropout=0.0)
    data = EmojiDataModule(
        str(small_csv), batch_size=8, tokenizer="tester/tiny", cache_dir=str(tmp_path / "cache")
    )
    watch = Watch()
    trainer = quiet_trainer(tmp_path, max_steps=1, limit_val_batches=0, callbacks=[watch])
    trainer.fit(model, datamodule=data)
    assert watch.losses == {1: pytest.approx(math.log(3_945), rel=0.1)}
    start = GPT2LMHeadModel.from_pretrained(tiny_gpt2).transformer.h[0].mlp.c_fc.weight
    trained = model.model.transformer.h[0].mlp.c_fc.weight
    assert not trained.equal(start)
    torch.testing.assert_close(trained, start, rtol=0, atol=1e-3)  # it started from those weights


@pytest.mark.parametrize("kept", ["old files", "nothing"])
def test_a_hub_repository_without_tokenizer_json(hub: HubServer, folder: Path, kept: str) -> None:
    remove(*TOKENIZER_FILES)(folder)
    if kept == "old files":
        write_old_files(folder)
    hub.add_repo("tester/tiny", folder)
    if kept == "old files":
        tokenizer = load_gpt2_tokenizer("tester/tiny")
        assert tokenizer(SENTENCES).input_ids == builtin_gpt2_tokenizer()(SENTENCES).input_ids
    else:
        assert "tokenizer" in one_line(lambda: load_gpt2_tokenizer("tester/tiny"))


def write_old_files(folder: Path) -> None:
    """vocab.json and merges.txt, as OpenAI's own release has them."""
    model = json.loads(builtin_gpt2_tokenizer().backend_tokenizer.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_load_as_float32(
    tiny_gpt2: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    saved = GPT2LMHeadModel.from_pretrained(tiny_gpt2).to(dtype)
    saved.save_pretrained(tmp_path / "half")
    model = load_gpt2_weights(str(tmp_path / "half"))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.transformer.wte.weight.equal(saved.transformer.wte.weight.float())


def test_a_folder_of_weights_alone_gets_the_builtin_tokenizer(folder: Path) -> None:
    remove(*TOKENIZER_FILES)(folder)
    got = load_gpt2_tokenizer(str(folder))
    assert tokenizer_to_json(got) == tokenizer_to_json(builtin_gpt2_tokenizer())
    assert build(str(folder)).model.config.vocab_size == 50257 + 3945
    edit_config(folder, vocab_size=1000)  # another vocabulary's
    assert "1000 tokens" in one_line(lambda: load_gpt2_tokenizer(str(folder)))


def test_an_old_folder_of_its_own_vocabulary(folder: Path) -> None:
    """The folder's vocab.json decides, not the built-in one: ids in another order."""
    remove(*TOKENIZER_FILES)(folder)
    write_old_files(folder)
    path = folder / "vocab.json"
    vocab = json.loads(path.read_text(encoding="utf-8"))
    turned = {symbol: 50256 - number for symbol, number in vocab.items()}
    path.write_text(json.dumps(turned), encoding="utf-8")
    got = load_gpt2_tokenizer(str(folder))
    wanted = [[50256 - i for i in ids] for ids in builtin_gpt2_tokenizer()(SENTENCES).input_ids]
    assert got(SENTENCES).input_ids == wanted
    assert got.eos_token_id == 0


BAD_FIELDS = {
    "typo": ({"n_lyaer": 2}, "did you mean n_layer?"),
    "nonsense": ({"zzzzz": 2}, "'zzzzz', wanted a GPT2Config field"),
    "width not divisible": ({"n_embd": 17, "n_head": 2}, "n_head divides"),
    "layers in words": ({"n_layer": "abc"}, "'abc'"),
    "half a layer": ({"n_layer": 1.5}, "1.5"),
    "no layer": ({"n_layer": 0}, "above 0"),
    "layers null": ({"n_layer": None}, "n_layer"),
    "negative heads": ({"n_head": -2}, "above 0"),
    "alias of a field": ({"hidden_size": 17, "n_head": 2}, "n_head divides"),
    "positions in words": ({"n_positions": "many"}, "n_positions"),
    "no positions": ({"n_positions": 0}, "n_positions"),
    "activation unknown": ({"activation_function": "magic"}, "magic"),
    "dropout above 1": ({"resid_pdrop": 2.0}, "resid_pdrop"),
    "untied": ({"tie_word_embeddings": False}, "tie_word_embeddings"),
}


@pytest.mark.parametrize("what", BAD_FIELDS)
def test_a_bad_field_is_one_line(what: str) -> None:
    fields, says = BAD_FIELDS[what]
    assert says in one_line(lambda: new_gpt2_config(fields))


def test_fields_reach_the_configuration() -> None:
    config = new_gpt2_config({"n_layer": 3, "n_embd": 24, "n_head": 4, "resid_pdrop": 0.5})
    assert (config.n_layer, config.n_embd, config.n_head, config.resid_pdrop) == (3, 24, 4, 0.5)
    assert new_gpt2_config({"num_hidden_layers": 2}).n_layer == 2
    assert new_gpt2_config({}).n_layer == 12
