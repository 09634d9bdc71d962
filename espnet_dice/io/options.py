"""Command-line conventions that every stage shares: defaults in the help, true/false as values."""

import argparse
import os


def parser(description: str) -> argparse.ArgumentParser:
    """An argument parser that prints defaults, as ESPnet's tools do."""
    return argparse.ArgumentParser(
        description=description.split("\n\n")[0],
        epilog="ESPNET_DICE_DEBUG=1 or --debug shows tracebacks.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )


def true_false(text: str) -> bool:
    """``true`` or ``false`` (also yes/no, 1/0) as a bool; an ``argparse`` type."""
    if text.lower() in ("true", "yes", "1", "t", "y"):
        return True
    if text.lower() in ("false", "no", "0", "f", "n"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0))


def add_resample(parser: argparse.ArgumentParser) -> None:
    """``--resample``, for whatever reads audio."""
    parser.add_argument(
        "--resample",
        type=true_false,
        default=False,
        metavar="BOOL",
        help="convert other sampling rates",
    )
