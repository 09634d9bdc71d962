"""What a command used: CPU and wall seconds, peak memory, and bytes of what it wrote."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Used(NamedTuple):
    """What one command used.

    Attributes:
        cpu_s: of the process and those it waited for.
        wall_s: from start to end.
        peak_bytes: resident memory of its largest process.
    """

    cpu_s: float
    wall_s: float
    peak_bytes: int


def run(command: Sequence[str], cwd: Path | None = None, threads: int = 1) -> Used:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed; its last words.
    """
    set_by_us = {"OMP_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": "10000"}
    start = time.perf_counter()
    child = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **set_by_us},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {child.returncode}: {said[-2000:]}")
    cpu_s = usage.ru_utime + usage.ru_stime
    return Used(cpu_s, time.perf_counter() - start, usage.ru_maxrss * 1024)


def stage(name: str, *arguments: object, cwd: Path | None = None) -> Used:
    """Run ``python -m espnet_dice.stages.<name>``."""
    command = [sys.executable, "-m", f"espnet_dice.stages.{name}", *map(str, arguments)]
    return run(command, cwd)


def size(path: Path) -> int:
    """Bytes of a file or of all files below a directory; 0 if there is none."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(f.stat().st_size for f in files if f.is_file())
