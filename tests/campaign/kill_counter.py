"""Kills at a change to a file, by the process that is about to make it."""

import mmap
import os
import struct
import sys
from dataclasses import dataclass

EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class Kill:
    """When and whom.

    Attributes:
        number: of the signal.
        target: ``group``: all processes, as Ctrl-C does; ``first``: the shell or command alone;
            ``other``: a process that it has started, or the command itself.
        at: share of the stage, 0 to 1.
        by: ``cpu``: of the CPU time; ``file``: of the changes to files, just before one.
    """

    number: int
    target: str
    at: float
    by: str


class Counter:
    """Changes to files, counted by the processes that make them; at one of them they are killed.

    Args:
        kill: whom; None only counts.
        at: number of the change.
    """

    def __init__(self, kill: Kill | None = None, at: int = 0):
        self.shared = mmap.mmap(-1, 16)
        self.kill, self.at = kill, at
        self.first = 0

    @property
    def count(self) -> int:
        """Changes so far."""
        return struct.unpack_from("q", self.shared)[0]

    @property
    def killed(self) -> bool:
        """The change was reached."""
        return bool(struct.unpack_from("q", self.shared, 8)[0])

    def install(self) -> None:
        """Count in this process and its forks; it is the first of them."""
        self.first = os.getpid()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple) -> None:
        if event not in EVENTS and not (event == "open" and args[2] & WRITES):
            return
        if event == "open" and str(args[0]).startswith(("/dev", "/proc")):
            return
        count = self.count + 1
        struct.pack_into("q", self.shared, 0, count)
        if self.kill is not None and count == self.at:
            struct.pack_into("q", self.shared, 8, 1)
            if self.kill.target == "group":
                os.killpg(self.first, self.kill.number)
            else:
                os.kill(
                    self.first if self.kill.target == "first" else os.getpid(), self.kill.number
                )
