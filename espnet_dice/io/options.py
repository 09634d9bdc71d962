"""Command-line conventions that every stage shares: defaults in the help, true/false as values."""

import argparse
import os
from collections.abc import Sequence
from typing import Any, TypeVar

from espnet_dice.io.progress import LOG, QUIET, VERBOSE

T = TypeVar("T")


def parser(description: str) -> argparse.ArgumentParser:
    """An argument parser that prints defaults, as ESPnet's tools do.

    Every command has ``--quiet`` and ``--verbose``, which the processes that it starts inherit.
    """
    made = argparse.ArgumentParser(
        description=description.split("\n\n")[0],
        epilog="ESPNET_DICE_DEBUG=1 or --debug shows tracebacks.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    how_much = made.add_mutually_exclusive_group()
    how_much.add_argument("--quiet", action=_Log, const=QUIET, help="warnings and results only")
    how_much.add_argument("--verbose", action=_Log, const=VERBOSE, help="details, too")
    return made


class _Log(argparse.Action):
    """Says in the environment how much is logged: what a command starts says as much."""

    def __init__(self, option_strings: list[str], dest: str, const: str, help: str):
        super().__init__(option_strings, argparse.SUPPRESS, 0, const, argparse.SUPPRESS, help=help)

    def __call__(self, *_: Any) -> None:
        os.environ[LOG] = self.const


def true_false(text: str) -> bool:
    """``true`` or ``false`` (also yes/no, 1/0) as a bool; an ``argparse`` type."""
    if text.lower() in ("true", "yes", "1", "t", "y"):
        return True
    if text.lower() in ("false", "no", "0", "f", "n"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")


def one_or_all(values: Sequence[T] | None) -> T | tuple[T, ...] | None:
    """The value of an option that may be given several: the only one by itself, else all."""
    if values is None:
        return None
    return values[0] if len(values) == 1 else tuple(values)


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0))


def add_trust_pickle(parser: argparse.ArgumentParser, what: str) -> None:
    """``--trust_pickle``, for whatever reads files that somebody else may have made.

    Args:
        what: is done with them, for the help.
    """
    parser.add_argument(
        "--trust_pickle",
        type=true_false,
        default=False,
        metavar="BOOL",
        help=f"{what}, which can run any code",
    )


def add_conversions(parser: argparse.ArgumentParser) -> None:
    """``--resample`` and ``--channel``, for whatever reads audio."""
    parser.add_argument(
        "--resample",
        type=true_false,
        default=False,
        metavar="BOOL",
        help="convert other sampling rates",
    )
    parser.add_argument("--channel", type=int, help="channel to take of several, from 0")
