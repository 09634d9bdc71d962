"""The config's list of losses: names, weights, settings, and the terms that they stand for."""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import torch

from espnet_dice.dice.loss_terms import TERMS, LossContext
from espnet_dice.hubert.models import schedule
from espnet_dice.hubert.models.schedule import Schedule
from espnet_dice.io.errors import ConfigError


def parse(loss: Sequence[dict[str, Any]]) -> list[tuple[str, Any, dict[str, Any]]]:
    """The config's ``loss`` as (name, weight, conf), checked.

    A weight is a number or a schedule, see :func:`schedules`.

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


def schedules(
    loss: Sequence[tuple[str, Any, dict[str, Any]]],
    numbers: Mapping[str, Any],
    updates: int | None = None,
) -> dict[str, Schedule]:
    """All schedules of a training: key or name of the loss → schedule.

    Args:
        loss: what :func:`parse` gives: (name, weight, conf).
        numbers: key of ``model_conf`` → value.
        updates: that shares are of, ``model_conf``'s ``updates``.

    Raises:
        ConfigError: see :func:`schedule.parse`; or at some update no loss counts.
    """
    found = schedule.read(numbers, updates)
    weights = {name: schedule.parse(w, f"loss: {name}: weight", updates) for name, w, _ in loss}
    for update in schedule.corners(weights):
        if not any(one.at(update) for one in weights.values()):
            raise ConfigError(f"loss: at update {update} the weight of every loss is 0")
    return found | weights


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
