"""metrics.csv as a killed run leaves it and a resumed one goes on with it."""

from pathlib import Path

import pytest

from emoji_gpt2.training.restart import RunCSVLogger
from tests.cli_runs import read_csv


def rows(path: Path) -> list[tuple[str, str]]:
    return [(row["step"], row["a"]) for row in read_csv(path / "metrics.csv")]


def killed_after(tmp_path: Path, steps: int) -> None:
    killed = RunCSVLogger(tmp_path)
    for step in range(steps):
        killed.log_metrics({"a": step}, step)
    assert len(rows(tmp_path)) == steps, "each row is written at once"


def test_rows_after_the_checkpoint_s_are_dropped(tmp_path: Path) -> None:
    killed_after(tmp_path, 6)
    resumed = RunCSVLogger(tmp_path)
    resumed.experiment.keep_before(3)
    resumed.log_metrics({"a": 30}, 3)
    resumed.log_metrics({"a": 31, "b": 1}, 3)
    resumed.log_metrics({"a": 40}, 4)
    resumed.finalize("success")
    wanted = [("0", "0"), ("1", "1"), ("2", "2"), ("3", "30"), ("3", "31"), ("4", "40")]
    assert rows(tmp_path) == wanted
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


@pytest.mark.parametrize("half", ["3", "3,", '3,"'])
def test_half_a_row_is_dropped(tmp_path: Path, half: str) -> None:
    killed_after(tmp_path, 3)
    before = (tmp_path / "metrics.csv").read_bytes()
    with (tmp_path / "metrics.csv").open("a", encoding="utf-8") as file:
        file.write(half)
    RunCSVLogger(tmp_path).experiment.keep_before(3)
    assert (tmp_path / "metrics.csv").read_bytes() == before


def test_a_file_without_a_header_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").touch()
    resumed = RunCSVLogger(tmp_path)
    resumed.experiment.keep_before(0)
    resumed.log_metrics({"a": 1}, 0)
    assert rows(tmp_path) == [("0", "1")]


def test_another_folder_has_none_of_the_rows(tmp_path: Path) -> None:
    RunCSVLogger(tmp_path).experiment.keep_before(3)
    assert not list(tmp_path.iterdir())
