"""The README's example for research code, run as it stands but for a smaller model and table."""

import re
from pathlib import Path

import pytest
import torch

from emoji_gpt2.emoji.table import EmojiTable
from tests.cli_runs import ROOT, UPSTREAM

pytestmark = [
    *UPSTREAM,
    pytest.mark.filterwarnings("ignore:The number of training batches:UserWarning"),
]


def example() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- research example -->\n```python\n(.*?)```", text, re.DOTALL)
    assert found, "README.md has no research example"
    return found[1]


def write_tweets(path: Path, classes: list[str], per_class: int) -> None:
    """Tweets whose last word says the class."""
    lines = ["text,label"]
    for number, emoji in enumerate(classes):
        lines += [f"tweet {i} of w{number} w{number},{emoji}" for i in range(per_class)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_the_research_example_trains_and_prints_macro_f1(
    tiny_gpt2: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code = example()
    given = re.search(r'CLASSES = "(.*)"', code)
    assert given
    classes = EmojiTable.builtin().split(given[1])
    assert len(set(classes)) == 20
    write_tweets(tmp_path / "tweets.csv", classes, per_class=6)
    write_tweets(tmp_path / "tweets_test.csv", classes, per_class=2)
    code = code.replace('"gpt2"', repr(str(tiny_gpt2))).replace("5e-5", "0.02, warmup_steps=5")
    quiet = 'accelerator="cpu", devices=1, logger=False, enable_progress_bar=False'
    code = code.replace("max_epochs=3", f"max_epochs=20, {quiet}, enable_model_summary=False")
    torch.manual_seed(0)
    exec(compile(code, "README.md", "exec"), {"__name__": "example"})
    found = re.search(
        r"^macro-F1 (\d\.\d+), accuracy (\d\.\d+)$", capsys.readouterr().out, re.MULTILINE
    )
    assert found
    assert float(found[1]) > 0.9, "by chance 0.05"
