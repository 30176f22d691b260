"""What ships beside the code: found by its name from any folder, and part of wheel and sdist."""

# ruff: noqa: F811 -- a fixture that is imported has the name of the parameter that asks for it

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from hatchling.build import build_editable
from transformers import pipeline

from emoji_gpt2 import EmojiGenerator, EmojiGPT2, generate_emoji
from emoji_gpt2.shipped import BASE_FOLDER, CONFIGS, model_path, with_config_paths
from tests.cli_runs import (
    ROOT,
    UPSTREAM,
    trained_run,  # noqa: F401 -- a fixture
)

pytestmark = UPSTREAM
QUICKSTART = str(ROOT / "configs/quickstart.yaml")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["fit", "--config", "quickstart"], ["fit", "--config", QUICKSTART]),
        (["-c", "quickstart"], ["-c", QUICKSTART]),
        (["--config=quickstart"], [f"--config={QUICKSTART}"]),
        (["--config", "nothing", "quickstart"], ["--config", "nothing", "quickstart"]),
        (["--data.path=quickstart"], ["--data.path=quickstart"]),
        (["--config", "here"], ["--config", "here"]),
    ],
    ids=str,
)
def test_a_config_by_its_name(words: list[str], wanted: list[str]) -> None:
    assert with_config_paths(words) == wanted


def test_a_file_or_folder_of_that_name_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (CONFIGS, BASE_FOLDER) == (ROOT / "configs", ROOT / "checkpoints/base")
    monkeypatch.chdir(tmp_path)
    assert model_path("base") == str(BASE_FOLDER)
    (tmp_path / "base").mkdir()
    (tmp_path / "gpu").write_text("trainer: {}", encoding="utf-8")
    assert model_path("base") == "base"
    assert with_config_paths(["--config", "gpu"]) == ["--config", "gpu"]


def test_without_a_path_what_was_fine_tuned_here_answers_else_the_base(
    tmp_path: Path,
    trained_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert generate_emoji("I love pizza").startswith("🍕")
    assert generate_emoji("I love pizza", "base").startswith("🍕")
    assert caplog.messages == ["model: base"]
    (tmp_path / "results").symlink_to(trained_run)
    assert generate_emoji("cat") == generate_emoji("cat", str(trained_run))


def test_the_base_is_fine_tuned_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(EmojiGPT2(pretrained="base").tokenizer) == 54_202


def test_plain_transformers_computes_as_we_do_though_weights_are_stored_as_fp16() -> None:
    pipe = pipeline("text-generation", str(BASE_FOLDER))
    assert pipe.model.dtype == torch.float32
    texts = ["I love pizza", "walking the dog in the park", "so tired, good night"]
    found = [pipe(text, return_full_text=False, truncation=True) for text in texts]
    wanted = EmojiGenerator.from_pretrained("base").generate(texts)
    assert [one[0]["generated_text"] for one in found] == wanted


def test_an_editable_install_uses_the_checkouts_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    names = zipfile.ZipFile(tmp_path / build_editable(str(tmp_path))).namelist()
    assert not [name for name in names if name.startswith("emoji_gpt2/")]


def run(folder: Path, *words: str | Path, **variables: str) -> str:
    """The output of a Python in ``folder``, which sees no checkout unless it is one."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | variables
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_an_installed_wheel_answers_and_trains_from_any_folder(tmp_path: Path) -> None:
    """The package is built as an sdist and a wheel, and installed from the sdist."""
    built, installed = tmp_path / "built", tmp_path / "installed"
    run(ROOT, "-m", "hatchling", "build", "-d", built)
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    assert wheel.stat().st_size < 60e6
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--no-compile"]
    run(tmp_path, "-m", "pip", "install", *options, "--target", installed, sdist)

    files = {str(p.relative_to(installed)) for p in installed.rglob("*") if p.is_file()}
    wanted = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info" not in name}
    assert {name for name in files if ".dist-info" not in name} == wanted
    for path in [*BASE_FOLDER.iterdir(), *CONFIGS.iterdir()]:
        copy = installed / "emoji_gpt2" / path.relative_to(ROOT)
        assert copy.read_bytes() == path.read_bytes()

    away = {"PYTHONPATH": str(installed)}
    call = "import emoji_gpt2 as e; print(e.__file__, e.generate_emoji('I love pizza'))"
    file, emoji = run(tmp_path, "-c", call, **away).split()
    assert Path(file).is_relative_to(installed)
    assert emoji.startswith("🍕")
    assert run(tmp_path, "-m", "emoji_gpt2.generate", "I love pizza", **away).startswith("🍕")
    flags = ["--config", "finetune-small", "--print_config"]
    parsed = run(tmp_path, "-m", "emoji_gpt2.fit", *flags, **away)
    assert "output_dir: checkpoints/finetuned" in parsed
    assert "pretrained: base" in parsed
