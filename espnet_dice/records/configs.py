"""A config: read with its bases, checked before anything is started, split into what matters.

ESPnet checks a config deep inside the training process, with a page of usage text or a traceback;
here one message names the file and the key.
"""

import difflib
import inspect
import re
import shlex
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from espnet_dice.io.errors import ConfigError
from espnet_dice.records.config_base import merge, read_layers, where

# Keys that change how fast or how verbosely a model is trained, never which model comes out.
FREE_KEYS = frozenset(
    "max_epoch num_workers log_interval log_level use_tensorboard use_matplotlib num_att_plot "
    "use_wandb wandb_project wandb_id wandb_entity wandb_name wandb_model_log_interval "
    "max_cache_size max_cache_fd ngpu dist_backend resume".split()
)
ESPNET_MAX_EPOCH = 40


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping, merged over the files that it names as ``base`` (see ``layers``).

    Raises:
        ConfigError: a file is missing, not YAML or not a mapping; a base is wrong.
    """
    return reduce(merge, (values for _, values in reversed(read_layers(path))))


def model_conf(path: str | Path, extra: str) -> dict[str, Any]:
    """``model_conf`` of a config; see :func:`conf_of`."""
    return conf_of(path, "model_conf", extra)


def conf_of(path: str | Path, name: str, extra: str) -> dict[str, Any]:
    """A mapping such as ``model_conf`` of a config, with what ``--NAME KEY=VALUE`` changes.

    Args:
        path: the config.
        name: of the mapping.
        extra: options that win over the config.

    Raises:
        ConfigError: it is not a mapping, or the config cannot be read.
    """
    conf = read_config(path).get(name) or {}
    if not isinstance(conf, dict):
        raise ConfigError(f"{where(path, name)}: {name}: must hold 'key: value' lines")
    given = [(option, values) for option, values in split_args(extra) if option == name]
    return with_options({name: conf}, given)[name]


def with_options(
    config: Mapping[str, Any], extra: Iterable[tuple[str, Sequence[str]]]
) -> dict[str, Any]:
    """A config with the options that win over it, as :func:`split_args` gives them."""
    changed = dict(config)
    for name, values in extra:
        if name.endswith("_conf"):
            pairs = (value.partition("=") for value in values)
            own = {key: value_in(f"{name} {key}", value) for key, _, value in pairs}
            if not isinstance(before := changed.get(name) or {}, dict):
                raise ConfigError(f"{name}: must hold 'key: value' lines, not {before!r}")
            changed[name] = {**before, **own}
        elif values:
            changed[name] = value_in(name, values[-1])
    return changed


def value_of(path: str | Path, name: str, extra: str) -> Any:
    """The value of a key of a config, or the one in ``extra``; None where neither has it."""
    given = [values[-1] for option, values in split_args(extra) if option == name and values]
    return value_in(name, given[-1]) if given else read_config(path).get(name)


def value_in(option: str, text: str) -> Any:
    """The value that an option of ``--args`` has, read as YAML.

    Raises:
        ConfigError: it is no YAML.
    """
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as err:  # the latter of a date that there is not
        raise ConfigError(
            f"--args: --{option}: {text!r} is not YAML; close its bracket or quote, or quote it"
        ) from err


def split_args(text: str) -> list[tuple[str, list[str]]]:
    """Options given on the command line (``--max_epoch 3 --encoder_conf num_blocks=2``) in order.

    Raises:
        ConfigError: a value without an option before it.
    """
    options: list[tuple[str, list[str]]] = []
    try:
        words = shlex.split(text)
    except ValueError as err:
        raise ConfigError(f"--args {text}: {err}; close the quote") from err
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            options.append((name, [value] if equals else []))
        elif options:
            options[-1][1].append(word)
        else:
            raise ConfigError(f"extra options must begin with '--': {text!r}")
    return options


def max_epoch_of(path: Path, config: dict[str, Any], extra: list[tuple[str, list[str]]]) -> int:
    """Epochs asked for.

    Raises:
        ConfigError: no whole number of at least 1.
    """
    given = [values[-1] for name, values in extra if name == "max_epoch" and values]
    value = given[-1] if given else config.get("max_epoch", ESPNET_MAX_EPOCH)
    try:
        epochs = int(value)
    except (TypeError, ValueError):
        file = where(path, "max_epoch")
        raise ConfigError(f"{file}: max_epoch must be a whole number, not {value!r}") from None
    if epochs < 1:
        file = where(path, "max_epoch")
        raise ConfigError(f"{file}: max_epoch must be at least 1, not {epochs}")
    return epochs


def falls_to(config: Mapping[str, Any]) -> int | None:
    """Batches after which ESPnet's piecewise linear schedule has brought the rate to 0, or None.

    Behind the end of its list that schedule goes on from ``optim_conf.lr``, whatever the list says.
    """
    if config.get("scheduler") != "piecewiselinearwarmuplr":
        return None
    conf, accum_grad = config.get("scheduler_conf"), config.get("accum_grad", 1)
    conf = conf if isinstance(conf, dict) else {}
    lists = [conf.get(f"warmup_{name}_list") for name in ("steps", "lr")]
    ends = [one[-1] for one in lists if one and isinstance(one, list)]
    numbers = all(isinstance(one, int | float) for one in (*ends, accum_grad))
    if len(ends) < 2 or not numbers or ends[1] != 0:
        return None  # what is wrong there ESPnet says
    return round(ends[0] * accum_grad)


def criterion_of(
    path: Path,
    config: dict[str, Any],
    extra: list[tuple[str, list[str]]],
    default: tuple,
    nbest: int,
) -> tuple:
    """(phase, statistic, min or max, n) of the averaged checkpoints; ``extra`` wins.

    Raises:
        ConfigError: more than one criterion or n, where ESPnet 202511 averages wrongly.
    """
    said = dict(extra)
    criteria = config.get("best_model_criterion", [default])
    if "best_model_criterion" in said:  # as ESPnet writes it there: valid,loss,min
        criteria = [re.findall(r"[^\s,()\[\]'\"]+", word) for word in said["best_model_criterion"]]
    numbers = config.get("keep_nbest_models", [nbest])
    if "keep_nbest_models" in said:
        numbers = [value_in("keep_nbest_models", word) for word in said["keep_nbest_models"]]
    numbers = numbers if isinstance(numbers, list) else [numbers]
    if len(criteria) != 1 or len(criteria[0]) != 3:
        file = where(path, "best_model_criterion")
        raise ConfigError(f"{file}: best_model_criterion: exactly one [phase, statistic, min|max]")
    if len(numbers) != 1:
        file = where(path, "keep_nbest_models")
        raise ConfigError(f"{file}: keep_nbest_models: exactly one number")
    if not isinstance(numbers[0], int) or numbers[0] < 1:
        file = where(path, "keep_nbest_models")
        raise ConfigError(
            f"{file}: keep_nbest_models: a whole number of at least 1, not {numbers[0]!r}"
        )
    return (*criteria[0], numbers[0])


def parse(task: type, path: Path, options: list[str]) -> Namespace:
    """Parse a training command as ESPnet does.

    Args:
        task: ``ASRTask``, ``LMTask`` or ``DiceHubertTask``.
        path: the user's config file, for messages.
        options: the whole command; its ``--config`` is flat.

    Raises:
        ConfigError: naming the config and the unknown or ill-valued key.
    """
    parser = task.get_parser()
    known = [action.dest for action in parser._actions]

    def error(message: str) -> None:
        unknown = "unrecognized arguments: "
        if message.startswith(unknown):
            key = message[len(unknown) :].split(" (from")[0].split()[0].lstrip("-")
            raise ConfigError(f"{where(path, key)}: unknown key {key!r}{_hint(key, known)}")
        named = re.match(r"argument --(\w+)", message)
        raise ConfigError(f"{where(path, named[1]) if named else path}: {message}")

    parser.error = error
    args = parser.parse_args(options)
    for choice in task.class_choices_list:
        name = getattr(args, choice.name, None)
        if name is None:
            continue
        try:
            cls = choice.get_class(name)
        except (ValueError, KeyError):
            names = ", ".join(str(c) for c in choice.choices())
            raise ConfigError(
                f"{where(path, choice.name)}: {choice.name}: no such class {name!r}"
                f"{_hint(name, choice.classes)}; one of {names}"
            ) from None
        conf = f"{choice.name}_conf"
        _check_keys(path, conf, cls, getattr(args, conf, None) or {})
    if hasattr(task, "check"):  # our own tasks know more of their keys
        try:
            task.check(args)
        except ConfigError as err:
            raise ConfigError(f"{path}: {err}") from None
    return args


def _check_keys(path: Path, conf: str, cls: type | None, values: Any) -> None:
    if not isinstance(values, dict):
        raise ConfigError(f"{where(path, conf)}: {conf}: must hold 'key: value' lines")
    known = accepted_keys(cls) if cls is not None else None
    for key in values if known is not None else ():
        if key not in known:
            file = where(path, conf, key)
            raise ConfigError(
                f"{file}: {conf}: {cls.__name__} has no key {key!r}{_hint(key, known)}"
            )


def accepted_keys(cls: type) -> list[str] | None:
    """Keyword arguments of a class, those passed on through ``**kwargs`` to its bases included.

    Returns None where they cannot be told.
    """
    keys: list[str] = []
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        try:
            parameters = inspect.signature(base.__init__).parameters.values()
        except (TypeError, ValueError):
            return None
        keys += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return keys
    return None


def _hint(key: str, known) -> str:
    near = difflib.get_close_matches(str(key), [str(k) for k in known], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
