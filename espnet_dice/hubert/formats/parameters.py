"""Parameters by name: out of files, under other names, into a model."""

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from espnet_dice.io.errors import ConfigError, describe_os_error
from espnet_dice.io.sound import beginnings
from espnet_dice.io.untrusted import torch_files

State = dict[str, torch.Tensor]
Rules = Sequence[tuple[str, str]]
"""(regular expression, replacement): the first that matches the whole name renames it."""
OLD_NAMES: Rules = (
    (r"(.+)\.weight_g", r"\1.parametrizations.weight.original0"),
    (r"(.+)\.weight_v", r"\1.parametrizations.weight.original1"),
    (r"(.*layer_?norm)\.gamma", r"\1.weight"),
    (r"(.*layer_?norm)\.beta", r"\1.bias"),
)


def read(path: Path, trust_pickle: bool) -> Any:
    """What a file holds: of torch.save or of safetensors, whatever it is called.

    Raises:
        ConfigError: it is damaged, or a pickle that cannot be read without running it, and
            ``trust_pickle`` is not given.
    """
    if not is_safe(path):
        return torch_files.load(path, trust_pickle, foreign=True)
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as err:  # a class of its own, from Rust
        raise _damaged(path, err) from err


def is_safe(path: Path) -> bool:
    """Whether it is safetensors': the size of a head of JSON, in 8 bytes, and the head."""
    try:
        with open(path, "rb") as f:
            head = f.read(len(torch_files.LEGACY))
    except OSError as err:
        raise ConfigError(describe_os_error(err)) from err
    is_torch = zipfile.is_zipfile(path) or head == torch_files.LEGACY
    return head[8:9] == b"{" or (path.suffix == ".safetensors" and not is_torch)


def names(path: Path) -> list[str]:
    """Names of the parameters in a file of safetensors; its head is read only.

    Raises:
        ConfigError: it is damaged.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as f:
            return list(f.keys())
    except Exception as err:  # a class of its own, from Rust
        raise _damaged(path, err) from err


def _damaged(path: Path, err: Exception) -> ConfigError:
    try:
        said = f"{err}{beginnings.seems(path)}"
    except OSError as instead:
        return ConfigError(describe_os_error(instead))
    return ConfigError(f"{path}: damaged, or no file of parameters ({said}); copy it again")


def read_all(weights: Sequence[Path], trust_pickle: bool) -> Any:
    """What one file holds, or the parameters of several together.

    Raises:
        ConfigError: see :func:`read`; or one of several is no dictionary.
    """
    if len(weights) == 1:
        return read(weights[0], trust_pickle)
    together: dict[str, Any] = {}
    for path in weights:
        held = read(path, trust_pickle)
        if not isinstance(held, dict):
            raise ConfigError(f"{path}: holds no parameters, but a {type(held).__name__}")
        together |= held
    return together


FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def rename_keys(state: State, rules: Rules) -> State:
    """Parameters under other names; a name that no rule matches stays."""
    compiled = [(re.compile(pattern), name) for pattern, name in rules]
    return {_renamed(key, compiled): value for key, value in state.items()}


def _renamed(key: str, rules: Sequence[tuple[re.Pattern[str], str]]) -> str:
    for pattern, name in rules:
        if found := pattern.fullmatch(key):
            return found.expand(name)
    return key


def strip_prefix(state: State, prefix: str) -> State:
    """The parameters whose names begin with ``prefix``, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def new_names(state: State) -> State:
    """Names of old files, as transformers maps them.

    A weight norm's ``weight_g`` and ``weight_v`` are torch's parametrizations now, the ``gamma``
    and ``beta`` of a norm its ``weight`` and ``bias``.
    """
    return rename_keys(state, OLD_NAMES)


def _is_plain(value: torch.Tensor) -> bool:
    return value.layout == torch.strided and not value.is_meta


def load_strict(model: torch.nn.Module, state: State, source: Path | str) -> None:
    """Load parameters that must fit exactly; only the mask embedding may be missing.

    Raises:
        ConfigError: naming one parameter of those that are missing, one of those left over, and one
            of another shape.
    """
    wanted = model.state_dict()
    if "masked_spec_embed" not in wanted:
        state.pop("masked_spec_embed", None)
    problems = [
        ("missing: {}", [k for k in wanted if k not in state and k != "masked_spec_embed"]),
        ("left over: {}", [k for k in state if k not in wanted]),
        (
            "{}",
            [
                f"{k} is {tuple(v.shape)}, must be {tuple(wanted[k].shape)}"
                for k, v in state.items()
                if k in wanted and v.shape != wanted[k].shape
            ],
        ),
        (
            "quantised (take the model that it was made from): {}",
            [
                f"{k} holds {str(v.dtype).removeprefix('torch.')}"
                for k, v in state.items()
                if k in wanted and wanted[k].is_floating_point() and v.dtype not in FLOATS
            ],
        ),
        (
            "{} has no values, or is sparse: save it with them, as to_dense() gives it",
            [k for k, v in state.items() if not _is_plain(v)],
        ),
        (
            "{} has NaN or infinite values",
            [
                k
                for k, v in state.items()
                if v.dtype in FLOATS and _is_plain(v) and not torch.isfinite(v).all()
            ],
        ),
    ]
    said = [
        text.format(names[0]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        for text, names in problems
        if names
    ]
    if said:
        raise ConfigError(
            f"{source}: the parameters do not fit the configuration: {'; '.join(said)} "
            f"({len(wanted)} are wanted, {len(state)} are there)"
        )
    model.load_state_dict(state, strict=False)
