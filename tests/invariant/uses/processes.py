"""Each use in a process of its own, forked from one that has imported everything.

Such a process has computed nothing before, so that a use may fork others, and none sees what
another changed; it begins in no time. A use that starts its own script again gets a real
``python -m``.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from tests.invariant.uses.harness import CRASHED, ROOT, USES, Use, Verdict, run

VERDICT = "verdict.json"


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
    status = _run_script(use, folder) if use.script else _run_forked(use, folder)
    seconds = time.monotonic() - begin
    if (folder / VERDICT).exists():
        verdict = Verdict(**json.loads((folder / VERDICT).read_text(encoding="utf-8")))
    elif status is None:
        verdict = Verdict(use.name, CRASHED, f"not done after {use.seconds} s")
    else:
        verdict = Verdict(use.name, CRASHED, f"its process ended with status {status}")
    print(f"{seconds:5.1f} s  {verdict.verdict:<19}  {use.name}: {verdict.seen}", flush=True)
    return verdict


def alone(name: str, folder: str) -> None:
    """Run a use in this process, which leads a group, and write its verdict."""
    if os.getpgrp() != os.getpid() and "LOCAL_RANK" not in os.environ:
        os.setsid()
    multiprocessing.set_start_method("fork", force=True)  # as if nobody had forked this one
    verdict = run(USES[name], Path(folder))
    if os.environ.get("LOCAL_RANK", "0") == "0":  # others are ranks that the use started
        (Path(folder) / VERDICT).write_text(json.dumps(asdict(verdict)), encoding="utf-8")


def _run_forked(use: Use, folder: Path) -> int | None:
    multiprocessing.set_forkserver_preload(["tests.invariant.uses.every"])
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=alone, args=(use.name, str(folder)))
    process.start()
    process.join(use.seconds)
    if process.exitcode is None:
        _kill_group(process.pid or 0)
        process.join()
        return None
    return process.exitcode


def _run_script(use: Use, folder: Path) -> int | None:
    words = [sys.executable, "-m", "tests.invariant.lightning_uses", "--alone", use.name]
    process = subprocess.Popen([*words, str(folder)], cwd=ROOT, start_new_session=True)
    try:
        return process.wait(use.seconds)
    except subprocess.TimeoutExpired:
        _kill_group(process.pid)
        process.wait()
        return None


def _kill_group(pid: int) -> None:
    """End a process that leads a group, and all that it started."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
