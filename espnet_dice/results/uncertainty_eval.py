"""Is the uncertainty worth anything? How well σ² and entropy tell what is wrong.

Tokens are teacher-forced on the transcript: a token is wrong where the likeliest one is another.
Utterances are those that beam search found, forced on what it found, as in use, where there is no
transcript. Entropy of the softmax is there without any variance head, so σ² must beat it, or at
least help where the head is free.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from espnet_dice.results import statistics
from espnet_dice.results.recognisers import Decoded, Recognisers, System
from espnet_dice.results.statistics import Interval, Reliability
from espnet_dice.results.token_uncertainty import HYP, REF, TokenUncertainty

SIGMA, MEAN, ENTROPY = "variance_top", "variance", "entropy"
MEASURES = {
    SIGMA: "σ² of the likeliest token",
    MEAN: "σ², mean over all token types",
    ENTROPY: "entropy of the softmax",
    "variance_share": "σ² of the likeliest token over the mean σ²",
    "entropy_noisy": "entropy of p̂",
    "entropy_draws": "mean entropy of the draws",
    "information": "mutual information: entropy of p̂ less that of the draws",
}
JUDGED = (SIGMA, MEAN, ENTROPY)
RESAMPLES = 200
DROPPED = 0.2
BINS = 10


@dataclass(frozen=True)
class Curve:
    """WER of what is kept when the most uncertain utterances are dropped.

    Attributes:
        coverage, risk: see :func:`statistics.risk_coverage`.
        area: under the curve, as a WER.
        kept: WER when :data:`DROPPED` of the words are dropped.
    """

    coverage: np.ndarray = field(repr=False)
    risk: np.ndarray = field(repr=False)
    area: float
    kept: float


@dataclass(frozen=True)
class Evaluation:
    """One system on one set, clean or noisy.

    Attributes:
        system: who.
        set: name of the set, with its noise.
        snr: in dB, or None.
        tokens: how many.
        wrong: share of wrong tokens.
        reliability: of softmax(f).
        ece_noisy: ECE of p̂, the mean over noise draws, or None.
        auroc: measure → how well it tells wrong tokens from right ones.
        spearman: measure → rank correlation with being wrong.
        curves: measure → risk and coverage of utterances: by WER, forced on what was found; in
            noise, where nothing was decoded, by wrong tokens, forced on the transcript.
        risk: error rate of all utterances.
        matched: rank correlation of its mean σ² with its teachers', or None.
    """

    system: System
    set: str
    snr: float | None
    tokens: int
    wrong: float
    reliability: Reliability = field(repr=False)
    ece_noisy: float | None
    auroc: dict[str, Interval]
    spearman: dict[str, float]
    curves: dict[str, Curve] = field(repr=False)
    risk: float
    matched: float | None


def evaluate(found: Recognisers, resamples: int = RESAMPLES) -> list[Evaluation]:
    """Every system that was asked, set by set, the clean set first.

    Args:
        found: the experiment.
        resamples: for the intervals of :data:`SIGMA`, :data:`MEAN` and :data:`ENTROPY`; the other
            measures have none.
    """
    evaluations = []
    for name in found.sets:
        noisy = [n for s in found.systems.values() for n in s.noisy_sets(name)]
        for which in (name, *dict.fromkeys(noisy)):
            asked = {s.name: s.token_uncertainty(which) for s in found.systems.values()}
            for system in found.systems.values():
                said = asked[system.name]
                if said is not None:
                    decoded = found.plain(system.name, name) if which == name else None
                    teachers = _teachers_of(system, found.systems.values())
                    theirs = [asked[t.name] for t in teachers]
                    made = _evaluation(system, which, said, decoded, theirs, resamples)
                    evaluations.append(made)
    return evaluations


def _evaluation(
    system: System,
    name: str,
    said: TokenUncertainty,
    decoded: Decoded | None,
    teachers: Sequence[TokenUncertainty | None],
    resamples: int,
) -> Evaluation:
    tokens = said.passes[REF]
    wrong, groups = tokens["top"] != tokens["ids"], said.groups(REF)
    measures = [m for m in MEASURES if m in tokens]
    noisy = tokens.get("confidence_noisy")
    if decoded and HYP in said.passes and said.utterances == decoded.utterances:
        which, errors, units = HYP, decoded.words.total, decoded.words.units
    else:
        which, errors, units = REF, np.bincount(groups, wrong), np.bincount(groups)
    snr = float(name.rpartition("_snr")[2]) if "_snr" in name else None
    return Evaluation(
        system,
        name,
        snr,
        len(wrong),
        float(wrong.mean()),
        statistics.reliability(tokens["confidence"], ~wrong, BINS),
        None if noisy is None else statistics.reliability(noisy, ~wrong, BINS).ece,
        {
            m: statistics.auroc(tokens[m], wrong, groups, resamples if m in JUDGED else 0)
            for m in measures
        },
        {m: statistics.spearman(tokens[m], wrong) for m in measures},
        {m: _curve(said.utterance(which, m), errors, units) for m in measures},
        float(errors.sum() / units.sum()),
        _matched(said, teachers),
    )


def _curve(each: list[np.ndarray], errors: np.ndarray, units: np.ndarray) -> Curve:
    uncertainty = np.array([values.mean() for values in each])
    coverage, risk = statistics.risk_coverage(errors, units, uncertainty)
    kept = statistics.risk_at(coverage, risk, 1 - DROPPED)
    return Curve(coverage, risk, statistics.area(coverage, risk), kept)


def _teachers_of(system: System, systems) -> list[System]:
    """Its teachers, by their names, which end the teachers' tags."""
    every = [t for t in systems if t.is_teacher]
    return [t for n in system.teachers for t in every if t.name.endswith(f"_{n}")]


