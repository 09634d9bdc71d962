"""Progress for people: a bar in a terminal, a line now and then in a log file."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

LOG_EVERY_S = 15.0


def setup_logging(verbose: bool = False, quiet: bool = False) -> None:
    """Log to stderr with timestamps; ``quiet`` leaves warnings only."""
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S", force=True
    )


def track(items: Iterable, total: int, what: str, unit: str = "utt") -> Iterator:
    """Yield ``items`` and show how many are done, the rate and the time left.

    Args:
        items: what to go through.
        total: how many there are.
        what: the label shown.
        unit: name of one item.
    """
    if sys.stderr.isatty():
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
