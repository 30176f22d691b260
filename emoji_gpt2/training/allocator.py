"""Let the C library keep memory that was freed, so that training on a CPU need not fetch it anew.

    reuse_freed_memory()        # once, before training

A training step allocates and frees hundreds of megabytes: gradients, copies of weights in bfloat16.
glibc gives such large blocks back to the operating system, and the next step pays for every page
again: a quarter of a step of GPT-2 124 M on short rows (``tests/benchmarks/results``). This keeps
them: no ``mmap`` for large blocks, no trimming of the heap (``mallopt(3)``). It is a setting of the
whole process, so the command line makes it, and importing the package does not.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Numbers of glibc's malloc.h."""


def reuse_freed_memory() -> bool:
    """Keep freed memory in this process and return whether that could be set: on glibc only."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))  # -1: never
