"""A model's parameters in what a file holds, wherever a training program put them.

Programs save a state dict as it is, in a dictionary (``state_dict``, ``model``, ``ema`` …) or in
several, and name parameters after the objects around a model (``module.``, ``_orig_mod.``,
``model.hubert.`` …). All formats look for their model's own names with :func:`find`.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from espnet_dice.hubert.formats import parameters
from espnet_dice.hubert.formats.parameters import State
from espnet_dice.io.errors import ConfigError
from espnet_dice.io.untrusted.inert import Inert

WRAPPERS = ("module", "_orig_mod", "_forward_module", "_original_module")
WRAPPERS += ("_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts of names that torch, DeepSpeed and Lightning add around any module, also inside a model."""
AVERAGED = re.compile(
    r"(^|[._-])(ema|averaged?|avg|swa|shadow|teacher|target|momentum|moving|polyak|k|key|grads?)"
    r"\d*([._-]|$)",
    re.IGNORECASE,
)
HUMPS = re.compile(r"(?<=[a-z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
"""Where words of ``modelEMA`` and ``EMAModel`` part."""
NEARLY = 0.9
"""Share of the names that the best place has, from which another may be the model as well."""
DEEPEST = 5
"""Dictionaries in dictionaries that are looked into."""
SHOWN = 6
Wanted = Mapping[str, tuple[int, ...] | None]
"""Names that tell a model, and the shapes that they must have, where these are known."""


class Found(NamedTuple):
    """Parameters of one model.

    Attributes:
        state: under the model's own names.
        place: where they were, for messages; empty where they are all that there is.
        around: everything in the same dictionary, under its names there.
        prefix: of the model's names there.
    """

    state: State
    place: str
    around: State
    prefix: str


class _Place(NamedTuple):
    keys: tuple[str, ...]
    prefix: str

    def __str__(self) -> str:
        said = [f"in {'.'.join(self.keys)}"] if self.keys else []
        said += [f"behind {self.prefix}"] if self.prefix else []
        return " ".join(said) or "at the top"

    def is_averaged(self) -> bool:
        return bool(AVERAGED.search(HUMPS.sub("_", ".".join((*self.keys, self.prefix)))))


def find(held: Any, wanted: Wanted, path: Path) -> Found | None:
    """The parameters below the place that has most of the wanted names; None where none has any.

    Where several have nearly as many, the one that no moving average or teacher seems to be, then
    that with most, then the first, is taken, and a warning says so. Old names count as new ones,
    and mask embeddings do not: models do without.

    Args:
        held: what a file holds.
        wanted: names of the model.
        path: of the file, for the warning.
    """
    counted: dict[_Place, list[int]] = {}
    states = dict(_dictionaries(held))
    wanted = parameters.new_names({k: v for k, v in wanted.items() if "mask" not in k})
    for keys, state in states.items():
        for name, value in parameters.new_names(state).items():
            for prefix, own in _ends(name):
                if own in wanted:
                    count = counted.setdefault(_Place(keys, prefix), [0, 0])
                    count[0] += wanted[own] in (None, tuple(value.shape))
                    count[1] += 1
    if not counted:
        return None
    enough = [NEARLY * n for n in max(counted.values())]
    places = [place for place, count in counted.items() if count >= enough]
    place = max(places, key=lambda p: (not p.is_averaged(), counted[p]))
    if len(places) > 1:
        others = ", ".join(str(other) for other in places if other != place)
        logging.warning(
            "%s: several models in it fit: the one %s is taken, not %s; to have another, save its "
            "state dict alone",
            path,
            place,
            others,
        )
    around = states[place.keys]
    # a model inside the model's dictionary, such as its average, is none of its parameters
    inner = [p.prefix for p in places if p.keys == place.keys and p.prefix != place.prefix]
    inner = [p for p in inner if p.startswith(place.prefix)]
    state = {
        _plain(name.removeprefix(place.prefix)): value
        for name, value in around.items()
        if name.startswith(place.prefix) and not name.startswith(tuple(inner))
    }
    return Found(state, "" if str(place) == "at the top" else f" ({place})", around, place.prefix)


def get(held: Any, wanted: Wanted, path: Path, what: str) -> Found:
    """What :func:`find` finds.

    Args:
        held, wanted, path: see there.
        what: the model whose names are wanted, for the message.

    Raises:
        ConfigError: there is nothing, naming what there is.
    """
    found = find(held, wanted, path)
    if found is None:
        raise ConfigError(
            f"{path}: holds no parameters of {what}, such as {next(iter(wanted))}; {listed(held)}"
        )
    return found


def listed(held: Any) -> str:
    """What a file holds, in half a sentence."""
    if isinstance(held, Inert):
        return (
            f"it holds an object of {held.origin}: save its state_dict() with torch.save, or as "
            ".safetensors"
        )
    if not isinstance(held, dict):
        return f"it holds a {type(held).__name__}"
    said = [
        f"{len(state)} tensor{'s' if len(state) > 1 else ''} "
        f"{_Place(keys, '')} ({next(iter(state))} …)"
        for keys, state in _dictionaries(held)
    ]
    with_tensors = {keys[0] for keys, _ in _dictionaries(held) if keys}
    said += [
        f"{key}: {_kind(value)}"
        for key, value in held.items()
        if not torch.is_tensor(value) and key not in with_tensors
    ]
    more = f", … {len(said)} things" if len(said) > SHOWN else ""
    return f"it holds {', '.join(said[:SHOWN])}{more}" if said else "it holds nothing"


def _kind(value: Any) -> str:
    return f"an object of {value.origin}" if isinstance(value, Inert) else type(value).__name__


def _dictionaries(held: Any) -> Iterator[tuple[tuple[str, ...], State]]:
    """Each dictionary in dictionaries that has tensors by name, with the keys that lead to it."""
    seen: set[int] = set()
    level: list[tuple[tuple[str, ...], Any]] = [((), held)]
    for _ in range(DEEPEST):
        below = []
        for keys, value in level:
            if not isinstance(value, dict) or id(value) in seen:
                continue
            seen.add(id(value))
            named = {k: v for k, v in value.items() if isinstance(k, str)}
            state = {k: v for k, v in named.items() if torch.is_tensor(v)}
            if state:
                yield keys, state
            below += [((*keys, k), v) for k, v in named.items() if isinstance(v, dict)]
        level = below


def _ends(name: str) -> Iterator[tuple[str, str]]:
    """(prefix, what follows it without wrappers) for each way to cut a name at a dot."""
    parts = name.split(".")
    own = ""
    for i in reversed(range(len(parts))):
        if parts[i] not in WRAPPERS:
            own = f"{parts[i]}.{own}" if own else parts[i]
            yield "".join(f"{part}." for part in parts[:i]), own


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)
