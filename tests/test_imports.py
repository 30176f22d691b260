"""Imports point one way: a room imports earlier rooms only, and within a room there is no cycle."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import emoji_gpt2

PACKAGE = Path(emoji_gpt2.__file__).parent
ROOMS = [
    {"errors", "shipped"}, {"files"}, {"emoji"}, {"tables"}, {"tokenizer", "batch"}, {"gpt2_files"},
    {"data", "model"}, {"generation"}, {"evaluation"}, {"card"}, {"hub"}, {"training"}, {"distill"},
    {"fit", "generate", "evaluate", "__main__"},
]  # fmt: skip
"""From the ground up; those on one floor do not know each other, the last are commands."""
FLOORS = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
LIGHT = [
    "errors", "shipped", "files", "emoji.table", "emoji.text", "emoji.languages", "tables.source",
    "data.examples", "evaluation.baselines", "evaluation.scores", "evaluation.rankers",
    "evaluation.references", "evaluation.measure", "evaluation.report", "card.curves",
]  # fmt: skip
HEAVY = {"torch", "lightning", "transformers", "torchmetrics", "huggingface_hub", "pandas"}


def module_files() -> dict[str, Path]:
    """All modules by their name inside the package; the package itself is ""."""
    paths = {
        path: path.relative_to(PACKAGE).with_suffix("").parts for path in PACKAGE.rglob("*.py")
    }
    return {".".join(p[:-1] if p[-1] == "__init__" else p): path for path, p in paths.items()}


MODULES = module_files()


def imported(module: str) -> set[str]:
    """The package's modules that a module imports, anywhere in it, functions included."""
    names = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: a relative import; write it in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {name.removeprefix("emoji_gpt2.") for name in names if name.startswith("emoji_gpt2.")}
    found = {name if name in MODULES else name.rpartition(".")[0] for name in ours}
    return found - {"", module}


@pytest.mark.parametrize("module", sorted(set(MODULES) - {""}))
def test_a_room_imports_earlier_rooms_only(module: str) -> None:
    room = module.partition(".")[0]
    for other in imported(module):
        below = other.partition(".")[0]
        assert room == below or FLOORS[below] < FLOORS[room], f"{module} imports {other}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    list(TopologicalSorter({name: imported(name) for name in MODULES if name}).static_order())


def test_the_package_itself_imports_nothing_of_its_own_when_it_is_imported() -> None:
    tree = ast.parse(MODULES[""].read_text(encoding="utf-8"))
    at_once = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    assert "emoji_gpt2" not in "".join(map(ast.unparse, at_once))


def loaded(code: str, unwanted: set[str]) -> str:
    code = f"{code}; import sys; print(sorted({unwanted!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import emoji_gpt2", HEAVY | {"numpy"}),
        ("; ".join(f"import emoji_gpt2.{module}" for module in LIGHT), HEAVY),
        (
            "import emoji_gpt2.generation.command",
            {"lightning", "torchmetrics", "jsonargparse", "pandas", "matplotlib"},
        ),
        ("import emoji_gpt2.training.cli", {"pandas", "pyarrow", "tensorboard", "datasets"}),
        ("import emoji_gpt2.hub.__main__", {"torch", "lightning", "transformers", "pandas"}),
    ],
)
def test_nothing_is_loaded_that_is_not_needed(code: str, unwanted: set[str]) -> None:
    assert loaded(code, unwanted) == "[]\n"
