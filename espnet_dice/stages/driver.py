"""Run the commands of a recipe's stages in forks of one process, which imports ESPnet once.

    coproc driver { exec python -m espnet_dice.stages.driver; }

A recipe's script writes a command to its standard input, a NUL behind each part: how many words,
the file descriptor that becomes the command's standard output, the words. It reads the exit code, a
line, from its standard output. Everything ends with the input.
"""

import gc
import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import BinaryIO

from espnet_dice.io import options
from espnet_dice.io.errors import cli
from espnet_dice.io.processes import TIED, die_with, without_finalization
from espnet_dice.io.progress import setup_logging
from espnet_dice.work import preload

COMMANDS = {"report": "espnet_dice.report.main"}
"""Modules of commands that are no stage."""


def read_command(stream: BinaryIO) -> tuple[int, list[str]] | None:
    """File descriptor for the output, and words, of the next command; None at the input's end."""
    count = _part(stream)
    if not count:
        return None
    out = int(_part(stream))
    return out, [os.fsdecode(_part(stream)) for _ in range(int(count))]


def _part(stream: BinaryIO) -> bytes:
    found = bytearray()
    while (byte := stream.read(1)) not in (b"", b"\0"):
        found += byte
    return bytes(found)


def run(words: list[str], out: int, loads: bool = True) -> int:
    """Run a command in a fork, again if it asks for ESPnet; return its exit code.

    Args:
        words: name of the stage, or of one of :data:`COMMANDS`, then the arguments.
        out: file descriptor that becomes its standard output.
        loads: whether it may ask; else it imports what it needs itself.
    """
    code = _fork(words, out, loads)
    if loads and code == preload.AGAIN:
        try:
            _interruptible(_load)
        except KeyboardInterrupt:
            print("interrupted: run the same command again to go on", file=sys.stderr)
            return 130
        code = _fork(words, out, loads)
    return code


def _interruptible(act: Callable[[], None]) -> None:
    """Do something that Ctrl-C ends, though this process leaves that to its commands."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        act()
    finally:
        signal.signal(signal.SIGINT, before)


def _load() -> None:
    from espnet_dice.training import trainer

    trainer.task_class("dice")
    trainer.inference_class()
    trainer.warm_up()
    gc.freeze()  # a fork that looked for garbage would write to, and so copy, every page


def _fork(words: list[str], out: int, loads: bool) -> int:
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        with without_finalization():
            _become(words, out, loads, parent)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return 128 - code if code < 0 else code


def _become(words: list[str], out: int, loads: bool, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    die_with(parent)
    os.environ.pop(TIED, None)  # done
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    sys.argv = [words[0], *words[1:]]
    if loads:
        preload.begin()
    cli(importlib.import_module(module(words[0])).main)


def module(name: str) -> str:
    """That of a command: a stage, or one of :data:`COMMANDS`."""
    return COMMANDS.get(name, f"espnet_dice.stages.{name}")


def main(argv: list[str] | None = None) -> None:
    """Run commands until the input ends: a command."""
    parser = options.parser(__doc__)
    parser.add_argument(
        "--espnet", type=options.true_false, default=True, metavar="BOOL",
        help="import it here, once; false where commands take GPUs: its import starts CUDA, which "
        "does not survive a fork",
    )  # fmt: skip
    loads = parser.parse_args(argv).espnet
    setup_logging()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the commands deal with these, and say so
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while (command := read_command(sys.stdin.buffer)) is not None:
        out, words = command
        print(run(words, out, loads), flush=True)


if __name__ == "__main__":
    cli(main)
