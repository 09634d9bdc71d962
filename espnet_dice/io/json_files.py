"""JSON files of a recipe: read with a message that names the file, written whole.

Also the settings of a model that came from elsewhere.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from espnet_dice.io.atomic import write_text
from espnet_dice.io.errors import ConfigError, DataError, describe_os_error
from espnet_dice.io.sound import beginnings


def read_json(path: Path) -> Any:
    """The value in a JSON file, or None where there is no file.

    Raises:
        DataError: it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as err:
        raise DataError(f"{path}: not JSON ({err}); remove it and run its stage again") from err


def is_there(path: Path) -> bool:
    """Whether a file of a model is there.

    Raises:
        ConfigError: a link to nothing is there, or it cannot be told.
    """
    try:
        if path.exists():
            return True
    except OSError as err:
        raise ConfigError(describe_os_error(err)) from err
    if path.is_symlink():
        raise ConfigError(f"{path}: a link to nothing: copy the model with cp -L")
    return False


def read_settings(path: Path) -> Any:
    """The value in somebody's JSON or YAML, in any Unicode encoding; None where there is no file.

    Raises:
        ConfigError: it cannot be read.
    """
    if not is_there(path):
        return None
    try:
        data = path.read_bytes()
        return json.loads(data) if path.suffix == ".json" else yaml.safe_load(data)
    except OSError as err:
        raise ConfigError(describe_os_error(err)) from err
    except (ValueError, yaml.YAMLError, RecursionError) as err:
        said = " ".join(str(err).split()) + beginnings.seems(data)
        raise ConfigError(f"{path}: cannot be read ({said}); copy it again") from err


def write_json(path: Path, value: Any) -> None:
    """Write a value, indented, letters of all scripts as they are."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
