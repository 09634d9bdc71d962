"""Where the recipes' stages, configs and corpus preparation are."""

from pathlib import Path

from espnet_dice.io.errors import ConfigError

PACKAGE = Path(__file__).resolve().parents[1]
TEMPLATE = "egs2/TEMPLATE"


def root() -> Path:
    """The directory of ``egs2/TEMPLATE``, ``conf`` and ``local``: in a wheel, or of a checkout.

    Raises:
        ConfigError: they are in neither place.
    """
    for place in (PACKAGE / "recipes", PACKAGE.parent):
        if (place / TEMPLATE / "common.sh").is_file():
            return place
    raise ConfigError(
        f"{PACKAGE}: without the recipes' stages: install espnet-dice again, from a wheel or a "
        "whole checkout"
    )
