"""Processes that make shards, with progress by the utterance."""

import contextlib
import multiprocessing.connection
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from ctypes import Array, c_int64
from multiprocessing.context import ForkContext, ForkProcess, SpawnContext, SpawnProcess
from multiprocessing.sharedctypes import RawArray
from pathlib import Path

from espnet_dice.io.errors import DiceError
from espnet_dice.io.processes import die_with
from espnet_dice.io.progress import setup_logging, track
from espnet_dice.work.shards import MAX_SHARDS, Shard
from espnet_dice.work.workers import redirect

POLL_S = 0.2
STOP = MAX_SHARDS
"""The slot behind those of the shards: set, it asks the processes to stop."""
_done: Array | None = None


class _Killed:
    """A process that leaves SIGTERM to its parent: the executor ends by it what is left where one
    of its processes was killed, and would wait for ever, and hold its lock."""

    def terminate(self) -> None:
        self.kill()


class _Spawned(_Killed, SpawnProcess):
    pass


class _Forked(_Killed, ForkProcess):
    pass


class _Spawn(SpawnContext):
    Process = _Spawned


class _Fork(ForkContext):
    Process = _Forked


class Pool:
    """Up to ``nj`` processes, started when first needed and used for all sets of a command.

    Args:
        nj: how many. One that is spawned is not needed: the work is done here.
        imports: None: they are spawned, because a parent with threads (BLAS, a progress bar) may
            fork a held lock. Otherwise they are forked once this was called: what it imports is
            paid for once.
        log: file for what they print; None: it goes where the parent's output goes.
    """

    def __init__(
        self, nj: int, imports: Callable[[], object] | None = None, log: Path | None = None
    ):
        self.nj = max(1, nj)
        self._imports = imports
        self._log = log
        self._executor: ProcessPoolExecutor | None = None
        self._slots: Array | None = None
        self._processes: set[multiprocessing.Process] = set()

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes after the utterance they are at; the next run goes on from there."""
        if self._executor is None:
            return
        self._slots[STOP] = 1
        self._executor.shutdown(wait=False, cancel_futures=True)
        # one that is killed from here on may hold the lock of the queue that the others read
        while alive := [process for process in self._processes if process.is_alive()]:
            multiprocessing.connection.wait([process.sentinel for process in alive], POLL_S)
            if any(process.exitcode for process in self._processes):
                for process in alive:
                    process.kill()
        self._executor = None
        self._processes.clear()

    def make(self, shards: list[Shard], what: str) -> list[str]:
        """Make the shards and return their problems, in order."""
        problems: dict[int, list[str]] = {}
        total = sum(len(shard.utterances) for shard in shards)
        if total:
            one = self._imports is None and (self.nj == 1 or len(shards) == 1)
            steps = self._here(shards, problems) if one else self._there(shards, problems)
            for _ in track(steps, total, what):
                pass
        return [line for _, lines in sorted(problems.items()) for line in lines]

    def _here(self, shards: list[Shard], problems: dict[int, list[str]]) -> Iterator[int]:
        for shard in shards:
            problems[shard.number] = shard.make(lambda n: None)
            yield from range(len(shard.utterances))

    def _there(self, shards: list[Shard], problems: dict[int, list[str]]) -> Iterator[int]:
        self._start()
        number = max(shard.number for shard in shards)
        self._slots[:] = [0] * (MAX_SHARDS + 1)
        others = set(multiprocessing.active_children()) - self._processes
        with _killed_told(), _later():
            # here the processes start; as yet they could not deal with a signal
            futures = {self._executor.submit(_make, shard): shard.number for shard in shards}
            self._processes |= set(multiprocessing.active_children()) - others
        pending, seen = set(futures), 0
        while pending:
            finished, pending = wait(pending, POLL_S, FIRST_COMPLETED)
            for future in finished:
                with _killed_told():
                    problems[futures[future]] = future.result()
            now = sum(self._slots[:number])
            yield from range(seen, now)
            seen = now

    def _start(self) -> None:
        if self._executor is not None:
            return
        if self._imports is not None:
            self._imports()
        context = _Spawn() if self._imports is None else _Fork()
        self._slots = RawArray(c_int64, MAX_SHARDS + 1)
        arguments = (self._slots, os.getpid(), self._log)
        self._executor = ProcessPoolExecutor(self.nj, context, _begin, arguments)


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def _later() -> Iterator[None]:
    """Hold signals back; processes that are started meanwhile hold them back, too."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _killed_told() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as err:
        raise DiceError(
            "a process was killed (out of memory?): run again with a lower --nj"
        ) from err


class _Stopped(Exception):
    """Drops what is being written."""


def _begin(slots: Array, parent: int, log: Path | None) -> None:
    global _done
    if log is not None:
        redirect(log)
        setup_logging()
    _done = slots
    # the parent deals with these; a handler, unlike SIG_IGN, does not reach the commands of pipes
    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    # a parent killed outright must not leave workers behind
    die_with(parent, signal.SIGKILL)


def _make(shard: Shard) -> list[str]:
    def count(n: int) -> None:
        if _done[STOP]:
            raise _Stopped
        _done[shard.number - 1] = n

    return shard.make(count)
