"""Parameters by name: out of files, under other names, into a model."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from espnet_dice.io.errors import ConfigError
from espnet_dice.io.untrusted import torch_files

State = dict[str, torch.Tensor]
Rules = Sequence[tuple[str, str]]
"""(regular expression, replacement): the first that matches the whole name renames it."""


def read_state(weights: Sequence[Path], trust_pickle: bool) -> State:
    """Parameters by name.

    Raises:
        ConfigError: a file is damaged, or a pickle of more than tensors without ``trust_pickle``.
    """
    state: State = {}
    for path in weights:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            try:
                state |= load_file(path)
            except Exception as err:  # a class of its own, from Rust
                raise ConfigError(f"{path}: damaged, or no file of parameters ({err})") from err
        else:
            state |= tensors(torch_files.load(path, trust_pickle), path)
    return state


def tensors(found: object, path: Path) -> State:
    """What of a dictionary are tensors.

    Raises:
        ConfigError: it is no dictionary.
    """
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: holds no parameters, but a {type(found).__name__}")
    return {k: v for k, v in found.items() if isinstance(k, str) and torch.is_tensor(v)}


def renamed(state: State, rules: Rules) -> State:
    """Parameters under other names; a name that no rule matches stays."""
    compiled = [(re.compile(pattern), name) for pattern, name in rules]
    return {_renamed(key, compiled): value for key, value in state.items()}


def _renamed(key: str, rules: Sequence[tuple[re.Pattern[str], str]]) -> str:
    for pattern, name in rules:
        if found := pattern.fullmatch(key):
            return found.expand(name)
    return key


def below(state: State, prefix: str) -> State:
    """The parameters whose names begin with ``prefix``, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def new_weight_norm(state: State) -> State:
    """``weight_g`` and ``weight_v`` under the names of torch's parametrizations."""
    norm = "conv.parametrizations.weight.original"
    return {
        k.replace("conv.weight_g", f"{norm}0").replace("conv.weight_v", f"{norm}1"): v
        for k, v in state.items()
    }


def fill(model: torch.nn.Module, state: State, source: Path) -> None:
    """Load parameters that must fit exactly; only the mask embedding may be missing.

    Raises:
        ConfigError: naming parameters that are missing, left over, or of another shape.
    """
    wanted = model.state_dict()
    missing = [k for k in wanted if k not in state and k != "masked_spec_embed"]
    if "masked_spec_embed" not in wanted:
        state.pop("masked_spec_embed", None)
    problems = [f"missing: {k}" for k in missing]
    problems += [f"left over: {k}" for k in state if k not in wanted]
    problems += [
        f"{k} is {tuple(v.shape)}, must be {tuple(wanted[k].shape)}"
        for k, v in state.items()
        if k in wanted and v.shape != wanted[k].shape
    ]
    problems += [
        f"{k} has NaN or infinite values"
        for k, v in state.items()
        if v.is_floating_point() and not torch.isfinite(v).all()
    ]
    if problems:
        shown = "; ".join(problems[:5]) + (f"; … {len(problems)}" if len(problems) > 5 else "")
        raise ConfigError(f"{source}: the parameters do not fit the configuration: {shown}")
    model.load_state_dict(state, strict=False)
