"""Intervals, comparisons, calibration and ranking, as functions of arrays.

Error rates are ratios of sums over utterances, so intervals resample utterances: words of one
utterance are not independent (Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR
performance evaluation", ICASSP 2004).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

RESAMPLES = 5000
CHUNK = 2_000_000  # counts drawn at a time: 16 MB
KEPT = 8_000_000  # counts that are kept for the next call, of each of two sets


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """B minus A, on the same utterances.

    Attributes:
        value, low, high: of the difference, with its 95 % interval.
        p: two-sided; how often a resample has the other sign or none, doubled.
    """

    value: float
    low: float
    high: float
    p: float

    @property
    def is_significant(self) -> bool:
        """At the 5 % level."""
        return self.p < 0.05


@dataclass(frozen=True)
class Reliability:
    """How often predictions of about equal confidence are right.

    Attributes:
        edges: of the bins, (bins + 1,).
        count: predictions in each, (bins,).
        confidence: their mean confidence; NaN where there is none.
        accuracy: share that is right; NaN where there is none.
        ece: expected calibration error, Σ count/n · |accuracy - confidence|.
    """

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    ece: float


def resampled_rates(
    errors: np.ndarray, units: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Error rates of resamples of the utterances.

    Args:
        errors: of each utterance, (N,), or of several systems, (K, N).
        units: words or characters of each reference, (N,).
        resamples: R.
        seed: of the draws; with equal seeds and N the draws are the same.

    Returns:
        (R,) or (K, R), as fractions.
    """
    errors, units = np.asarray(errors, float), np.asarray(units, float)
    asked = len(units), resamples, seed
    draws = _kept(*asked) if len(units) * resamples <= KEPT else _draws(*asked)
    parts = [(drawn @ errors.T).T / (drawn @ units) for drawn in draws]
    return np.concatenate(parts, axis=-1)


