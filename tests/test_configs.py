"""The shipped YAML: what each file says to type is what works."""

# ruff: noqa: F811 -- a fixture that is imported has the name of the parameter that asks for it

import re
import shlex
from pathlib import Path

import pytest
import yaml

from tests.cli_runs import (
    ROOT,
    UPSTREAM,
    Cli,
    cli,  # noqa: F401 -- a fixture
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
    overlays = {"ddp", "ddp_cpu", "gpu", "debug", "nodes", "t4x2"}
    assert {"quickstart", "gpt2", "base", "finetune-small"} | overlays <= names
    assert [path.stem for path in CONFIGS if not is_for_fit(path)] == ["base"], "see test_distill"


@pytest.mark.parametrize("path", [p for p in CONFIGS if is_for_fit(p)], ids=lambda path: path.stem)
def test_a_config_opens_with_a_command_that_parses(
    cli: Cli, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    words = fit_words(path)
    assert path.stem in words
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
    from emoji_gpt2.generation.command import QUICKSTART, parse

    found = 0
    for path in CONFIGS:
        for words in commands(path):
            if words[2] == "emoji_gpt2.generate":
                output_dir = yaml.safe_load(path.read_text(encoding="utf-8"))["output_dir"]
                assert parse(words[3:]).model == f"{output_dir}/model"
                found += 1
    assert found
    quickstart = yaml.safe_load((ROOT / "configs/quickstart.yaml").read_text(encoding="utf-8"))
    assert f"{quickstart['output_dir']}/model" == QUICKSTART