def _matched(said: TokenUncertainty, teachers: Sequence[TokenUncertainty | None]) -> float | None:
    asked = [t for t in teachers if t is not None and MEAN in t.passes[REF]]
    if MEAN not in said.passes[REF] or not asked or len(asked) < len(teachers):
        return None
    if any(t.utterances != said.utterances for t in asked):
        return None
    theirs = np.mean([t.passes[REF][MEAN] for t in asked], axis=0)
    return statistics.spearman(said.passes[REF][MEAN], theirs)


@dataclass(frozen=True)
class Answer:
    """The answer in one word, and the systems whose numbers it stands on.

    Attributes:
        word: ``more``: σ² tells more than entropy; ``some``: more than chance, less than entropy;
            ``nothing``: no more than chance.
        student: the student with uncertainty matching that has the fewest wrong tokens, or else
            the best student with a variance head.
        without: the same without uncertainty matching, or None.
        noisy: ``student`` in noise, or None.
    """

    word: str
    student: Evaluation
    without: Evaluation | None
    noisy: Evaluation | None


def answer(evaluations: Sequence[Evaluation]) -> Answer | None:
    """Judge on the first set; None where no student has a variance head."""
    students = [w for w in evaluations if not w.system.is_teacher and SIGMA in w.auroc]
    clean = [w for w in students if w.snr is None]
    clean = [w for w in clean if w.set == clean[0].set]
    if not clean:
        return None
    matching = [w for w in clean if w.system.matches_uncertainty]
    student = min(matching or clean, key=lambda w: w.wrong)
    without = _without(student, clean) if matching else None
    noisy = [w for w in students if w.system is student.system and w.snr is not None]
    sigma, entropy = student.auroc[SIGMA], student.auroc[ENTROPY]
    if sigma.low > entropy.value:
        word = "more"
    else:
        word = "some" if sigma.low > 0.5 else "nothing"
    return Answer(word, student, without, min(noisy, key=lambda w: w.snr, default=None))


def _without(student: Evaluation, clean: Sequence[Evaluation]) -> Evaluation | None:
    """The one with the same teachers and seed, taught without uncertainty matching."""
    seed = student.system.model["seed"]
    same = [
        w
        for w in clean
        if not w.system.matches_uncertainty
        and w.system.teachers == student.system.teachers
        and w.system.model["seed"] == seed
    ]
    return min(same, key=lambda w: w.wrong, default=None)
