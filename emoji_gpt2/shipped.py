"""The base and the configs that ship: found by their names, from any folder.

    python -m emoji_gpt2.fit --config quickstart --model.pretrained base

A wheel holds them in the package, a checkout (installed by ``pip install -e`` or not) beside it.
"""

from collections.abc import Sequence
from pathlib import Path

_PACKAGE = Path(__file__).parent
_ROOT = _PACKAGE if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent
BASE = "base"
CONFIGS = _ROOT / "configs"
BASE_FOLDER = _ROOT / "checkpoints" / BASE


def model_path(name: str) -> str:
    """Return a model's name; ``~`` is expanded, and ``base`` is the one that ships.

    A file or folder that is called ``base`` wins.
    """
    if name == BASE and not Path(name).exists():
        return str(BASE_FOLDER)
    return str(Path(name).expanduser()) if name.startswith("~") else name


def with_config_paths(words: Sequence[str]) -> list[str]:
    """Return a command line's words, with the paths of shipped configs for their names.

    A file that is called like a config wins.
    """
    shipped = {path.stem: str(path) for path in CONFIGS.glob("*.yaml")}
    found: list[str] = []
    for word in words:
        option, equals, name = word.rpartition("=")
        names_config = (option or "".join(found[-1:])) in ("--config", "-c")
        if names_config and name in shipped and not Path(name).exists():
            found.append(option + equals + shipped[name])
        else:
            found.append(word)
    return found
