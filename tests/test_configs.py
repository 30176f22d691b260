"""The shipped YAML: what each file says to type is what works."""

# ruff: noqa: F811 -- a fixture that is imported has the name of the parameter that asks for it

import importlib
import re
import shlex
from pathlib import Path

import pytest
import yaml
from transformers.models.gpt2.modeling_gpt2 import GPT2Block

from tests.cli_runs import (
    ROOT,
    TINY_MODEL,
    UPSTREAM,
    Cli,
    cli,  # noqa: F401 -- a fixture
    load,
)

pytestmark = UPSTREAM
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def commands(path: Path) -> list[list[str]]:
    """The commands in the comment that a config opens with, as words, variables left out."""
    head = re.match(r"(#.*\n)+", path.read_text(encoding="utf-8"))
    assert head, f"{path.name} does not open with a comment"
    text = re.sub(r"^# ?", "", head.group(), flags=re.MULTILINE).replace("\\\n", " ")
    found = re.findall(r"^  (?:[A-Z_]+=\S+ +)*(python -m .*)", text, flags=re.MULTILINE)
    return [shlex.split(line) for line in found]


def fit_words(path: Path) -> list[str]:
    (words,) = [words for words in commands(path) if words[2] == "emoji_gpt2.fit"]
    return words[3:]


def is_for_fit(path: Path) -> bool:
    return any(words[2] == "emoji_gpt2.fit" for words in commands(path))


def test_all_configs_are_found() -> None:
    names = {path.stem for path in CONFIGS}
    overlays = {"ddp", "ddp_cpu", "gpu", "debug", "nodes", "t4x2", "fsdp_xl"}
    assert {"quickstart", "gpt2", "base", "finetune-small"} | overlays <= names
    assert [path.stem for path in CONFIGS if not is_for_fit(path)] == ["base"], "see test_distill"


@pytest.mark.parametrize("path", [p for p in CONFIGS if is_for_fit(p)], ids=lambda path: path.stem)
def test_a_config_opens_with_a_command_that_parses(
    cli: Cli, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    words = fit_words(path)
    assert f"configs/{path.name}" in words
    run = cli.raw("fit", *words, "--print_config")
    assert run.status == 0, run.stderr
    parsed = yaml.safe_load(run.stdout)
    for section, values in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        if "--output_dir" in words and section == "output_dir":
            continue
        assert contains(parsed[section], values), section
    assert parsed["output_dir"].startswith("checkpoints/"), "runs are written below checkpoints/"


def contains(parsed: object, given: object) -> bool:
    if isinstance(given, dict):
        assert isinstance(parsed, dict)
        return all(contains(parsed[key], value) for key, value in given.items())
    if isinstance(given, list) and isinstance(parsed, list):
        return len(parsed) == len(given) and all(map(contains, parsed, given))
    return parsed == given


def test_generate_commands_name_the_folder_of_the_run() -> None:
    from emoji_gpt2.generation.command import DEFAULT_MODELS, parse

    found = 0
    for path in CONFIGS:
        for words in commands(path):
            if words[2] == "emoji_gpt2.generate":
                output_dir = yaml.safe_load(path.read_text(encoding="utf-8"))["output_dir"]
                assert parse(words[3:]).model == f"{output_dir}/model"
                found += 1
    assert found
    quickstart = yaml.safe_load((ROOT / "configs/quickstart.yaml").read_text(encoding="utf-8"))
    assert f"{quickstart['output_dir']}/model" == DEFAULT_MODELS[0]


def test_the_fsdp_overlay_is_what_lightning_takes(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    policies: list[object] = []
    module = "lightning.pytorch.strategies.fsdp"
    for name in ("_auto_wrap_policy_kwargs", "_activation_checkpointing_kwargs"):
        made = getattr(importlib.import_module(module), name)
        monkeypatch.setattr(
            f"{module}.{name}", lambda *given, made=made: policies.append(given) or made(*given)
        )
    words = [*fit_words(ROOT / "configs/fsdp_xl.yaml"), f"--output_dir={cli.folder}"]
    words += ["--model.pretrained=null", *TINY_MODEL]  # the model is made first
    error = cli.raw("fit", *words, "--trainer.accelerator=cpu", "--trainer.devices=1").error()
    assert "fsdp" in error
    (wrapped, _), (_, checkpointed) = policies
    assert wrapped == checkpointed == {GPT2Block}
    assert not cli.folder.exists() or not list(cli.folder.iterdir())


def test_quickstart_with_debug_runs(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    words = fit_words(ROOT / "configs/debug.yaml")
    run = cli.raw("fit", *words, *cli.base[1:2], *cli.base[-2:], f"--output_dir={cli.folder}")
    assert run.status == 0, run.stderr
    assert [row["step"] for row in run.metrics if row["train/loss"]] == list("01234")
    assert (run.folder / "model" / "model.safetensors").is_file()
    assert "emoji kept" in run.stderr


def test_gpt2_stops_early_also_when_going_on(cli: Cli) -> None:
    """At a learning rate of almost nothing the first epoch stays the best."""
    words = [f"--config={ROOT / 'configs/gpt2.yaml'}", f"--output_dir={cli.folder}", *cli.base[2:]]
    words += ["--model.pretrained=null", "--model.learning_rate=1e-30", "--trainer.max_epochs=9"]
    run = cli(*words)
    assert run.status == 0, run.stderr
    assert load(run.folder / "last.ckpt")["epoch"] == 2
    run = cli(*words, "--ckpt_path=last", "--trainer.callbacks+=LearningRateMonitor")
    assert run.status == 0, run.stderr
    assert load(run.folder / "last.ckpt")["epoch"] == 3
    config = yaml.safe_load((run.folder / "config.yaml").read_text(encoding="utf-8"))
    names = [one["class_path"].rpartition(".")[2] for one in config["trainer"]["callbacks"]]
    assert names == ["EarlyStopping", "LearningRateMonitor"]
