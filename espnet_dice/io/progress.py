"""Progress for people: a bar in a terminal, a line now and then in a log file."""

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

LOG_EVERY_S = 15.0
LOG, QUIET, VERBOSE = "ESPNET_DICE_LOG", "quiet", "verbose"
"""The environment variable that ``--quiet`` and ``--verbose`` set, and its values."""

CHATTY = ("matplotlib", "numba", "PIL", "asyncio", "filelock")
"""Libraries that tell details as the root logger's level is; torch has a level of its own."""


def setup_logging() -> None:
    """Log to stderr with timestamps; ``--quiet`` leaves warnings, ``--verbose`` adds details."""
    levels = {QUIET: logging.WARNING, VERBOSE: logging.DEBUG}
    level = levels.get(os.environ.get(LOG, ""), logging.INFO)
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S", force=True
    )
    if level == logging.DEBUG:
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.INFO)


def format_duration(seconds: float) -> str:
    """A duration for people: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60} min {s % 60:02d} s"
    return f"{s // 3600} h {s % 3600 // 60:02d} min"


def track(items: Iterable, total: int, what: str, unit: str = "utt") -> Iterator:
    """Yield ``items`` and show how many are done, the rate and the time left.

    Args:
        items: what to go through.
        total: how many there are.
        what: the label shown.
        unit: name of one item.
    """
    if sys.stderr.isatty() and os.environ.get(LOG) != QUIET:
        yield from tqdm(items, total=total, desc=what, unit=unit, dynamic_ncols=True)
        return
    start = last = time.monotonic()
    for n, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= LOG_EVERY_S and n < total:
            last = now
            rate = n / (now - start)
            left = (total - n) / rate
            logging.info("%s: %d/%d %s, %.1f/s, %.0f s left", what, n, total, unit, rate, left)
    logging.info("%s: %d %s in %.1f s", what, total, unit, time.monotonic() - start)
