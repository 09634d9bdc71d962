"""Arms of an experiment against each other, over the seeds of their trainings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from espnet_dice.results import statistics
from espnet_dice.results.recognisers import Decoded, Recognisers, pooled
from espnet_dice.results.statistics import Difference, Interval
from espnet_dice.results.table import layout

TITLE = "## Arms against each other"
NOTE = (
    "Mean WER % over seeds, and differences, row minus column, in points: below 0 the row is "
    "better. In brackets 95 % of a bootstrap over seeds and utterances, pairs of equal seeds; "
    "bold: p < 0.05."
)


@dataclass(frozen=True)
class Arm:
    """A configuration that was trained with several seeds.

    Attributes:
        name: without the seed.
        errors: seed → word errors of each utterance of all sets, (N,).
        units: words of each reference, (N,).
    """

    name: str
    errors: dict[int, np.ndarray]
    units: np.ndarray

    def wer(self) -> Interval:
        """Mean over the seeds."""
        return statistics.mean_rate(np.stack([*self.errors.values()]), self.units)

    def minus(self, other: "Arm") -> Difference | None:
        """Difference of the mean WER over the seeds that both have; None for fewer than two."""
        seeds = sorted(self.errors.keys() & other.errors.keys())
        if len(seeds) < 2:
            return None
        mine, theirs = (np.stack([arm.errors[s] for s in seeds]) for arm in (self, other))
        return statistics.paired_trainings(theirs, mine, self.units)


@dataclass(frozen=True)
class Compared:
    """Arms on the sets that most of them were decoded on; others are left out.

    Attributes:
        lm: language model, None: without.
        sets: names of the sets.
        arms: students with two seeds or more, the worst first.
    """

    lm: str | None
    sets: tuple[str, ...]
    arms: list[Arm]

    @property
    def title(self) -> str:
        """Without and with a language model, and where."""
        return f"{f'LM {self.lm}' if self.lm else 'Without LM'}, {', '.join(self.sets)}"


def compared(found: Recognisers) -> list[Compared]:
    """The arms of each language model, without one first; where there are two.

    A seed counts where it was decoded on all of the sets.
    """
    by_lm: dict[str | None, dict[str, dict[int, dict[str, Decoded]]]] = {}
    for d in found.comparable:
        if not d.system.is_teacher:
            seeds = by_lm.setdefault(d.lm, {}).setdefault(d.system.family, {})
            seeds.setdefault(d.system.model["seed"], {}).setdefault(d.set, d)
    made = []
    for lm, families in sorted(by_lm.items(), key=lambda item: item[0] or ""):
        on = {name: sum(_seeds_on(name, s) > 1 for s in families.values()) for name in found.sets}
        sets = tuple(name for name, n in on.items() if n == max(on.values()))
        arms = [_arm(family, seeds, sets) for family, seeds in families.items()]
        arms = sorted((arm for arm in arms if arm), key=lambda arm: -arm.wer().value)
        if len(arms) > 1:
            made.append(Compared(lm, sets, arms))
    return made


def _seeds_on(name: str, seeds: dict[int, dict[str, Decoded]]) -> int:
    return sum(name in by for by in seeds.values())


def _arm(family: str, seeds: dict[int, dict[str, Decoded]], sets: tuple[str, ...]) -> Arm | None:
    counted = {
        seed: pooled([by[name] for name in sets])
        for seed, by in sorted(seeds.items())
        if by.keys() >= set(sets)
    }
    if len(counted) < 2:
        return None
    errors = {seed: wrong for seed, (wrong, _) in counted.items()}
    return Arm(family, errors, next(iter(counted.values()))[1])


def section(found: Recognisers) -> str:
    """Markdown of all arms against each other; empty where no two have two seeds each."""
    parts = [f"{one.title}:\n\n{table(one.arms)}" for one in compared(found)]
    return "\n\n".join([*parts, NOTE]) if parts else ""


def table(some: Sequence[Arm]) -> str:
    """Markdown of :func:`cells`."""
    return layout(cells(some), left=1)


def cells(some: Sequence[Arm]) -> list[list[str]]:
    """A heading, then a line an arm; a column each arm but the last."""
    lines = [["arm", "seeds", "WER %", *(f"− {arm.name}" for arm in some[:-1])]]
    for at, arm in enumerate(some):
        wer = arm.wer()
        line = [arm.name, str(len(arm.errors)), _figures(wer.value, wer.low, wer.high, ".1f")]
        line += [_difference(arm.minus(other)) for other in some[:at]]
        lines.append([*line, *[""] * (len(lines[0]) - len(line))])
    return lines


def _difference(d: Difference | None) -> str:
    if d is None:
        return "–"
    said = _figures(d.value, d.low, d.high, "+.1f")
    return f"**{said}**" if d.is_significant else said


def _figures(value: float, low: float, high: float, how: str) -> str:
    return f"{100 * value:{how}} ({100 * low:{how}} to {100 * high:{how}})"
