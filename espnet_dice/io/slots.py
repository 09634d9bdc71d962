"""Cores that several commands share: each process that works on one holds a slot.

``ESPNET_DICE_SLOTS`` names a directory of files, one a slot, which ``./run.sh`` makes for recipes
that run side by side; without it everybody starts what they like. The nicer one comes later. A slot
is a lock that a process inherits, so that it is free when the process has ended, however it did.
"""

import fcntl
import os
import time
from pathlib import Path

SETTING = "ESPNET_DICE_SLOTS"
WAITED_S = 1.5
"""Who waits says so each time it looks, twice a second; for so long it is believed."""


def take() -> int | None:
    """A file descriptor that holds a slot, or None if none is free.

    Nor is one while a process with a smaller nice value waits. To be closed when a child was forked
    that inherits it, and so holds the slot until it ends. Without slots to share this is a
    descriptor of ``/dev/null``.
    """
    shared = os.environ.get(SETTING)
    if not shared:
        return os.open(os.devnull, os.O_RDONLY)
    waits = Path(f"{shared}.waits")
    mine = f"{os.nice(0) + 20:02d}"
    before_me = [path for path in waits.glob("*") if path.name < mine]
    if any(time.time() - path.stat().st_mtime < WAITED_S for path in before_me):
        return None
    fd = _free(Path(shared))
    if fd is None:
        waits.mkdir(exist_ok=True)
        (waits / mine).touch()
    return fd


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
