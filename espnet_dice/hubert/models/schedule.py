"""Numbers that change over updates: how much frames and losses count, how much is masked.

Schedules are ours: the papers' numbers stay as they are. "Unmasked first, masked later", "features
first, labels later", a falling λ of ``ssl + λ·feature`` and a falling share of KD are configs:

    model_conf:
        updates: 30000
        unmasked_weight: {start: 1, end: 0, from: 0.2, to: 0.5}
    loss:
    -   name: dice_hard
    -   name: dice_feature
        weight: {start: 1, end: 0, to: 10000}

Steps of the optimizer are counted, in a buffer of the model, which its checkpoint has: a training
that goes on is where it was.
"""

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from espnet_dice.io.errors import ConfigError

if TYPE_CHECKING:
    import torch

KEYS = ("start", "end", "from", "to")
UPDATES = "updates"
"""The buffer; in ``model_conf``, what shares are of."""


@dataclass(frozen=True)
class Schedule:
    """``start`` up to update ``begin``, ``end`` from update ``stop`` on, a straight line between.

    Attributes:
        start, end: values.
        begin, stop: updates that were made before, 0 in the first one.
    """

    start: float
    end: float
    begin: int = 0
    stop: int = 0

    @property
    def moves(self) -> bool:
        """Whether it is more than one number."""
        return self.start != self.end

    @property
    def most(self) -> float:
        """The largest value; 0 if what it weighs is off throughout."""
        return max(self.start, self.end)

    @property
    def least(self) -> float:
        """The smallest value."""
        return min(self.start, self.end)

    def __str__(self) -> str:
        return f"{self.start:g}→{self.end:g}" if self.moves else f"{self.end:g}"

    def at(self, update: int) -> float:
        """The value of the step before which ``update`` updates were made."""
        if update >= self.stop:
            return self.end
        if update <= self.begin:
            return self.start
        share = (update - self.begin) / (self.stop - self.begin)
        return self.start + share * (self.end - self.start)


def parse(value: Any, where: str, updates: int | None = None) -> Schedule:
    """A schedule as a config has it.

    Args:
        value: a number, or {start, end, to} and perhaps ``from``, which is 0 else. Whole numbers
            are updates, numbers with a point (0.5, 1.0) shares of ``updates``.
        where: the key, for messages.
        updates: that shares are of.

    Raises:
        ConfigError: another form, ``to`` before ``from``, or a share of nothing.
    """
    if _is_number(value):
        return Schedule(float(value), float(value))
    whole = isinstance(value, dict) and {"start", "end", "to"} <= set(value) <= set(KEYS)
    if not whole or not all(_is_number(v) and v >= 0 for v in value.values()):
        raise ConfigError(
            f"{where}: must be a number, or {{start: A, end: B, from: N, to: M}} of numbers >= 0, "
            f"not {value!r}"
        )
    begin, stop = (_update(value.get(key, 0), f"{where}: {key}", updates) for key in KEYS[2:])
    if begin > stop:
        raise ConfigError(f"{where}: from {begin} is after to {stop}")
    return Schedule(float(value["start"]), float(value["end"]), begin, stop)


def read(numbers: Mapping[str, Any], updates: int | None = None) -> dict[str, Schedule]:
    """Schedules of a ``model_conf``.

    Args:
        numbers: key → value.
        updates: that shares are of, ``model_conf``'s ``updates``.

    Raises:
        ConfigError: see :func:`parse`.
    """
    if updates is not None and (type(updates) is not int or updates < 1):
        raise ConfigError(f"model_conf: updates must be a whole number >= 1, not {updates!r}")
    return {key: parse(v, f"model_conf: {key}", updates) for key, v in numbers.items()}


def corners(schedules: Mapping[str, Schedule]) -> list[int]:
    """The updates between which every schedule is a straight line."""
    return sorted({0, *(n for s in schedules.values() for n in (s.begin, s.stop))})


def follow(model: "torch.nn.Module", schedules: Mapping[str, Schedule]) -> None:
    """Count the updates of a model, if one of its schedules moves.

    Steps of the optimizer that has its parameters, not forward passes: several may belong to a
    step, and one may be left out. The hook is torch's for every optimizer, because ESPnet's own
    tasks build theirs where a model has no part.
    """
    if not any(one.moves for one in schedules.values()):
        return
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    model.register_buffer(UPDATES, torch.zeros((), dtype=torch.long))
    reference = weakref.ref(model)

    def count(optimizer, *_) -> None:
        followed = reference()
        if followed is None:
            return
        own = {id(p) for p in followed.parameters()}
        if any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
            getattr(followed, UPDATES).add_(1)

    weakref.finalize(model, register_optimizer_step_post_hook(count).remove)


def now(model: "torch.nn.Module", schedules: Mapping[str, Schedule]) -> dict[str, float]:
    """What the schedules say: of this update, in validation at their end."""
    if not model.training or not hasattr(model, UPDATES):
        return {name: one.end for name, one in schedules.items()}
    update = int(getattr(model, UPDATES))
    return {name: one.at(update) for name, one in schedules.items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _update(value: int | float, where: str, updates: int | None) -> int:
    if isinstance(value, int):
        return value
    if updates is None or value > 1:
        raise ConfigError(
            f"{where}: {value:g} is a share, from 0.0 to 1.0, of model_conf's updates: give "
            "updates, or a whole number"
        )
    return round(value * updates)
