"""JSON files of a recipe: read with a message that names the file, written whole."""

import json
from pathlib import Path
from typing import Any

from espnet_dice.io.atomic import write_text
from espnet_dice.io.errors import DataError


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


def write_json(path: Path, value: Any) -> None:
    """Write a value, indented, letters of all scripts as they are."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
