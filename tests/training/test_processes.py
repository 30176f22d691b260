"""What is freed stays with the process: seen in one of its own, by the pages it must fetch."""

import platform
import subprocess
import sys

import pytest

# A block of 64 MB is taken, written and freed, again and again: how many pages does that fetch?
PROGRAM = """
import resource
from emoji_gpt2.training.processes import reuse_freed_memory
def take():
    bytearray(64 << 20)[:: 4096] = b"x" * (64 << 8)
def faults():
    take()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        take()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
given_back = faults()
assert reuse_freed_memory()
print(faults(), given_back)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
@pytest.mark.slow
def test_freed_memory_is_not_fetched_again() -> None:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    kept, given_back = map(int, done.stdout.split())
    assert kept < 0.02 * given_back