def _draws(n: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of n utterances is in a resample: (R, n), in parts."""
    rng = np.random.default_rng(seed)
    size = max(1, CHUNK // n)
    for start in range(0, resamples, size):
        size = min(size, resamples - start)
        yield rng.multinomial(n, np.full(n, 1 / n), size=size).astype(float)


@lru_cache(maxsize=2)
def _kept(n: int, resamples: int, seed: int) -> list[np.ndarray]:
    """The same, drawn once: a report asks some sixty times, and drawing is what costs."""
    return list(_draws(n, resamples, seed))


def rate(errors: np.ndarray, units: np.ndarray, resamples: int = RESAMPLES) -> Interval:
    """An error rate, Σ errors / Σ units, with its percentile interval.

    Args:
        errors: of each utterance, (N,).
        units: words or characters of each reference, (N,).
    """
    value = float(np.sum(errors) / np.sum(units))
    low, high = np.quantile(resampled_rates(errors, units, resamples), (0.025, 0.975))
    return Interval(value, float(low), float(high))


def paired(
    a: np.ndarray, b: np.ndarray, units: np.ndarray, resamples: int = RESAMPLES
) -> Difference:
    """Error rate of B minus that of A: both see every resample.

    Args:
        a, b: errors of each utterance, (N,).
        units: words or characters of each reference, (N,).
    """
    first, second = resampled_rates(np.stack([a, b]), units, resamples)
    return _difference((np.sum(b) - np.sum(a)) / np.sum(units), second - first)


def mean_rate(errors: np.ndarray, units: np.ndarray, resamples: int = RESAMPLES) -> Interval:
    """The mean error rate of several trainings, with an interval over trainings and utterances.

    Args:
        errors: of each training on each utterance, (S, N).
        units: words or characters of each reference, (N,).
    """
    low, high = np.quantile(_means(errors, units, resamples), (0.025, 0.975))
    return Interval(float(np.mean(errors, 0).sum() / np.sum(units)), float(low), float(high))


def paired_trainings(
    a: np.ndarray, b: np.ndarray, units: np.ndarray, resamples: int = RESAMPLES
) -> Difference:
    """Mean error rate of B's trainings minus that of A's.

    Trainings are drawn as pairs (the same seed, so the same order of the data), and utterances for
    all of them alike: the interval is over both.

    Args:
        a, b: errors of each training on each utterance, (S, N), seed by seed.
        units: words or characters of each reference, (N,).
    """
    gained = np.asarray(b, float) - np.asarray(a, float)
    value = gained.mean(0).sum() / np.sum(units)
    return _difference(value, _means(gained, units, resamples))


def _difference(value: float, resampled: np.ndarray) -> Difference:
    """The difference that was observed, and those of resamples, (R,)."""
    low, high = np.quantile(resampled, (0.025, 0.975))
    # the observed sample counts as one, so p is never 0
    tail = min((resampled <= 0).sum(), (resampled >= 0).sum())
    p = min(1.0, 2 * (tail + 1) / (len(resampled) + 1))
    return Difference(float(value), float(low), float(high), float(p))


def _means(errors: np.ndarray, units: np.ndarray, resamples: int) -> np.ndarray:
    """Mean rates of resamples of trainings and utterances, (R,)."""
    rates = resampled_rates(np.asarray(errors, float), units, resamples)  # (S, R)
    n = len(rates)
    drawn = np.random.default_rng(1).multinomial(n, np.full(n, 1 / n), size=resamples)
    return (drawn.T * rates).sum(0) / n


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> Reliability:
    """Reliability and expected calibration error, in bins of equal width.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, Eq. 3.

    Args:
        confidence: probability of each prediction, (N,).
        right: whether it was right, (N,).
        bins: over [0, 1]; a confidence on an edge belongs to the bin below.
    """
    confidence, right = np.asarray(confidence, float), np.asarray(right, float)
    edges = np.linspace(0, 1, bins + 1)
    at = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(at, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(at, confidence, minlength=bins) / count
        accuracy = np.bincount(at, right, minlength=bins) / count
    some = count > 0
    ece = float((count[some] * abs(accuracy - mean)[some]).sum() / count.sum())
    return Reliability(edges, count, mean, accuracy, ece)


def risk_coverage(
    errors: np.ndarray, units: np.ndarray, uncertainty: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Error rate of what is kept when the most uncertain utterances are dropped one by one.

    Args:
        errors, units: of each utterance, (N,).
        uncertainty: the larger, the earlier it is dropped, (N,).

    Returns:
        coverage: share of the words kept, (N,), ascending to 1.
        risk: error rate of those, (N,).
    """
    order = np.argsort(uncertainty, kind="stable")
    kept = np.cumsum(np.asarray(units, float)[order])
    return kept / kept[-1], np.cumsum(np.asarray(errors, float)[order]) / kept


def risk_at(coverage: np.ndarray, risk: np.ndarray, share: float) -> float:
    """Error rate when as much is kept as fits into ``share`` of the words (at least one)."""
    return float(risk[max(0, int(np.searchsorted(coverage, share + 1e-9, side="right")) - 1)])


def area(coverage: np.ndarray, risk: np.ndarray) -> float:
    """Area under a risk–coverage curve: mean error rate over all coverages; lower is better."""
    return float((risk * np.diff(coverage, prepend=0.0)).sum())


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation; NaN where one of them is constant."""
    from scipy.stats import rankdata

    x, y = rankdata(a), rankdata(b)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def auroc(
    score: np.ndarray, wrong: np.ndarray, groups: np.ndarray, resamples: int = 200
) -> Interval:
    """Probability that a wrong prediction has a larger score than a right one; 0.5 is no use.

    Args:
        score: uncertainty of each prediction, (N,).
        wrong: whether it was wrong, (N,).
        groups: utterance of each prediction, from 0, (N,); the interval resamples utterances.
        resamples: for the interval.

    Returns:
        NaN where all or none were wrong.
    """
    _, level = np.unique(score, return_inverse=True)
    wrong = np.asarray(wrong, float)
    n = int(np.max(groups)) + 1
    rng = np.random.default_rng(0)
    counts = [np.ones(n), *(rng.multinomial(n, np.full(n, 1 / n)) for _ in range(resamples))]
    found = []
    for count in counts:
        weight = count[groups]
        positive = np.bincount(level, weight * wrong)
        negative = np.bincount(level, weight * (1 - wrong))
        below = np.cumsum(negative) - negative / 2  # equal scores count half
        with np.errstate(invalid="ignore"):
            found.append((positive * below).sum() / (positive.sum() * negative.sum()))
    drawn = [x for x in found[1:] if not np.isnan(x)]  # a resample may have none that is wrong
    if np.isnan(found[0]) or not drawn:
        return Interval(float(found[0]), np.nan, np.nan)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Interval(float(found[0]), float(low), float(high))
