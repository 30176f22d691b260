"""The short form of ``kill_and_resume.py``."""

import pytest

from tests.invariant.kill_and_resume import check


@pytest.mark.slow
def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one() -> None:
    # At once after the first checkpoint: on a loaded machine a later kill may come after the end.
    killed, equal = check(runs=1, steps=200, devices=1, latest=0.0)
    assert killed
    assert equal == 1
