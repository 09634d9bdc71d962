"""Runs a stage and kills it at a chosen moment: when it has used so much CPU, or touches a file.

A stage runs as its shell script, or (``Warm``) as the commands that the script would start, each in
a fork of a process that has imported ESPnet already: imports are most of a tiny stage's time, and
no moment to be killed at.
"""

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.campaign.kill_counter import Counter, Kill
from tests.campaign.tiny_recipes import ROOT

TICK_S = 0.02
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        code: its exit code, negative for a signal.
        killed: it was there to be killed.
        left: processes that it left behind.
        cpu_s: CPU seconds of all its processes.
        events: changes to files.
    """

    code: int
    killed: bool
    left: tuple[str, ...]
    cpu_s: float
    events: int


def members(session: int) -> dict[int, str]:
    """Process id → state of all processes of a session, but for zombies."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                state, _, _, sid = (
                    Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[:4]
                )
            except OSError:
                continue
            if int(sid) == session and state != "Z":
                found[int(entry)] = state
    return found


def cpu_seconds(pids: list[int]) -> float:
    """CPU seconds of processes and of the children that they have waited for."""
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def run_shell(line: list[str], cwd: Path, log: Path, kill: Kill | None, cpu_s: float) -> Outcome:
    """Run a stage's script, and kill it after a share of ``cpu_s``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as out:
        shell = subprocess.Popen(
            line,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            preexec_fn=_own_session,
            env={**os.environ, "PYTHONPATH": ""},
        )
    return _watch(shell.pid, shell.poll, kill, cpu_s)


def _own_session() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell lets its background jobs ignore it
    os.setsid()


def run_warm(
    words: list[str], cwd: Path, log: Path, kill: Kill | None, cpu_s: float, counter: Counter
) -> Outcome:
    """Run one command of a stage in a fork, and kill it.

    Args:
        words: what the script gives to Python.
        cwd: of the command.
        log: gets what it says.
        kill: None lets it run.
        cpu_s: CPU seconds that it takes, a share of which it gets.
        counter: installed in the fork.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = _be(words, cwd, log, counter)
        finally:
            os._exit(code)
    status: list[int] = []

    def poll() -> int | None:
        if not status:
            found, value = os.waitpid(pid, os.WNOHANG)
            if found:
                status.append(os.waitstatus_to_exitcode(value))
        return status[0] if status else None

    outcome = _watch(pid, poll, kill if kill and kill.by == "cpu" else None, cpu_s)
    killed = outcome.killed or counter.killed
    return Outcome(outcome.code, killed, outcome.left, outcome.cpu_s, counter.count)


def _be(words: list[str], cwd: Path, log: Path, counter: Counter) -> int:
    """The command, in its own session."""
    _own_session()
    os.chdir(cwd)
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(fd, stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout = open(1, "w", closefd=False)
    sys.stderr = open(2, "w", buffering=1, closefd=False)
    from espnet_dice.io.errors import cli

    module = importlib.import_module(words[1])
    sys.argv = [str(ROOT / words[1].replace(".", "/")) + ".py", *words[2:]]
    os.environ["ESPNET_DICE_TIED"] = "true"
    os.environ["PYTHONPATH"] = str(ROOT)
    counter.install()
    try:
        cli(module.main)
    except SystemExit as end:
        return end.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _watch(pid: int, poll: Callable[[], int | None], kill: Kill | None, cpu_s: float) -> Outcome:
    killed, used, limit = False, 0.0, float("inf")
    while (code := poll()) is None:
        time.sleep(TICK_S)
        there = members(pid)
        used = max(used, cpu_seconds(list(there)))
        if kill is not None and not killed and used >= kill.at * cpu_s and there:
            killed = _send(kill, pid, there)
        if killed and limit == float("inf"):
            limit = time.monotonic() + PATIENCE_S
        if time.monotonic() > limit and kill.target != "other":
            os.killpg(pid, signal.SIGKILL)
    return Outcome(code, killed, _left(pid), used, 0)


def _send(kill: Kill, first: int, there: dict[int, str]) -> bool:
    try:
        if kill.target == "group":
            os.killpg(first, kill.number)
        else:
            others = [pid for pid in there if pid != first]
            os.kill(others[-1] if kill.target == "other" and others else first, kill.number)
    except ProcessLookupError:
        return False
    return True


def _left(session: int) -> tuple[str, ...]:
    """What of a session still works when it should have ended; it is killed."""
    deadline = time.monotonic() + PATIENCE_S
    while there := members(session):
        if time.monotonic() > deadline:
            said = []
            for pid in there:
                try:
                    words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
                    said.append(words.decode(errors="replace").strip())
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    continue
            return tuple(said)
        time.sleep(TICK_S)
    return ()
