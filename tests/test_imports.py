"""Imports point one way: a module may import modules of lower layers only.

``data`` and ``module`` share a layer, so neither can import the other, nor anything that imports
the other; what they share (``Batch``, the tokenizer) lies below both.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import emoji_gpt2

PACKAGE = Path(emoji_gpt2.__file__).parent
LAYERS = {
    "errors": 0,
    "files": -1,
    "readme": 0,
    "allocator": 0,
    "processes": 1,
    "adapters": 1,
    "text": 0,
    "resources": 0,
    "loss": 2,
    "sampling": 2,
    "answers": 3,
    "inference": 1,
    "optim": 0,
    "dropout": 0,
    "store": 0,
    "batches": 1,
    "table": 1,
    "descriptions": 2,
    "sources.fetch": 1,
    "splits": 1,
    "loader": 2,
    "packing": 2,
    "metrics": 1,
    "resources.build": 2,
    "languages": 2,
    "resources.build_languages": 3,
    "sources.textfile": 2,
    "tokenizer": 2,
    "sources.text_tables": 3,
    "embeddings": 3,
    "wordwise": 3,
    "baselines": 2,
    "plots": 0,
    "facts": 0,
    "card": 1,
    "pretrained": 3,
    "export": 3,
    "hub_client": 1,
    "uploads": 2,
    "sources.parquet_table": 4,
    "sources": 5,
    "examples": 6,
    "english": 0,
    "augment": 7,
    "encode": 7,
    "rows": 8,
    "prepare": 9,
    "held_out": 9,
    "data": 10,
    "module": 10,
    "conditions": 11,
    "collect": 12,
    "callbacks": 13,
    "samples": 11,
    "early_checks": 11,
    "resume": 0,
    "metrics_file": 0,
    "checkpoint_io": 0,
    "checkpoints": 1,
    "run_folder": 14,
    "snapshots": 14,
    "hub": 15,
    "hub_cli": 15,
    "cli": 16,
    "generate": 11,
    "fit": 17,
    "generate_cli": 14,
    "scores": 0,
    "rankers": 3,
    "references": 7,
    "measure": 8,
    "evaluation_picture": 1,
    "evaluation": 2,
    "evaluate": 0,
    "evaluating": 12,
    "evaluate_cli": 14,
    "distill": 0,
    "distill.texts": 2,
    "distill.teacher": 8,
    "distill.rows": 11,
    "distill.student": 12,
    "distill.__main__": 17,
}
NO_TORCH = [
    "allocator",
    "errors",
    "text",
    "table",
    "resources",
    "languages",
    "sources",
    "examples",
    "baselines",
    "plots",
    "facts",
    "scores",
    "rankers",
    "references",
    "measure",
    "evaluation",
]
TORCH = {"torch", "lightning", "transformers", "torchmetrics"}
HEAVY = TORCH | {"huggingface_hub", "pandas"}


def module_files() -> dict[str, Path]:
    """All modules by their name inside the package; the package itself is ""."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = module_files()


def imported(tree: ast.AST, known: set[str]) -> set[str]:
    """The package's modules that a source imports, anywhere in it, functions included.

    Left out is what runs only as a script: ``if __name__ == "__main__":`` at the end.
    """
    names = set()
    script = [n for n in ast.iter_child_nodes(tree) if isinstance(n, ast.If) and _is_main(n)]
    left_out = {id(node) for part in script for node in ast.walk(part)}
    for node in ast.walk(tree):
        if id(node) in left_out:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: a relative import; write it in full"
            prefix = f"{node.module}."
            names |= {prefix + alias.name for alias in node.names}
    ours = {name.removeprefix("emoji_gpt2.") for name in names if name.startswith("emoji_gpt2.")}
    return {_module_of(name, known) for name in ours}


def _is_main(node: ast.If) -> bool:
    return ast.unparse(node.test) == "__name__ == '__main__'"


def _module_of(name: str, known: set[str]) -> str:
    """``table.EmojiTable`` is of ``table``, ``sources.fetch`` a module, ``__version__`` of ""."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name


def test_every_module_has_a_layer() -> None:
    entries = {"", "__main__"}
    unknown = set(MODULES) - set(LAYERS) - entries
    assert not unknown, f"{sorted(unknown)}: add them to LAYERS in {__file__}"
    gone = set(LAYERS) - set(MODULES)
    assert not gone, f"{sorted(gone)}: no such modules; take them out of LAYERS in {__file__}"


@pytest.mark.parametrize("module", sorted(set(MODULES) & set(LAYERS)))
def test_a_module_imports_lower_layers_only(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for other in imported(tree, set(MODULES)) - {""}:
        assert other in LAYERS, f"{module} imports {other}: add it to LAYERS in {__file__}"
        assert LAYERS[other] < LAYERS[module], (
            f"{module} (layer {LAYERS[module]}) imports {other} (layer {LAYERS[other]}): imports "
            "point from higher layers to lower ones"
        )


def test_the_package_itself_imports_nothing_of_its_own_when_it_is_imported() -> None:
    tree = ast.parse(MODULES[""].read_text(encoding="utf-8"))
    at_once = ast.Module([n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], [])
    assert not imported(at_once, set(MODULES))


def test_the_reader_of_imports_sees_them_all() -> None:
    source = (
        "import emoji_gpt2.table\nfrom emoji_gpt2 import text, __version__\n"
        "def f():\n    from emoji_gpt2.sources import fetch, Chunk\n"
        "import os\nfrom emoji_gpt2_other import x\n"
        "if __name__ == '__main__':\n    import emoji_gpt2.fit\n"
    )
    found = imported(ast.parse(source), set(MODULES))
    assert found == {"table", "text", "sources", "sources.fetch", ""}
    with pytest.raises(AssertionError, match="relative"):
        imported(ast.parse("from . import table"), set(MODULES))


@pytest.mark.parametrize(
    "module", [m for m in MODULES if m in NO_TORCH or m.startswith(("sources.", "resources."))]
)
def test_light_modules_name_no_torch(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    names = {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    names |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert not {name.partition(".")[0] for name in names} & TORCH


def test_light_modules_load_no_torch() -> None:
    imports = "; ".join(f"import emoji_gpt2.{module}" for module in NO_TORCH)
    code = f"{imports}; import sys; print(sorted({HEAVY!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n", run.stderr


def test_importing_the_package_is_cheap() -> None:
    heavy = HEAVY | {"numpy"}
    code = f"import emoji_gpt2, sys; print(sorted({heavy!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n", run.stderr


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("generate_cli", {"lightning", "torchmetrics", "jsonargparse", "pandas", "matplotlib"}),
        ("cli", {"pandas", "pyarrow", "tensorboard", "datasets"}),
    ],
)
def test_command_lines_load_no_more_than_they_need(module: str, unwanted: set[str]) -> None:
    code = f"import emoji_gpt2.{module}, sys; print(sorted({unwanted!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n", run.stderr
