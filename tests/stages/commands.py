"""Commands for tests of the driver: what they are told, they do."""

import os
import signal
import sys
import time

from espnet_dice.io.errors import ConfigError
from espnet_dice.work import preload


def main() -> int | None:
    """Do what the first word says: a command."""
    what, *more = sys.argv[1:]
    if what == "say":
        print(*more, os.getppid())
    if what == "need":
        preload.ask()
        print("found", preload.is_there())
    if what == "refuse":
        raise ConfigError("conf/a.yaml: wrong")
    if what == "break":
        raise ValueError("a fault")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "sleep":
        print("asleep", flush=True)
        time.sleep(30)
    return 3 if what == "three" else None
