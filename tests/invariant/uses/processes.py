"""Each use in a process of its own, forked from one that has imported everything.

Such a process has trained nothing before, so that a use may fork others, and none sees what
another changed; it begins in no time.
"""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from tests.invariant.uses.harness import CRASHED, ROOT, USES, Use, Verdict, run

VERDICT = "verdict.json"
PRELOAD = ["tests.invariant.uses.every", "tests.invariant.uses.kept"]


def environment(folder: Path) -> dict[str, str]:
    """Return what the processes of uses have in their environment besides ours."""
    return {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "hf_home"),
        "XDG_CACHE_HOME": str(folder / "xdg_cache"),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "GLOO_SOCKET_IFNAME": "lo",
    }


def judge_all(uses: Sequence[Use], jobs: int, folder: Path) -> list[Verdict]:
    """Run uses, so many side by side; the verdicts are in the order of the uses."""
    os.environ |= environment(folder)
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda use: judge(use, folder / use.name), uses))


def judge(use: Use, folder: Path) -> Verdict:
    """Run a use in a process of its own, and end it when its time is up."""
    folder.mkdir(parents=True)
    begin = time.monotonic()
    multiprocessing.set_forkserver_preload(PRELOAD)
    process = multiprocessing.get_context("forkserver").Process(
        target=_alone, args=(use.name, folder)
    )
    process.start()
    process.join(use.seconds)
    verdict = Verdict(use.name, CRASHED, f"its process ended with status {process.exitcode}")
    if process.exitcode is None:
        os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
        verdict.seen = f"not done after {use.seconds} s"
    elif (folder / VERDICT).exists():
        verdict = Verdict(**json.loads((folder / VERDICT).read_text(encoding="utf-8")))
    seconds = time.monotonic() - begin
    print(f"{seconds:5.1f} s  {verdict.verdict:<19}  {use.name}: {verdict.seen}", flush=True)
    return verdict


def _alone(name: str, folder: Path) -> None:
    """Run a use in this process, which leads a group, and write its verdict."""
    os.setsid()
    multiprocessing.set_start_method("fork", force=True)  # as if nobody had forked this one
    verdict = run(USES[name], folder)
    (folder / VERDICT).write_text(json.dumps(asdict(verdict)), encoding="utf-8")
