"""The package as others import it: cheap, typed, its names and files there."""

import ast
import json
import re
import subprocess
import sys
from importlib import metadata
from importlib.resources import files
from pathlib import Path

import pytest

import emoji_gpt2

HEAVY = ("torch", "transformers", "lightning", "pandas", "torchmetrics", "huggingface_hub", "numpy")


def modules_after(code: str) -> set[str]:
    """The top-level modules that a new interpreter has imported after ``code``."""
    code += "\nimport sys, json; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_importing_the_package_is_cheap() -> None:
    assert not modules_after("import emoji_gpt2; dir(emoji_gpt2)") & {*HEAVY}


def test_the_table_needs_no_torch() -> None:
    after = modules_after("from emoji_gpt2 import EmojiTable; EmojiTable.builtin()")
    assert "emoji_gpt2" in after
    assert not after & {"torch", "transformers", "lightning"}


def test_all_names_resolve_and_are_listed() -> None:
    assert {"EmojiDataModule", "EmojiGPT2", "EmojiGenerator", "EmojiTable"} <= {*emoji_gpt2.__all__}
    assert {"fine_tune_gpt2", "generate_emoji"} <= {*emoji_gpt2.__all__}
    for name in emoji_gpt2.__all__:
        value = getattr(emoji_gpt2, name)
        assert value.__name__ == name
        assert value.__module__.startswith("emoji_gpt2."), "defined here, not elsewhere"
        assert name in dir(emoji_gpt2)
    assert "__version__" in dir(emoji_gpt2)


def test_star_import_gives_all_names() -> None:
    code = "from emoji_gpt2 import *; print(sorted(n for n in dir() if n[0] != '_'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(sorted(emoji_gpt2.__all__))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'emoji_gpt2' has no attribute 'nothing'"):
        _ = emoji_gpt2.nothing
    assert not hasattr(emoji_gpt2, "fine_tune_gpt3")


def test_the_version_is_the_installed_one() -> None:
    assert emoji_gpt2.__version__ == metadata.version("emoji_gpt2")


def test_the_packages_files_are_installed() -> None:
    package = files("emoji_gpt2")
    assert package.joinpath("py.typed").is_file()
    resources = package / "emoji" / "resources"
    assert len(resources.joinpath("emoji_table.csv").read_bytes()) > 100_000
    assert resources.joinpath("gpt2_merges.txt.gz").read_bytes()[:2] == b"\x1f\x8b"
    licences = [path.name for path in resources.joinpath("licenses").iterdir()]
    assert len(licences) >= 2


def test_what_is_imported_is_declared() -> None:
    lines = metadata.requires("emoji_gpt2") or []
    declared = {re.split(r"[^\w-]", line)[0].replace("-", "_") for line in lines}
    sources = [
        path.read_text(encoding="utf-8") for path in Path(emoji_gpt2.__file__).parent.rglob("*.py")
    ]
    trees = [node for source in sources for node in ast.walk(ast.parse(source))]
    names = {a.name for n in trees if isinstance(n, ast.Import) for a in n.names}
    names |= {str(n.module) for n in trees if isinstance(n, ast.ImportFrom)}
    tops = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    optional = {"sentence_transformers", "emoji_gpt2"}
    assert {"pyyaml" if top == "yaml" else top for top in tops - optional} <= declared
