"""Whether pictures can be drawn."""

from importlib.util import find_spec


def can_plot() -> bool:
    """Return whether the ``plot`` extra is installed."""
    return find_spec("matplotlib") is not None
