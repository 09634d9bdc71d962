"""Numbers that change over updates: how much frames and losses count, how much is masked.

Schedules are ours: the paper's numbers stay as they are. "Unmasked first, masked later", "features
first, labels later" and a falling λ of ``ssl + λ·feature`` are configs:

    model_conf:
        updates: 30000
        unmasked_weight: {start: 1, end: 0, from: 0.2, to: 0.5}
    loss:
    -   name: dice_hard
    -   name: dice_feature
        weight: {start: 1, end: 0, to: 10000}
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from espnet_dice.io.errors import ConfigError

KEYS = ("start", "end", "from", "to")


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


def read(
    loss: Sequence[tuple[str, Any, dict[str, Any]]],
    numbers: Mapping[str, Any],
    updates: int | None = None,
) -> dict[str, Schedule]:
    """All schedules of a training: key or name of the loss → schedule.

    Args:
        loss: what :func:`entries.parse` gives: (name, weight, conf).
        numbers: key of ``model_conf`` → value.
        updates: that shares are of, ``model_conf``'s ``updates``.

    Raises:
        ConfigError: see :func:`parse`; or at some update no loss counts.
    """
    if updates is not None and (type(updates) is not int or updates < 1):
        raise ConfigError(f"model_conf: updates must be a whole number >= 1, not {updates!r}")
    found = {key: parse(v, f"model_conf: {key}", updates) for key, v in numbers.items()}
    weights = {name: parse(w, f"loss: {name}: weight", updates) for name, w, _ in loss}
    for update in corners(weights):
        if not any(one.at(update) for one in weights.values()):
            raise ConfigError(f"loss: at update {update} the weight of every loss is 0")
    return found | weights


def corners(schedules: Mapping[str, Schedule]) -> list[int]:
    """The updates between which every schedule is a straight line."""
    return sorted({0, *(n for s in schedules.values() for n in (s.begin, s.stop))})


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
