"""Cores that several commands share: each process that works on one holds a slot.

``ESPNET_DICE_SLOTS`` names a directory of files, one a slot, which ``./run.sh`` makes for recipes
that run side by side; without it everybody starts what they like. A slot is a lock that a process
inherits, so that it is free when the process has ended, however it did.
"""

import fcntl
import math
import os
import time
from pathlib import Path

SETTING = "ESPNET_DICE_SLOTS"
WAITED_S = 1.5
"""Who waits says so each time it looks, twice a second; for so long it is believed."""


def take() -> int | None:
    """A file descriptor that holds a slot, or None if none is free.

    A process with a nice value gets none while another without waits for one. To be closed when a
    child was forked that inherits it, and so holds the slot until it ends. Without slots to share
    this is a descriptor of ``/dev/null``.
    """
    shared = os.environ.get(SETTING)
    if not shared:
        return os.open(os.devnull, os.O_RDONLY)
    waits = Path(f"{shared}.waits")
    if os.nice(0) > 0:
        return None if _age(waits) < WAITED_S else _free(Path(shared))
    fd = _free(Path(shared))
    if fd is None:
        waits.touch()
    return fd


def _age(path: Path) -> float:
    """Seconds since a file was touched."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _free(shared: Path) -> int | None:
    for path in sorted(shared.iterdir()):
        fd = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
        else:
            return fd
    return None
