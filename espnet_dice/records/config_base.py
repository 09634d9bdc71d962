"""The layers of a config: the file itself, the file that it names as its base, that one's, …

    base: train_asr_mini_student.yaml   # from the directory of the file that says so
    model_conf:
        kd_alpha: 0.7

Mappings are merged key by key; everything else, lists too, is replaced by what stands above it. So
a key can be changed and not taken away, but for one kind: ``X_conf`` has the options of the choice
``X``, and a file that names another ``X`` (scheduler, optim, encoder, …) begins its ``X_conf``
anew. Only ``base`` at the top of a file is meant: a key of that name inside a mapping belongs to
ESPnet.
"""

import os
import re
from pathlib import Path
from typing import Any

import yaml

from espnet_dice.io.errors import ConfigError

KEY = "base"
_SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ABSENT = object()
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def read_layers(path: str | Path) -> list[tuple[Path, dict[str, Any]]]:
    """Files with their values, the named one first, the lowest base last; none has a ``base``.

    Raises:
        ConfigError: a file is missing, not YAML or not a mapping; a base is not a file name, or is
            built on the file that names it.
    """
    layers: list[tuple[Path, dict[str, Any]]] = []
    seen: set[str] = set()
    file = Path(path)
    while True:
        above = "".join(f", base of {f}" for f, _ in reversed(layers))
        values = _read(file, above)
        seen.add(os.path.realpath(file))
        layers.append((file, values))
        if KEY not in values:
            return layers
        base = values.pop(KEY)
        if not (base and isinstance(base, str)):
            raise ConfigError(f"{file}{above}: base: must be the name of one file, not {base!r}")
        # a link such as conf/train_asr.yaml -> tuning/x.yaml: its base lies beside tuning/x.yaml
        found = Path(os.path.realpath(file) if file.is_symlink() else file).parent / base
        if os.path.realpath(found) in seen:
            raise ConfigError(
                f"{file}{above}: base: {found} is itself built on {file}: "
                "take 'base' out of one of them"
            )
        file = found


def read_trained(path: str | Path) -> dict[str, Any]:
    """The ``config.yaml`` that ESPnet wrote beside a model: every option's value, no bases.

    Raises:
        ConfigError: it is missing, damaged, or no configuration.
    """
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), _SAFE)
    except (OSError, yaml.YAMLError, UnicodeDecodeError, RecursionError) as err:
        said = " ".join(str(err).split())
        raise ConfigError(
            f"{path}: cannot be read ({said}); copy it again from where the model was trained"
        ) from err
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: no configuration of a model; copy it again from its training")
    return values


def merge(base: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """``above`` laid over ``base``; neither is changed.

    The options of a choice go with it: where ``above`` names another ``X``, ``X_conf`` is its own.
    """
    other = {f"{key}_conf" for key in above if key in base and above[key] != base[key]}
    base = {key: value for key, value in base.items() if key not in other}
    merged = dict(base)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = merge(base[key], value) if both else value
    return merged


def where(path: str | Path, *keys: str) -> str:
    """The file for a message about a key: the user's own, and the base if the key is said there."""
    for n, (file, values) in enumerate(read_layers(path)):
        value: Any = values
        for key in keys:
            value = value.get(key, _ABSENT) if isinstance(value, dict) else _ABSENT
        if value is not _ABSENT:
            return f"{path} (base {file})" if n else str(path)
    return str(path)  # said beside the config


class _Plain(yaml.SafeDumper):
    """Writes what two keys share twice, in place of YAML's anchors: people read this file."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def to_yaml(config: dict[str, Any], path: str | Path) -> str:
    """A merged config as YAML that reads back to the same mapping, headed by where it comes from.

    Args:
        config: what ``read_config(path)`` returns.
        path: the user's file.
    """
    text = yaml.dump(config, Dumper=_Plain, sort_keys=False, allow_unicode=True, indent=4)
    return f"# {path} with its bases merged in: change those, not this\n{text}"


class _Trap(ValueError):
    """What YAML takes without a word, and nobody means."""


class _Strict(yaml.SafeLoader):
    """Safe, and refuses keys that are there twice, and numbers that YAML 1.1 takes for text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in lines:
                    said = f"{line}: {key.value!r} is on line {lines[key.value]} too; keep one"
                    raise _Trap(said)
                lines[key.value] = line
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        if (
            not node.style
            and node.tag == "tag:yaml.org,2002:str"
            and _EXPONENT.fullmatch(node.value)
        ):
            digits, sign, power = re.split("([eE])", node.value)
            better = f"{float(digits)}{sign}{power if power[0] in '+-' else '+' + power}"
            line = node.start_mark.line + 1
            raise _Trap(f"{line}: {node.value} is text to YAML; write {better}")
        return super().construct_scalar(node)


def _read(path: Path, above: str) -> dict[str, Any]:
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), _Strict)
    except FileNotFoundError:
        hint = "; a base is looked for beside the file that names it" if above else ""
        raise ConfigError(f"{path}{above}: no such config file{hint}") from None
    except OSError as err:
        raise ConfigError(f"{path}{above}: {err.strerror}; name a YAML file") from None
    except _Trap as err:
        raise ConfigError(f"{path}{above}:{err}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        said = " ".join(str(err).split())
        raise ConfigError(f"{path}{above}: not YAML: {said}; write UTF-8, no tabs") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path}{above}: must hold 'key: value' lines")
    return value
