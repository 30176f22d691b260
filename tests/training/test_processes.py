"""What is freed stays with the process: seen in one of its own, by the pages it must fetch."""

import platform
import subprocess
import sys

import pytest

# A block of 64 MB is taken, written and freed, again and again: how many pages does that fetch?
PROGRAM = """
import resource, sys
from emoji_gpt2.training.processes import reuse_freed_memory
if sys.argv[1] == "keep":
    assert reuse_freed_memory()
def take():
    bytearray(64 << 20)[:: 4096] = b"x" * (64 << 8)
take()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    take()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    command = [sys.executable, "-c", PROGRAM, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
@pytest.mark.slow
def test_freed_memory_is_not_fetched_again() -> None:
    assert faults("keep") < 0.02 * faults("give back")
