"""Children that are forked once a costly import is done, and watched until they end."""

import contextlib
import heapq
import logging
import multiprocessing as mp
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from espnet_dice.io.errors import DiceError, describe
from espnet_dice.io.processes import die_with, raising_when_ended
from espnet_dice.io.progress import LOG_EVERY_S, format_duration

TAIL_LINES = 15
TAIL_BYTES = 4096
PROGRESS = re.compile(rb"\(progress:\d+\) INFO: (.*)\n")
"""What :func:`espnet_dice.io.progress.track` tells in the log of a child."""


@dataclass(frozen=True)
class Work:
    """One child's work: ``run()`` with its output going to ``log``."""

    name: str
    run: Callable[[], None]
    log: Path


def tail(path: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log, indented for a message."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return "  (no log)"
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])


def run_forked(
    works: list[Work],
    nj: int,
    watch: Callable[[list[str]], None] | None = None,
    poll_s: float = 0.5,
) -> None:
    """Run each work in a forked child, at most ``nj`` at a time, in order.

    Args:
        works: what to run.
        nj: children at a time.
        watch: called about twice a second with the names that are running; None: what is done
            and what runs are told in the log.
        poll_s: seconds between two looks at the children.

    Raises:
        DiceError: a child failed; the others are ended first. The message is the child's own
            where it is one for the user, else the last lines of its log.
    """
    context = mp.get_context("fork")
    watch = watch or _Teller(works)
    waiting = list(works)[::-1]
    running: list[tuple[Work, mp.Process, Connection]] = []
    sys.stdout.flush()
    sys.stderr.flush()
    with raising_when_ended():
        try:
            while waiting or running:
                while waiting and len(running) < nj:
                    work = waiting.pop()
                    receiver, sender = context.Pipe(duplex=False)
                    child = context.Process(
                        target=_child, args=(work, sender, os.getpid()), name=work.name
                    )
                    running.append((work, child, receiver))
                    child.start()
                    sender.close()
                watch([work.name for work, _, _ in running])
                mp.connection.wait([child.sentinel for _, child, _ in running], poll_s)
                for entry in [e for e in running if e[1].exitcode is not None]:
                    running.remove(entry)
                    _check(*entry)
            watch([])
        finally:
            _end([child for _, child, _ in running])


class _Teller:
    """Says what is done and what runs, when something ended and each few seconds."""

    def __init__(self, works: list[Work]):
        self.total = len(works)
        self.logs = {
            work.name: (work.log, work.log.stat().st_size if work.log.exists() else 0)
            for work in works
        }
        self.begun: dict[str, float] = {}
        self.before: list[str] = []
        self.took: list[float] = []
        self.last = time.monotonic()

    def __call__(self, running: list[str]) -> None:
        """Take the names that are running."""
        now = time.monotonic()
        for name in running:
            self.begun.setdefault(name, now)
        ended = [name for name in self.before if name not in running]
        self.took += [now - self.begun[name] for name in ended]
        self.before = running
        if not running or (not ended and now - self.last < LOG_EVERY_S):
            return
        self.last = now
        told = f"{len(self.took)} of {self.total} done"
        if self.took:
            told += f", {format_duration(self._left(now))} left"
        logging.info("%s; at %s", told, ", ".join(map(self._doing, running)))

    def _left(self, now: float) -> float:
        """Seconds until the last one ends, if each takes the mean of those that have ended."""
        each = sum(self.took) / len(self.took)
        ends = [max(0.0, each - (now - self.begun[name])) for name in self.before]
        heapq.heapify(ends)
        for _ in range(self.total - len(self.begun)):
            heapq.heapreplace(ends, ends[0] + each)
        return max(ends)

    def _doing(self, name: str) -> str:
        """A name, and how far its own log says that it is."""
        log, start = self.logs[name]
        told: list[bytes] = []
        with contextlib.suppress(FileNotFoundError), open(log, "rb") as f:
            f.seek(max(start, f.seek(0, os.SEEK_END) - TAIL_BYTES))
            told = PROGRESS.findall(f.read())
        return f"{name} ({told[-1].decode()})" if told else name


def _end(children: list[mp.Process], patience_s: float = 5.0) -> None:
    children = [child for child in children if child.pid]  # a signal came before the last start
    for child in children:
        child.terminate()
    deadline = time.monotonic() + patience_s
    for child in children:
        child.join(max(0.0, deadline - time.monotonic()))
        if child.exitcode is None:
            child.kill()
            child.join()


def _check(work: Work, child: mp.Process, receiver: Connection) -> None:
    if child.exitcode == 0:
        return
    message = ""
    with contextlib.suppress(EOFError):
        message = receiver.recv() if receiver.poll() else ""
    if message:
        raise DiceError(f"{work.name}: {message} (log: {work.log})")
    code = child.exitcode or 0
    how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    if code == -signal.SIGKILL:
        how += " (out of memory?)"
    raise DiceError(
        f"{work.name} failed ({how}). The end of {work.log}:\n{tail(work.log)}\n"
        "The same command goes on from the last whole state once the cause is fixed."
    )


def redirect(log: Path) -> None:
    """Append what this process prints from now on to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    # The parent's streams may lead elsewhere than to 1 and 2 (pytest, notebooks).
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)


def _child(work: Work, sender: Connection, parent: int) -> None:
    """Redirect the output, run, and report an error that is one for the user."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with(parent)
    redirect(work.log)
    # ESPnet's basicConfig does nothing where handlers are set already: this is its format.
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s (%(module)s:%(lineno)d) %(levelname)s: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    code = 0
    try:
        work.run()
    except DiceError as err:
        sender.send(str(err))
        code = 2
    except Exception as err:
        traceback.print_exc()
        known = describe(err)
        sender.send(known or "")
        code = 2 if known else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    # Skip exit handlers that belong to the parent (progress bars, temporary directories).
    os._exit(code)
