"""Frozen blocks and LoRA: what is trained, what stays, what is saved, loaded and exported."""

# ruff: noqa: F811 -- a fixture that is imported has the name of the parameter that asks for it

import sys
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from emoji_gpt2 import EmojiGenerator
from emoji_gpt2.errors import UserError
from emoji_gpt2.model.lora import adapt, merged
from tests.cli_runs import (
    UPSTREAM,
    Cli,
    cli,  # noqa: F401 -- a fixture
    load,
)

pytestmark = UPSTREAM
CONFIG = {"n_layer": 3, "n_head": 2, "n_embd": 16}
WORDS = {"vocab_size": 300, "bos_token_id": 0, "eos_token_id": 0}


def network() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(**CONFIG, **WORDS, initializer_range=0.15)).eval()


def frozen(model: GPT2LMHeadModel) -> set[str]:
    return {name for name, p in model.named_parameters() if not p.requires_grad}


@pytest.mark.parametrize("blocks", [0, 2, 3])
def test_freezing_keeps_the_first_blocks_and_nothing_else(blocks: int) -> None:
    model = network()
    adapt(model, blocks, 0, None)
    names = {name for name, _ in model.named_parameters()}
    wanted = {n for n in names if n.startswith(tuple(f"transformer.h.{i}." for i in range(blocks)))}
    assert frozen(model) == wanted
    assert len(wanted) == 12 * blocks


def test_lora_trains_attention_and_the_tied_token_embeddings_only() -> None:
    model = network()
    before = {name for name, _ in model.named_parameters()}
    adapt(model, 1, 4, None)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained & before == {"transformer.wte.weight"}
    added = {n.split(".lora_")[0] for n in trained - before - {"transformer.wte.weight"}}
    assert added == {f"transformer.h.{i}.attn.{p}" for i in (1, 2) for p in ("c_attn", "c_proj")}
    assert model.lm_head.weight is model.transformer.wte.weight


def test_merging_adds_alpha_by_rank_times_b_a_and_leaves_the_model_alone() -> None:
    model, bare = network(), network()
    adapt(model, 0, 4, 6)
    ids = torch.randint(0, 300, (2, 7))
    assert torch.equal(model(ids).logits, bare(ids).logits)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    plain = merged(model)
    state = model.state_dict()
    for i in range(3):
        for part in ("c_attn", "c_proj"):
            name = f"transformer.h.{i}.attn.{part}"
            a, b = (state[f"{name}.lora_{x}.default.weight"] for x in "AB")
            wanted = bare.get_submodule(name).weight + 6 / 4 * (b @ a).T
            torch.testing.assert_close(plain.get_submodule(name).weight, wanted)
    assert plain.state_dict().keys() == bare.state_dict().keys()
    assert plain.lm_head.weight is plain.transformer.wte.weight
    torch.testing.assert_close(plain(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plain(ids).logits, bare(ids).logits, atol=0.1)
    assert merged(bare) is bare


def test_without_peft_lora_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"lora_rank: got 2, .*install emoji_gpt2\[lora\]"):
        adapt(network(), 0, 2, None)


def test_a_lora_run_goes_on_exactly_and_is_exported_merged(
    cli: Cli, tiny_gpt2: Path, tmp_path: Path
) -> None:
    # in the warm-up, the learning rate does not depend on how long a run is
    options = ["--model.dropout=0.1", "--model.learning_rate=0.1", "--model.warmup_steps=100",
               "--checkpoint.monitor=null", "--trainer.max_epochs=-1"]  # fmt: skip
    words = [f"--model.pretrained={tiny_gpt2}", "--model.lora_rank=2", *options]
    whole = cli(*words, "--trainer.max_steps=6", f"--output_dir={tmp_path / 'whole'}", tiny=False)
    assert whole.status == 0, whole.stderr
    half = cli(*words, "--trainer.max_steps=3", tiny=False)
    assert half.status == 0, half.stderr
    # the rank is not said again: the checkpoint decides what the model is
    rest = cli("--ckpt_path=last", *options, "--trainer.max_steps=6", tiny=False)
    assert rest.status == 0, rest.stderr

    one, other = (load(run.folder / "last.ckpt")["state_dict"] for run in (whole, rest))
    base = GPT2LMHeadModel.from_pretrained(tiny_gpt2).state_dict()
    assert any("lora_B" in name for name in one)
    layer = "model.transformer.h.0.attn.c_attn"
    assert torch.equal(one[f"{layer}.base_layer.weight"], base[f"{layer[6:]}.weight"])
    trained = EmojiGenerator.from_pretrained(whole.folder / "last.ckpt")
    exported = EmojiGenerator.from_pretrained(whole.folder / "model")
    assert exported.model.state_dict().keys() == base.keys()
    for a, b in zip(trained.rank(["pizza"])[0], exported.rank(["pizza"])[0], strict=True):
        assert a[0] == b[0]
        assert a[1] == pytest.approx(b[1], rel=1e-4)
    assert one[f"{layer}.lora_B.default.weight"].abs().sum() > 0
    assert one.keys() == other.keys()
    state = one.pop("_extra_state")
    assert state == other.pop("_extra_state")
    assert state["adapters"] == (0, 2, None)
    assert all(torch.equal(one[name], other[name]) for name in one)
