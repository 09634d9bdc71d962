"""The systems of a command line."""

import re
from collections.abc import Sequence

from espnet_dice.io.errors import ConfigError


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
