"""The Kaggle notebook: its outputs are stripped."""

import json

from tests.cli_runs import ROOT

NOTEBOOK = ROOT / "configs/kaggle.ipynb"


def test_outputs_are_stripped() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 5
    for cell in code:
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
