"""The base that ships: it loads, answers, is small, and can be fine-tuned."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from emoji_gpt2 import EmojiGenerator, EmojiGPT2, EmojiTable
from emoji_gpt2.generation.command import main
from tests.cli_runs import ROOT, UPSTREAM

pytestmark = UPSTREAM
BASE = ROOT / "checkpoints" / "base"


@pytest.fixture(scope="module")
def base() -> EmojiGenerator:
    return EmojiGenerator.from_pretrained(BASE, device="cpu")


def test_it_is_small_and_stored_in_half_precision() -> None:
    assert (BASE / "model.safetensors").stat().st_size <= 36e6
    assert sum(path.stat().st_size for path in BASE.iterdir()) <= 45e6
    with safe_open(BASE / "model.safetensors", "pt") as file:
        names = list(file.keys())
        assert {file.get_tensor(name).dtype for name in names} == {torch.float16}


def test_it_loads_as_float32_and_knows_what_things_are_called(base: EmojiGenerator) -> None:
    assert {p.dtype for p in base.model.parameters()} == {torch.float32}
    table = EmojiTable.builtin()
    names = [emoji for emoji in table if not table.tones(emoji)][::19]
    found = base.rank([table.name(emoji) for emoji in names], top_k=1)
    hits = sum(best[0][0] == emoji for best, emoji in zip(found, names, strict=True))
    assert hits / len(names) > 0.9
    assert base.rank(["I love pizza"], top_k=1)[0][0][0] == "🍕"


def test_plain_transformers_answers_with_emoji_only() -> None:
    pipe = pipeline("text-generation", model=str(BASE), device="cpu")
    (answer,) = pipe("i love pizza", return_full_text=False)
    assert EmojiTable.builtin().split(answer["generated_text"])
    model, tokenizer = (
        kind.from_pretrained(BASE) for kind in (AutoModelForCausalLM, AutoTokenizer)
    )
    assert model.config.vocab_size == len(tokenizer) == 54_202


def test_fine_tuning_begins_with_the_bases_own_emoji(base: EmojiGenerator) -> None:
    model = EmojiGPT2(pretrained=str(BASE))
    assert len(model.tokenizer) == 54_202
    torch.testing.assert_close(
        model.model.transformer.wte.weight, base.model.transformer.wte.weight, rtol=0, atol=0
    )


def test_without_a_model_of_ones_own_the_base_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["I love pizza"])
    shown = capsys.readouterr()
    assert shown.out.startswith("🍕")
    assert shown.err == "model: base\n"
