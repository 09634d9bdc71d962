"""Memory and open files of a command and of all that it starts, while it runs."""

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

EVERY_S = 0.25
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6
TICKS = os.sysconf("SC_CLK_TCK")
WARM = 0.25
"""Share of a process's life that may grow: imports, first batches, the allocator's pools."""


@dataclass
class Process:
    """What was seen of one process.

    Attributes:
        name: the stage that it runs, or works for.
        main: started by a shell; others are copies of a main one, or spawned by it.
        seen: a row a sample: seconds, RSS in MB, open files, CPU seconds.
    """

    name: str
    main: bool
    seen: list[tuple[float, float, int, float]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Between the first and the last sample."""
        return self.seen[-1][0] - self.seen[0][0]

    @property
    def cpu(self) -> float:
        """CPU seconds, without children."""
        return self.seen[-1][3]


@dataclass(frozen=True)
class Growth:
    """How a process grew after it was warm.

    Attributes:
        rss: MB at the start, in the middle and at the end: medians of a tenth of the time each.
        files: open files there, the most of each tenth.
        slope: of RSS, MB between the start and the end, by least squares.
    """

    rss: tuple[float, float, float]
    files: tuple[int, int, int]
    slope: float


def growth(process: Process, worker: Process | None = None) -> Growth:
    """Start, middle, end and slope of what was seen once the process was warm.

    Args:
        process: in question.
        worker: of it: what it did before and after this worker's life does not count.
    """
    rows = np.array(process.seen)
    begun, *_, ended = (at for at, *_ in (worker or process).seen)
    warm = rows[(rows[:, 0] >= begun + WARM * (ended - begun)) & (rows[:, 0] <= ended)]
    t = (warm[:, 0] - warm[0, 0]) / max(1e-9, warm[-1, 0] - warm[0, 0])
    tenths = [warm[(t >= at) & (t <= at + 0.1)] for at in (0.0, 0.45, 0.9)]
    tenths = [tenth if len(tenth) else warm for tenth in tenths]  # seen too seldom
    slope = float(np.polyfit(t, warm[:, 1], 1)[0]) if len(warm) > 2 else 0.0
    rss = tuple(float(np.median(tenth[:, 1])) for tenth in tenths)
    return Growth(rss, tuple(int(tenth[:, 2].max()) for tenth in tenths), slope)


def watch(command: Sequence[str], directory: Path, log: Path) -> list[Process]:
    """Run a command to its end.

    Args:
        command: words.
        directory: to run it in.
        log: its output.

    Returns:
        The Python processes that it was and started, in order of their start.

    Raises:
        SystemExit: it failed.
    """
    found: dict[int, Process] = {}
    begun = time.monotonic()
    with open(log, "w", encoding="utf-8") as out:
        child = subprocess.Popen(command, cwd=directory, stdout=out, stderr=subprocess.STDOUT)
        while child.poll() is None:
            for pid, parent in _tree(child.pid):
                _look(found, pid, parent, time.monotonic() - begun)
            time.sleep(EVERY_S)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}: see {log}")
    return [process for process in found.values() if process.name]


def _tree(pid: int) -> list[tuple[int, int]]:
    """(process, its parent) of all that a process has started."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            started = children.read_text().split()
        except OSError:
            continue
        for one in map(int, started):
            found += [(one, pid), *_tree(one)]
    return found


def _look(found: dict[int, Process], pid: int, parent: int, now: float) -> None:
    proc = Path(f"/proc/{pid}")
    try:
        words = (proc / "cmdline").read_bytes().decode(errors="replace").split("\0")
        pages = int((proc / "statm").read_text().split()[1])
        files = len(os.listdir(proc / "fd"))
        stat = (proc / "stat").read_text().rpartition(")")[2].split()
    except (OSError, IndexError):
        return
    if not words[0]:
        return  # it has ended
    theirs = found[parent].name if parent in found else ""
    name = next((w.rpartition(".")[2] for w in words if w.startswith("espnet_dice.stages.")), "")
    name = name or theirs
    if pid not in found or found[pid].name != name:  # it has become another program
        found[pid] = Process(name, main=name != theirs)
    cpu = (int(stat[11]) + int(stat[12])) / TICKS
    found[pid].seen.append((now, pages * PAGE_MB, files, cpu))
