"""Processes that end with the one that started them, and signals that end a command cleanly."""

import atexit
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

TIED = "ESPNET_DICE_TIED"
"""Set by a recipe: commands below it end with the process that started them."""
PATIENCE_S = 5.0
_PR_SET_PDEATHSIG = 1
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Ended(KeyboardInterrupt):
    """A signal asked this process to end; whatever cleans up after Ctrl-C does so after it.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def raising_when_ended() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise :class:`Ended`, unless somebody else deals with them.

    Without effect outside the main thread, which is the only one that gets signals.
    """
    main = threading.current_thread() is threading.main_thread()
    ours = [n for n in _ENDING if main and signal.getsignal(n) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _raise)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _raise(number: int, frame: Any) -> None:
    raise Ended(number)


@contextlib.contextmanager
def without_finalization() -> Iterator[None]:
    """End this process with the block: exit handlers run, Python is not taken apart.

    torch.distributed on gloo needs it. Its threads live on after ``destroy_process_group`` where a
    model was wrapped for them, and one that lets go of a tensor while Python is being taken apart
    aborts the process (pytorch issue 190489): in a loop of two-process trainings, one in four.
    """
    code: int | str | None = 0
    try:
        yield
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code or 0)


def die_with(parent: int, number: int = signal.SIGTERM) -> None:
    """Ask Linux to send this process a signal when its parent dies, even by SIGKILL.

    Args:
        parent: its process id, read before this process was started: it may be dead by now.
        number: of the signal.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))
    if os.getppid() != parent:
        os._exit(1)


def end_with_recipe() -> None:
    """Tie a command that a recipe started to the process that started it."""
    if os.environ.get(TIED):
        die_with(os.getppid())


def run(command: Sequence[str], **how: Any) -> int:
    """Run a command that starts processes of its own, and end them all if this one is ended.

    Args:
        command: its words.
        how: for :class:`subprocess.Popen`; it has no standard input.

    Returns:
        Its exit code.
    """
    parent = os.getpid()
    # a group of its own: a signal reaches the processes that the command has started, too
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=lambda: die_with(parent),
        **how,
    )
    try:
        return process.wait()
    except BaseException:
        _end_group(process)
        raise


def _end_group(process: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE_S
    number = signal.SIGTERM
    with contextlib.suppress(ProcessLookupError):  # until nobody of the group is left
        while True:
            os.killpg(process.pid, number)
            process.poll()
            time.sleep(0.05)
            number = 0 if time.monotonic() < deadline else signal.SIGKILL
