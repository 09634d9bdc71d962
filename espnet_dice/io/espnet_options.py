"""Paths in the options of ESPnet, which takes some of them apart."""

import json
from pathlib import Path

from espnet_dice.io.errors import ConfigError


def check(path: str | Path) -> None:
    """Refuse a path that cannot stand in ``--train_data_path_and_name_and_type``.

    Raises:
        ConfigError: it has a comma, at which ESPnet splits that option; there is no quoting.
    """
    if "," in str(path):
        raise ConfigError(
            f"{path}: ESPnet's options cannot hold a path with a comma: choose another directory "
            "(of a recipe: --dumpdir, --expdir; relative ones start below the recipe and are good)"
        )


def triple(path: str | Path, name: str, kind: str) -> str:
    """ESPnet's "path,name,type" of an input.

    Raises:
        ConfigError: see :func:`check`.
    """
    check(path)
    return f"{path},{name},{kind}"


def value(path: str | Path) -> str:
    """A path as a value of ``--normalize_conf stats_file=…``, which ESPnet reads as YAML.

    Unquoted, a path ends there at `` #``, and one with ``: `` in it is a mapping.
    """
    return json.dumps(str(path), ensure_ascii=False)
