"""Weights of the loss that rise or fall while a student learns: linear over training batches.

The paper gives α and β one value each; a schedule is ours. ``model_conf`` has, beside ``kd_alpha``,
``kd_beta`` and ``kd_ctc``, where each ends (``kd_alpha_end`` …; absent: where it began) and
``kd_schedule_batches``, after how many.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from espnet_dice.io.errors import ConfigError

WEIGHTS = ("kd_alpha", "kd_beta", "kd_ctc")


@dataclass(frozen=True)
class Ramp:
    """A weight: ``first`` before the first batch, ``last`` from the batch ``batches`` on."""

    first: float
    last: float
    batches: int = 0

    def __call__(self, seen: int) -> float:
        """Its value after so many training batches; exact at both ends."""
        if self.first == self.last or seen <= 0:
            return self.first
        if seen >= self.batches:
            return self.last
        share = seen / self.batches
        return (1 - share) * self.first + share * self.last

    @property
    def most(self) -> float:
        """The largest value that it has: 0 if it is off throughout."""
        return max(self.first, self.last)


def ramps(model_conf: Mapping[str, Any]) -> dict[str, Ramp]:
    """The weights of a ``model_conf``.

    Raises:
        ConfigError: a value is no number, or an end has no number of batches to be reached in.
    """
    for key in (*WEIGHTS, *(f"{w}_end" for w in WEIGHTS), "kd_schedule_batches"):
        value = model_conf.get(key) or 0
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError(f"model_conf: {key} must be a number, not {value!r}")
    batches = model_conf.get("kd_schedule_batches") or 0
    found = {}
    for key in WEIGHTS:
        first = model_conf.get(key) or 0.0
        last = model_conf.get(f"{key}_end")
        found[key] = Ramp(first, first if last is None else last, batches)
    ends = any(r.first != r.last for r in found.values())
    if batches < 0 or ends != (batches > 0):
        raise ConfigError(
            "kd_schedule_batches must be ≥ 1 where kd_alpha_end, kd_beta_end or kd_ctc_end differs "
            f"from where it begins, and absent elsewhere; it is {batches}"
        )
    return found


def largest(model_conf: Mapping[str, Any], key: str) -> float:
    """The largest value of a weight of a config's ``model_conf``; 0 if it is off throughout."""
    return ramps(model_conf)[key].most
