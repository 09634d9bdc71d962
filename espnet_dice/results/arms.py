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


def arms(found: Recognisers) -> dict[str | None, list[Arm]]:
    """Language model (None: without) → students with two seeds or more, the worst first.

    A seed counts where it was decoded on every set, and once: the first of several decodings.
    """
    groups: dict[tuple[str | None, str], dict[int, dict[str, Decoded]]] = {}
    for d in found.decoded:
        if not d.system.is_teacher:
            seeds = groups.setdefault((d.lm, d.system.family), {})
            seeds.setdefault(d.system.model["seed"], {}).setdefault(d.set, d)
    made: dict[str | None, list[Arm]] = {}
    for (lm, family), seeds in groups.items():
        counted = {
            seed: pooled([by[name] for name in found.sets])
            for seed, by in sorted(seeds.items())
            if by.keys() >= set(found.sets)
        }
        if len(counted) > 1:
            errors = {seed: wrong for seed, (wrong, _) in counted.items()}
            units = next(iter(counted.values()))[1]
            made.setdefault(lm, []).append(Arm(family, errors, units))
    return {lm: sorted(made[lm], key=lambda arm: -arm.wer().value) for lm in made}


def tables(found: Recognisers) -> list[tuple[str, list[Arm]]]:
    """Title and arms of each table: without and with a language model, where there are two."""
    some = sorted(arms(found).items(), key=lambda item: item[0] or "")
    return [(f"LM {lm}" if lm else "Without LM", all_) for lm, all_ in some if len(all_) > 1]


def section(found: Recognisers) -> str:
    """Markdown of all arms against each other; empty where no two have two seeds each."""
    parts = [f"{title}:\n\n{table(some)}" for title, some in tables(found)]
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
