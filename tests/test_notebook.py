"""The Kaggle notebook: outputs are stripped, and it runs from top to bottom, offline."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli_runs import ROOT
from tests.hub.server import HubServer

NOTEBOOK = ROOT / "configs/kaggle.ipynb"
TINY = 'EPOCHS, HUB_NAME = 1, "tester/emoji"\n'
NEXT_SESSION = "import shutil; shutil.rmtree(OUTPUT); RESUME, EPOCHS = True, 2\n"
SECRETS = """class UserSecretsClient:
    def get_secret(self, name):
        return {"HF_TOKEN": "hf_good"}[name]
"""


def code_cells(path: Path) -> list[dict[str, Any]]:
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def test_outputs_are_stripped() -> None:
    for cell in code_cells(NOTEBOOK):
        assert (cell["outputs"], cell["execution_count"]) == ([], None)


def printed(cell: dict[str, Any]) -> str:
    """All text that a cell has printed or shown."""
    texts = [out.get("text") or out.get("data", {}).get("text/plain") for out in cell["outputs"]]
    return "".join("".join(text) for text in texts if text)


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path: Path) -> None:
    """Without Kaggle's file and GPT-2, with a secret of Kaggle's; then the next session goes on."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    (parameters,) = [c for c in notebook["cells"] if c["metadata"].get("tags") == ["parameters"]]
    parameters["source"] = [*parameters["source"], "\n", TINY]
    (fit,) = [c for c in notebook["cells"] if "resume=RESUME" in "".join(c["source"])]
    notebook["cells"] += [fit | {"id": "again", "source": [NEXT_SESSION, *fit["source"]]}]
    (tmp_path / "kaggle.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    (tmp_path / "kaggle_secrets.py").write_text(SECRETS, encoding="utf-8")
    execute = "from nbclient.cli import main; main()"
    command = [sys.executable, "-c", execute, "kaggle.ipynb", "--inplace", "--timeout=-1"]
    with HubServer() as hub:
        bin_folder = Path(sys.executable).parent
        env = hub.env(tmp_path / "home")
        env |= {"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": f"{bin_folder}:{env['PATH']}"}
        env |= {"IPYTHONDIR": str(tmp_path / "ipython"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        pushed = hub.repos["models/tester/emoji"].files
    assert {"model.safetensors", "README.md", "last.ckpt"} <= {*pushed}
    texts = "\n".join(map(printed, code_cells(tmp_path / "kaggle.ipynb")))
    assert "a small table of the built-in names is written" in texts
    assert "The small base that ships with the package is fine-tuned instead." in texts
    assert "🍕" in texts
    assert "epoch 0, step " in texts
    assert "epoch 1, step " in texts, "the next session"
    assert "Loading weights" not in texts
    assert "Tip: " not in texts
    assert "hf_good" not in texts
    pictures = [
        out["data"]["image/png"]
        for cell in code_cells(tmp_path / "kaggle.ipynb")
        for out in cell["outputs"]
        if "image/png" in out.get("data", {})
    ]
    assert len(pictures) == 1, "the curves"
    assert base64.b64decode(pictures[0]).startswith(b"\x89PNG")
