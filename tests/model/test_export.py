"""The exported folder, read by plain Transformers in a process that cannot import this package."""

# ruff: noqa: F811 -- a fixture that is imported has the name of the parameter that asks for it

import csv
import json
import os
import stat
import subprocess
import sys
from copy import deepcopy
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, GPT2LMHeadModel, PreTrainedTokenizerFast

from emoji_gpt2.gpt2_files import load_gpt2_tokenizer
from emoji_gpt2.model.export import save_transformers_folder
from emoji_gpt2.model.module import EmojiGPT2
from emoji_gpt2.model.readme import is_ours
from emoji_gpt2.tokenizer import add_emoji_tokens, encode_texts
from tests.cli_runs import (
    ROOT,
    UPSTREAM,
    contents,
    trained_run,  # noqa: F401 -- a fixture
)

pytestmark = UPSTREAM

STRANGER = """
import json, sys
sys.modules["emoji_gpt2"] = None
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, pipeline
torch.set_num_threads(1)
folder, out = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
ids = tokenizer("pizza and cake", return_tensors="pt").input_ids
with torch.inference_mode():
    logits = model(ids).logits
torch.save({"ids": ids, "logits": logits}, out)
torch.manual_seed(0)
pipe = pipeline("text-generation", folder, device="cpu")
def sample(n):
    answers = pipe("pizza", return_full_text=False, do_sample=True, temperature=1.5, top_k=0,
                   num_return_sequences=n)
    return [answer["generated_text"] for answer in answers]
TEXTS = ["pizza", "a", "a much longer text about thing number nine"]
def greedy(texts, **options):
    answers = pipe(texts, return_full_text=False, do_sample=False, **options)
    return [answer[0]["generated_text"] for answer in answers]
print(json.dumps({
    "samples": sample(200),
    "alone": [greedy([text])[0] for text in TEXTS],
    "batched": greedy(TEXTS, batch_size=3),
    "long": greedy(["cake " * n for n in (1015, 1016, 9000)], batch_size=2, truncation=True),
    "long_ids": tokenizer("cake " * 9000, truncation=True).input_ids,
    "tied": model.lm_head.weight is model.transformer.wte.weight,
    "dtypes": sorted({str(p.dtype) for p in model.parameters()}),
    "ids": ids.tolist(),
}))
"""


