"""Which student to ship, by a rule that is said beside the answer.

The student with the fewest word errors over all test sets; of those that are not significantly
worse (paired bootstrap, 5 %), the smallest; of those of one size the one with the fewest errors.
Seeds of a configuration are one candidate, by the mean of their errors; of its seeds, the one that
was best in validation is named, so that the test set does not choose it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from espnet_dice.results import statistics
from espnet_dice.results.recognisers import Decoded, Recognisers, System, pooled
from espnet_dice.results.statistics import Difference, Interval


@dataclass(frozen=True)
class Candidate:
    """A configuration with or without a language model.

    Attributes:
        family: name without the seed.
        lm: tag of the language model, or None.
        system: the seed that was best in validation.
        wer: mean over the seeds.
        errors: of each utterance, mean over the seeds.
        units: words of each reference.
        cpu: CPU-seconds per audio-second, mean over seeds and sets.
        seeds: how many.
    """

    family: str
    lm: str | None
    system: System
    wer: Interval
    errors: np.ndarray = field(repr=False)
    units: np.ndarray = field(repr=False)
    cpu: float
    seeds: int

    @property
    def parameters(self) -> int:
        """Of the recogniser."""
        return self.system.model["parameters"]


@dataclass(frozen=True)
class Selection:
    """The answer.

    Attributes:
        ship: what to ship.
        like: other candidates that the test sets cannot tell from it, with their difference.
        baseline: the best student without teachers, and how much better than it ``ship`` is.
        teacher: the best teacher, for its size and error.
        sets: the test sets.
    """

    ship: Candidate
    like: list[tuple[Candidate, Difference]]
    baseline: tuple[Candidate, Difference] | None
    teacher: Candidate | None
    sets: list[str]


def select(found: Recognisers) -> Selection | None:
    """The selection; None where no student was decoded."""
    students = candidates(found, teachers=False)
    if not students:
        return None
    best = min(students, key=lambda c: c.wer.value)
    equal = [c for c in students if c is best or not _compare(best, c).is_significant]
    ship = min(equal, key=lambda c: (c.parameters, c.wer.value))
    like = [(c, _compare(ship, c)) for c in students if c is not ship]
    like = [(c, d) for c, d in like if not d.is_significant]
    untaught = [c for c in students if not c.system.is_taught and c.family != ship.family]
    baseline = min(untaught, key=lambda c: c.wer.value, default=None)
    teachers = candidates(found, teachers=True)
    return Selection(
        ship,
        sorted(like, key=lambda pair: pair[0].wer.value),
        baseline and (baseline, _compare(baseline, ship)),
        min(teachers, key=lambda c: c.wer.value, default=None),
        found.sets,
    )


def candidates(found: Recognisers, teachers: bool) -> list[Candidate]:
    """All configurations that were decoded on every set, with and without language models."""
    groups: dict[tuple[str, str | None], list[Decoded]] = {}
    for d in found.comparable:
        if d.system.is_teacher == teachers:
            groups.setdefault((d.system.family, d.lm), []).append(d)
    made = []
    for (family, lm), members in groups.items():
        by_seed = _by_seed(members, found.sets)
        if not by_seed:
            continue
        counted = [pooled(decoded) for decoded in by_seed]
        errors = np.mean([errors for errors, _ in counted], axis=0)
        units = counted[0][1]
        best = max((decoded[0].system for decoded in by_seed), key=lambda s: s.validation)
        cpu = float(np.mean([d.meta["cpu_s_per_audio_s"] for d in members]))
        wer = statistics.rate(errors, units)
        made.append(Candidate(family, lm, best, wer, errors, units, cpu, len(by_seed)))
    return made


def _by_seed(members: Sequence[Decoded], sets: list[str]) -> list[list[Decoded]]:
    """The results of each seed on all sets, in their order; seeds that lack one are left out."""
    seeds: dict[str, dict[str, Decoded]] = {}
    for d in members:
        seeds.setdefault(d.system.name, {}).setdefault(d.set, d)
    return [[by[s] for s in sets] for by in seeds.values() if set(sets) <= by.keys()]


def _compare(a: Candidate, b: Candidate) -> Difference:
    return statistics.paired(a.errors, b.errors, a.units)
