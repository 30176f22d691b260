"""All uses, in the order of the table: importing this registers them."""

from importlib import import_module

KINDS = (
    "trainer_options",
    "devices",
    "callbacks",
    "model_checkpoint",
    "python_fitting",
    "python_subclasses",
    "python_elsewhere",
    "command_line",
)
for kind in KINDS:
    import_module(f"tests.invariant.uses.{kind}")
