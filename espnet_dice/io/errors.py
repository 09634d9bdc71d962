"""Errors that a user can act on, and the wrapper that prints them.

Every message names the file, the line, utterance or key, and the way out.
"""

import errno
import os
import sys
from collections.abc import Callable

from espnet_dice.io.processes import Ended, end_with_recipe, raising_when_ended


class DiceError(Exception):
    """Something the user can fix; shown as one message without a traceback."""


class DataError(DiceError):
    """A data directory, audio file, archive or transcript is not usable."""


class ConfigError(DiceError):
    """An option or a config key is wrong."""


class StaleError(DiceError):
    """A cache or a result was made from something else than what is there now."""


class ProblemList(DataError):
    """Several problems found in one pass, reported together.

    Args:
        what: the thing that was checked, for the headline.
        problems: one line each.
        limit: how many to print; the rest is counted.
    """

    def __init__(self, what: str, problems: list[str], limit: int = 20):
        self.problems = list(problems)
        shown = "\n".join(f"  {p}" for p in self.problems[:limit])
        more = len(self.problems) - limit
        tail = f"\n  … and {more} more" if more > 0 else ""
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(f"{what}: {count}\n{shown}{tail}")


def describe_os_error(err: OSError) -> str:
    """One line for an operating-system error, naming the file and what to do."""
    name = err.filename or "(unnamed file)"
    if err.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left while writing {name}: free some disk and run the same command again"
    if err.errno == errno.EACCES and os.path.isfile(name) and not os.access(name, os.R_OK):
        return f"{name}: {err.strerror}; only others may read it: ask its owner, or chmod u+r"
    if err.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{name}: {err.strerror}; choose a directory that you may write to"
    if err.errno == errno.ENAMETOOLONG:
        return (
            f"{name}: {err.strerror}; a name has at most 255 bytes: shorten the name of the "
            "directory, set or config that it is made of"
        )
    if err.errno == errno.EISDIR:
        return f"{name}: a directory is where a file has to be; move it away, or give a file"
    if err.errno in (errno.EEXIST, errno.ENOTDIR):
        return f"{name}: a file is where a directory has to be; move it away, or choose another"
    if err.errno == errno.ENOMEM:
        return describe_memory(MemoryError(err.strerror))
    return f"{name}: {err.strerror}"


_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
_NO_SPACE = ("no space left on device", "disk quota exceeded", "file write failed")
"""How torch and other libraries say it, in errors of their own."""


def describe(err: BaseException) -> str | None:
    """One line for an error of the machine, memory or disk, and what to do; None for another."""
    if isinstance(err, OSError):
        return describe_os_error(err)
    for line in str(err).splitlines():
        if any(sign in line.lower() for sign in _NO_SPACE):
            return f"no space left ({line.strip()}): free some disk and run the same command again"
    return describe_memory(err)


def describe_memory(err: BaseException) -> str | None:
    """What to do where memory ran out; None for another error."""
    lines = str(err).splitlines() or [""]
    if not isinstance(err, MemoryError):
        lines = [line for line in lines if any(sign in line.lower() for sign in _NO_MEMORY)]
        if not lines:
            return None
    said = f" ({lines[0].strip()})" if lines[0] else ""
    return (
        f"out of memory{said}: give this process more, or run the same command with a lower --nj "
        "(processes at a time); a training takes less with a lower batch_bins in its config, "
        "k-means with a lower --sample_frames"
    )


def cli(main: Callable[[], int | None]) -> None:
    """Run a command's ``main`` and leave the process with a sensible exit code.

    0 is success, 2 an error that the user can fix (one message on stderr), 130 an interrupt, 143
    SIGTERM; anything else raises as it is. A command that a recipe started ends with the recipe.
    ``ESPNET_DICE_DEBUG=1`` or ``--debug`` shows tracebacks; the latter is taken off the arguments,
    so no parser needs it.
    """
    debug = "--debug" in sys.argv[1:]
    if debug:
        sys.argv.remove("--debug")
    end_with_recipe()
    if debug or os.environ.get("ESPNET_DICE_DEBUG"):
        sys.exit(main())
    try:
        with raising_when_ended():
            code = main()
    except DiceError as err:
        print(f"error: {err}", file=sys.stderr)
        code = 2
    except BrokenPipeError:
        raise
    except Exception as err:
        known = describe(err)
        if known is None:
            raise
        print(f"error: {known}", file=sys.stderr)
        code = 2
    except Ended as err:
        print(f"ended by {err}: run the same command again to go on", file=sys.stderr)
        code = 128 + err.number
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        code = 130
    sys.exit(code)
