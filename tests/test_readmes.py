"""READMEs and notebook: commands parse, files that are named are there, answers are the base's."""

# ruff: noqa: F811 -- a fixture that is imported has the name of the parameter that asks for it

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from emoji_gpt2 import EmojiGenerator
from emoji_gpt2.evaluation import command as evaluation
from emoji_gpt2.generation import command as generation
from tests.cli_runs import (
    ROOT,
    UPSTREAM,
    Cli,
    cli,  # noqa: F401 -- a fixture
)

pytestmark = UPSTREAM
READMES = [ROOT / "README.md", *(ROOT / folder / "README.md" for folder in ("configs", "tests"))]
READMES += [ROOT / "checkpoints/README.md", ROOT / "checkpoints/base/README.md"]
NOTEBOOK = ROOT / "configs/kaggle.ipynb"

Words = tuple[str, ...]


def shell(text: str) -> str:
    """The shell's part of a README: its bash blocks."""
    return "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL))


def cells() -> str:
    """The commands of the notebook's text."""
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return shell("\n".join("".join(c["source"]) for c in found if c["cell_type"] == "markdown"))


def commands() -> Iterator[Words]:
    """The words after ``-m`` of each command of ours; a path that a run would make is left out."""
    text = "\n".join([cells(), *(shell(path.read_text(encoding="utf-8")) for path in READMES)])
    for line in text.replace("\\\n", " ").splitlines():
        words = re.search(r"-m (emoji_gpt2\b.*)", line.split("&&")[-1])
        if words:
            yield tuple(shlex.split(words[1], comments=True))


TRAININGS = sorted({w for w in commands() if w[0] == "emoji_gpt2.fit" and "last" not in w})
OTHERS = sorted({w for w in commands() if w[0].startswith(("emoji_gpt2.g", "emoji_gpt2.eva"))})


def test_every_kind_of_command_is_found() -> None:
    assert len(TRAININGS) > 8
    assert {words[0] for words in OTHERS} == {"emoji_gpt2.generate", "emoji_gpt2.evaluate"}


@pytest.mark.parametrize("words", TRAININGS, ids=" ".join)
def test_a_training_parses(cli: Cli, words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    run = cli.raw("fit", *words[1:], "--print_config")
    assert run.status == 0, run.stderr


@pytest.mark.parametrize("words", OTHERS, ids=" ".join)
def test_other_commands_parse(words: Words) -> None:
    module = generation if words[0] == "emoji_gpt2.generate" else evaluation
    assert module.parse(words[1:])


@pytest.mark.parametrize("path", [*READMES, NOTEBOOK], ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_are_named_are_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = {ROOT / one for one in re.findall(r"\bconfigs/[\w-]+\.(?:yaml|ipynb|md)", text)}
    named |= {ROOT / one for one in re.findall(r"`((?:tests|checkpoints)/[\w/-]+\.\w+)`", text)}
    links = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    assert not links or path != READMES[0], "a package index does not have the file"
    named |= {path.parent / link for link in links}
    assert not [one for one in named if not one.exists()]


def test_what_the_base_is_said_to_answer_is_what_it_answers() -> None:
    readme = READMES[0].read_text(encoding="utf-8")
    base = EmojiGenerator.from_pretrained("base")
    said = re.search(r'generate "([^"]+)" --top_k 3\n(.*?)```', readme, re.DOTALL)
    assert said
    ranked = base.rank([said[1]], top_k=3)[0]
    assert said[2] == "".join(f"{emoji}  {p:.3f}\n" for emoji, p in ranked)
    answers = re.findall(r'generate "([^"]+)" +# (\S+)$', readme, re.MULTILINE)
    table = READMES[3].read_text(encoding="utf-8")
    answers += re.findall(r"^\| (.+?) \| (\S+) \| \S+ 0\.\d\d", table, re.MULTILINE)
    assert len(answers) == 11
    assert base.generate([text for text, _ in answers]) == [answer for _, answer in answers]


def test_every_config_is_in_the_table() -> None:
    text = (ROOT / "configs/README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([\w-]+\.yaml)` \|", text, re.MULTILINE))
    there = {path.name for path in (ROOT / "configs").glob("*.yaml")}
    assert named == there
