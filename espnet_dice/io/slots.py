"""Cores that several commands share: each process that works on one holds a slot.

``ESPNET_DICE_SLOTS`` names a directory of files, one a slot, which ``./run.sh`` makes for recipes
that run side by side; without it everybody starts what they like. A slot is a lock that a process
inherits, so that it is free when the process has ended, however it did.
"""

import fcntl
import os
import time
from pathlib import Path

SETTING = "ESPNET_DICE_SLOTS"
POLITE_S = 1.5
"""For how long those with a nice value leave a free slot to others, who look twice a second."""


def take() -> int | None:
    """A file descriptor that holds a slot, or None if none is free.

    To be closed when a child was forked that inherits it, and so holds the slot until it ends.
    Without slots to share this is a descriptor of ``/dev/null``.
    """
    shared = os.environ.get(SETTING)
    if not shared:
        return os.open(os.devnull, os.O_RDONLY)
    fd = _free(Path(shared))
    if fd is not None and os.nice(0) > 0:
        os.close(fd)
        time.sleep(POLITE_S)
        fd = _free(Path(shared))
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
