"""What may be tried: a space in YAML, and trials drawn from it.

    groups:
        schedule:
            optim_conf.lr: {log: [0.001, 0.008]}        # or {uniform: [least, most]}
            model_conf.lsm_weight: [0.0, 0.1, 0.15]     # one of them, each as likely
            encoder_conf.dropout_rate decoder_conf.dropout_rate: [0.1, 0.2]     # the same for both
        kd:
            whom:                                       # one of several sets of keys
            - {model_conf.kd_teacher_weights: fixed}
            - {model_conf.kd_teacher_weights: certainty, model_conf.kd_temperature: 2.0}
    arms:
        none: {base: conf/student.yaml, groups: [schedule]}
        tok: {base: conf/student_tok.yaml, groups: [schedule, kd]}
        dec: {base: conf/student_tok.yaml, keys: {model_conf.kd_ctc: 0.0}}      # nothing is drawn

A key ``labels`` is no part of a config: it is the label set's directory of a HuBERT student.
With ``seeds: true`` trial n is trained with seed n: arms that draw nothing are then compared over
seeds.
Trial n of every arm takes the same values from a group that arms share, whatever else an arm has:
arms differ in pairs by what only one of them has.
"""

import hashlib
import random
from dataclasses import dataclass
from typing import Any

from espnet_dice.io.errors import ConfigError

KINDS = ("log", "uniform")
LABELS = "labels"


@dataclass(frozen=True)
class Trial:
    """A student to train.

    Attributes:
        arm: its name.
        number: from 0.
        base: the arm's config.
        keys: dotted key → value, laid over it.
    """

    arm: str
    number: int
    base: str
    keys: dict[str, Any]

    @property
    def tag(self) -> str:
        """Names its experiment."""
        return f"{self.arm}_{self.number:02d}"

    def config(self, base: str, max_epoch: int) -> dict[str, Any]:
        """The config as nested mappings."""
        nested: dict[str, Any] = {"base": base}
        for key, value in self.keys.items():
            if key == LABELS:
                continue
            *path, last = key.split(".")
            at = nested
            for part in path:
                at = at.setdefault(part, {})
            at[last] = value
        return nested | {"max_epoch": max_epoch}


def draw(space: dict[str, Any], n: int, seed: int) -> list[Trial]:
    """Trials 0 to n-1 of every arm, arms in turn.

    Args:
        space: ``groups`` and ``arms``, as above.
        n: trials an arm.
        seed: of all draws; more trials keep the first ones.

    Raises:
        ConfigError: an arm names a group that is not there, or a range has another form.
    """
    drawn = {
        name: [_draw_group(name, group, f"{seed} {name} {i}") for i in range(n)]
        for name, group in space.get("groups", {}).items()
    }
    for arm, own in space["arms"].items():
        if unknown := [g for g in own.get("groups", ()) if g not in drawn]:
            raise ConfigError(f"arms.{arm}.groups: no group {unknown[0]}: one of {list(drawn)}")
    return [
        Trial(arm, i, own["base"], _merged(own, [drawn[g][i] for g in own.get("groups", ())]))
        for i in range(n)
        for arm, own in space["arms"].items()
    ]


def _merged(arm: dict[str, Any], drawn: list[dict[str, Any]]) -> dict[str, Any]:
    return {k: v for group in drawn for k, v in group.items()} | arm.get("keys", {})


def _draw_group(name: str, group: dict[str, Any], key: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for dimension, options in group.items():
        # a generator a dimension: another one more changes none of these
        raw = hashlib.sha256(f"{key} {dimension}".encode()).digest()
        rng = random.Random(int.from_bytes(raw[:8], "little"))
        value = _draw(f"groups.{name}.{dimension}", options, rng)
        found |= value if isinstance(value, dict) else dict.fromkeys(dimension.split(), value)
    return found


def _draw(at: str, options: Any, rng: random.Random) -> Any:
    if isinstance(options, list) and options:
        return rng.choice(options)
    if isinstance(options, dict) and len(options) == 1:
        ((kind, ends),) = options.items()
        if kind in KINDS and isinstance(ends, list) and len(ends) == 2 and ends[0] < ends[1]:
            low, high = ends
            value = low * (high / low) ** rng.random() if kind == "log" else rng.uniform(low, high)
            return float(f"{value:.3g}")
    raise ConfigError(
        f"{at}: a list of values, {{log: [least, most]}} or {{uniform: [least, most]}}"
    )