@pytest.fixture(scope="module")
def stranger(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a process with Transformers alone makes of the folder."""
    out = tmp_path_factory.mktemp("stranger") / "logits.pt"
    env = os.environ | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-I", "-c", STRANGER, str(trained_run / "model"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    assert "arning" not in done.stderr, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found | torch.load(out, weights_only=True)


@pytest.fixture(scope="module")
def best(trained_run: Path) -> EmojiGPT2:
    (path,) = trained_run.glob("best-*.ckpt")
    return EmojiGPT2.load_from_checkpoint(path, map_location="cpu").eval()


def emoji_of_the_table() -> list[str]:
    """The emoji in the order of the shipped CSV, read by hand."""
    text = (files("emoji_gpt2.emoji") / "resources" / "emoji_table.csv").read_text(encoding="utf-8")
    return [row["emoji"] for row in csv.DictReader(text.splitlines())]


def split_longest(text: str, emoji: set[str]) -> list[str] | None:
    """The emoji that a string is made of, by longest match; None if it is made of anything else."""
    found = []
    while text:
        match = next((text[:n] for n in range(min(len(text), 12), 0, -1) if text[:n] in emoji), "")
        if not match:
            return None
        found.append(match)
        text = text[len(match) :]
    return found


def test_logits_are_those_of_the_best_checkpoint_bit_for_bit(
    stranger: dict[str, torch.Tensor], best: EmojiGPT2
) -> None:
    assert stranger["ids"].tolist()[0][-1] == best.tokenizer.convert_tokens_to_ids("<|emoji|>")
    with torch.inference_mode():
        assert torch.equal(best.model(stranger["ids"]).logits, stranger["logits"])


def test_weights_are_tied_float32_and_stored_once(
    stranger: dict[str, object], trained_run: Path
) -> None:
    assert stranger["tied"] is True
    assert stranger["dtypes"] == ["torch.float32"]
    folder = trained_run / "model"
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["dtype"] == "float32"
    stored = load_file(folder / "model.safetensors")
    assert "lm_head.weight" not in stored
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}


def test_every_sample_is_one_to_eight_whole_emoji(stranger: dict[str, list[str]]) -> None:
    emoji = {*emoji_of_the_table()}
    assert len(emoji) == 3944
    answers = [split_longest(sample, emoji) for sample in stranger["samples"]]
    assert len(answers) == 200
    assert all(answer is not None and 1 <= len(answer) <= 8 for answer in answers)
    assert len({*stranger["samples"]}) > 100, "sampled, and not the same again"


def test_padding_changes_no_answer(stranger: dict[str, list[str]]) -> None:
    assert stranger["batched"] == stranger["alone"]
    assert all(split_longest(a, {*emoji_of_the_table()}) for a in stranger["alone"])


def test_texts_of_any_length_are_answered(
    stranger: dict[str, list[str]], best: EmojiGPT2, trained_run: Path
) -> None:
    assert all(split_longest(a, {*emoji_of_the_table()}) for a in stranger["long"])
    cake, end = best.tokenizer("cake").input_ids
    assert stranger["long_ids"] == [cake] * (1024 - 4 - 1) + [end]
    again = load_gpt2_tokenizer(str(trained_run / "model"))
    again, new = add_emoji_tokens(again)
    assert not new
    assert encode_texts(again, ["cake " * 2000])[0][:1500] == [cake] * 1500, "training reads it all"


@pytest.mark.parametrize(("n_positions", "longest"), [(128, 124), (8, 4)])
def test_the_longest_prompt_leaves_room_for_an_answer(
    best: EmojiGPT2, tmp_path: Path, n_positions: int, longest: int
) -> None:
    model = deepcopy(best.model)
    model.config.n_positions = n_positions
    save_transformers_folder(model, best.tokenizer, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.model_max_length == longest
    assert best.tokenizer.model_max_length == 1024, "the caller's own is as it was"
    assert len(tokenizer("pizza " * 200, truncation=True).input_ids) == longest


def test_the_base_that_ships_is_such_a_folder() -> None:
    config, tokenizer = (
        json.loads((ROOT / "checkpoints" / "base" / name).read_text(encoding="utf-8"))
        for name in ("config.json", "tokenizer_config.json")
    )
    assert tokenizer["model_max_length"] == config["n_positions"] - 4


def test_generation_config_suppresses_exactly_what_is_no_candidate(trained_run: Path) -> None:
    folder = trained_run / "model"
    config = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    vocab = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    ids = vocab["model"]["vocab"] | {t["content"]: t["id"] for t in vocab["added_tokens"]}
    size = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    allowed = {*range(size)} - {*config["suppress_tokens"]}
    assert allowed == {ids[one] for one in [*emoji_of_the_table(), "<|endoftext|>"]}
    assert len(config["suppress_tokens"]) == len({*config["suppress_tokens"]})
    assert config["eos_token_id"] == ids["<|endoftext|>"]
    # Repetition is forbidden to all that was read: end of text as padding could not come any more.
    assert config["no_repeat_ngram_size"] == 1
    assert config["pad_token_id"] == ids["<|emoji|>"]
    assert (config["min_new_tokens"], config["max_new_tokens"]) == (1, 4)


def test_a_folder_without_a_run_has_a_short_card(best: EmojiGPT2, tmp_path: Path) -> None:
    save_transformers_folder(best.model, best.tokenizer, tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n")
    assert "pipeline_tag: text-generation" in card
    assert "{" not in card
    assert is_ours(card)
    assert "truncation=True" in card
    assert "`suppress_tokens`" in card


def test_an_old_folder_is_replaced_whole(
    best: EmojiGPT2, trained_run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "deep" / "model"
    folder.mkdir(parents=True)
    (folder / "pytorch_model.bin").write_bytes(b"old")
    save_transformers_folder(best.model, best.tokenizer, folder)
    new, trained = contents(folder), contents(trained_run / "model")
    assert new.keys() == trained.keys() - {"curves.png"}, "of a run only"
    assert new["model.safetensors"] == trained["model.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == ["model"], "nothing is left beside it"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~umask, "others may read it"


@pytest.mark.parametrize("part", [GPT2LMHeadModel, PreTrainedTokenizerFast])
def test_a_failure_leaves_the_old_folder(
    best: EmojiGPT2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: type
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"old")

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(part, "save_pretrained", full)
    with pytest.raises(OSError, match="No space"):
        save_transformers_folder(best.model, best.tokenizer, folder)
    assert contents(tmp_path) == {"model/model.safetensors": b"old"}
