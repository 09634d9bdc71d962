"""What is imported once for all commands of a recipe, by the process that forks them.

A command that is about to import ESPnet asks for it here first. Below the driver of a recipe (see
:mod:`espnet_dice.stages.driver`) it ends with :data:`AGAIN`; the driver imports ESPnet itself, and
forks the command again, which then finds it. Everywhere else, asking does nothing.
"""

import os
import sys

AGAIN = 75
"""Exit code of a command that is to be forked again."""
ESPNET = "espnet2.tasks.abs_task"
_command = 0


def is_there() -> bool:
    """Whether ESPnet is imported in this process."""
    return ESPNET in sys.modules


def begin() -> None:
    """Let the command that this process runs ask; called by the driver, in the fork."""
    global _command
    _command = os.getpid()


def ask() -> None:
    """Ask for ESPnet, which costs 20 s of CPU time to import: before anything is done or told.

    Raises:
        SystemExit: with :data:`AGAIN`, where a driver forks this command again.
    """
    if not is_there() and _command == os.getpid():
        raise SystemExit(AGAIN)
