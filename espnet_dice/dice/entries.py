"""The config's list of losses: names, weights, settings, and the terms that they stand for."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch

from espnet_dice.dice.loss_terms import TERMS, LossContext
from espnet_dice.io.errors import ConfigError


def parse(loss: Sequence[dict[str, Any]]) -> list[tuple[str, Any, dict[str, Any]]]:
    """The config's ``loss`` as (name, weight, conf), checked.

    A weight is a number or a schedule, see :func:`schedule.read`.

    Raises:
        ConfigError: no list of {name[, weight][, conf]}, an unknown or a repeated name.
    """
    if not isinstance(loss, (list, tuple)) or not loss:
        raise ConfigError("loss: must be a list of 'name', 'weight', 'conf'")
    entries: list[tuple[str, Any, dict[str, Any]]] = []
    for entry in loss:
        unknown = sorted(set(entry) - {"name", "weight", "conf"}) if isinstance(entry, dict) else []
        if not isinstance(entry, dict) or "name" not in entry or unknown:
            raise ConfigError(f"loss: an entry has name, weight and conf, not {entry!r}")
        name = entry["name"]
        if name not in TERMS:
            raise ConfigError(f"loss: no such loss {name!r}; one of {', '.join(TERMS)}")
        if name in (n for n, _, _ in entries):
            raise ConfigError(f"loss: {name} is listed twice")
        entries.append((name, entry.get("weight", 1.0), entry.get("conf") or {}))
    return entries


def term(name: str, context: LossContext, conf: dict[str, Any]) -> torch.nn.Module:
    """The term of an entry.

    Raises:
        ConfigError: it has no such key.
    """
    parameters = signature(TERMS[name].__init__).parameters
    known = [key for key in parameters if key not in ("self", "context")]
    for key in conf:
        if key not in known:
            raise ConfigError(
                f"loss: {name} has no key {key!r}; its keys: {', '.join(known) or 'none'}"
            )
    return TERMS[name](context, **conf)
