"""The systems of a command line."""

import re
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from espnet_dice.io import options
from espnet_dice.io.errors import ConfigError


def add_options(parser: ArgumentParser) -> None:
    """``--system``, ``--dump`` and ``--trust_pickle``: the models measured, and on what."""
    parser.add_argument(
        "--system",
        action="append",
        required=True,
        metavar="NAME=SOURCE",
        help="checkpoint or experiment; 'mfcc' or 'fbank': no model; repeatable",
    )
    parser.add_argument("--dump", required=True, type=Path, help="dump/raw")
    options.add_trust_pickle(parser, "read checkpoints that hold more than tensors")


def parse_systems(entries: Sequence[str]) -> dict[str, str]:
    """Read ``NAME=SOURCE`` entries, in order.

    Raises:
        ConfigError: an entry has another form, or a name is given twice.
    """
    systems: dict[str, str] = {}
    for entry in entries:
        name, equals, source = entry.partition("=")
        if not (equals and source and re.fullmatch(r"[\w+-][\w.+-]*", name)):
            raise ConfigError(f"--system {entry}: write NAME=SOURCE")
        if name in systems:
            raise ConfigError(f"--system {name}: given twice")
        systems[name] = source
    return systems
