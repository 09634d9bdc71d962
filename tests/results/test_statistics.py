"""Against scipy, scikit-learn, and loops that anyone can read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_dice.results import statistics


def errors_of(seed, n=120, mean=1.0):
    rng = np.random.default_rng(seed)
    return rng.poisson(mean, n), rng.integers(3, 12, n)


def test_the_interval_is_scipys():
    scipy = pytest.importorskip("scipy.stats")
    errors, units = errors_of(0)
    found = statistics.rate(errors, units)
    theirs = scipy.bootstrap(
        (errors, units), lambda e, u, axis=-1: e.sum(axis) / u.sum(axis), paired=True,
        vectorized=True, n_resamples=5000, method="percentile", rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert found.value == errors.sum() / units.sum()
    # two bootstraps of 5000 differ by some 2 % of the interval's width
    width = theirs.high - theirs.low
    assert abs(found.low - theirs.low) < 0.06 * width
    assert abs(found.high - theirs.high) < 0.06 * width


def test_resamples_are_those_of_a_loop():
    errors, units = errors_of(1, n=7)
    rng = np.random.default_rng(0)
    expected = []
    for _ in range(50):
        counts = rng.multinomial(7, np.full(7, 1 / 7))
        rows = np.repeat(np.arange(7), counts)
        expected.append(errors[rows].sum() / units[rows].sum())
    assert statistics.resampled_rates(errors, units, 50) == pytest.approx(expected)


def test_chunks_do_not_change_the_draws(monkeypatch):
    errors, units = errors_of(2, n=10)
    whole = statistics.resampled_rates(errors, units, 64)
    monkeypatch.setattr(statistics, "KEPT", 0)  # else the same draws are taken again
    monkeypatch.setattr(statistics, "CHUNK", 70)
    assert np.array_equal(statistics.resampled_rates(errors, units, 64), whole)


def test_a_pair_shares_its_resamples():
    a, units = errors_of(3, n=200)
    b = a + (np.arange(200) % 5 == 0)  # always a little worse: far less than the interval of a
    found = statistics.paired(a, b, units)
    alone = statistics.rate(a, units)
    assert found.value == pytest.approx(40 / units.sum())
    assert found.low > 0 and found.is_significant
    assert found.high - found.low < 0.5 * (alone.high - alone.low)
    same = statistics.paired(a, a, units)
    assert (same.value, same.p, same.is_significant) == (0, 1.0, False)


def test_p_is_right_under_the_null():
    """Two systems with equal rates are called different in about one of twenty comparisons."""
    rng = np.random.default_rng(5)
    units = np.full(80, 6)
    ps = []
    for _ in range(300):
        a, b = rng.poisson(1.2, 80), rng.poisson(1.2, 80)
        ps.append(statistics.paired(a, b, units, resamples=200).p)
    # 15 expected; the binomial's 99.9 % range is 4 to 30
    assert 4 <= sum(p < 0.05 for p in ps) <= 30


def test_reliability_is_scikit_learns():
    calibration = pytest.importorskip("sklearn.calibration")
    rng = np.random.default_rng(6)
    confidence = rng.random(4000) ** 0.3
    right = rng.random(4000) < confidence**2
    found = statistics.reliability(confidence, right, bins=12)
    accuracy, mean = calibration.calibration_curve(right, confidence, n_bins=12)
    some = found.count > 0
    assert found.accuracy[some] == pytest.approx(accuracy)
    assert found.confidence[some] == pytest.approx(mean)
    slow = 0.0
    for low, high in zip(found.edges[:-1], found.edges[1:], strict=True):
        inside = [i for i, c in enumerate(confidence) if low < c <= high]
        if inside:
            gap = np.mean(right[inside]) - np.mean(confidence[inside])
            slow += len(inside) / 4000 * abs(gap)
    assert found.ece == pytest.approx(slow)


def test_confidences_of_0_and_1_have_a_bin():
    found = statistics.reliability([0.0, 1.0, 1.0], [False, True, False], bins=4)
    assert found.count.tolist() == [1, 0, 0, 2]
    assert found.ece == pytest.approx(2 / 3 * 0.5)


def test_risk_coverage_drops_the_most_uncertain_first():
    errors, units = errors_of(7, n=15)
    uncertainty = np.random.default_rng(8).permutation(15) / 15
    coverage, risk = statistics.risk_coverage(errors, units, uncertainty)
    for kept in range(1, 16):
        rows = sorted(range(15), key=lambda i: uncertainty[i])[:kept]
        assert coverage[kept - 1] == pytest.approx(units[rows].sum() / units.sum())
        assert risk[kept - 1] == pytest.approx(errors[rows].sum() / units[rows].sum())
    assert statistics.risk_at(coverage, risk, 1.0) == pytest.approx(errors.sum() / units.sum())
    assert statistics.risk_at(coverage, risk, 0.0) == risk[0]
    at = statistics.risk_at(coverage, risk, coverage[9] + 1e-4)
    assert at == risk[9]


def test_the_area_is_smallest_in_the_order_of_the_errors():
    errors, units = errors_of(9, n=60)
    best = statistics.area(*statistics.risk_coverage(errors, units, errors / units))
    for seed in range(20):
        other = np.random.default_rng(seed).random(60)
        assert statistics.area(*statistics.risk_coverage(errors, units, other)) >= best
    flat = statistics.area(*statistics.risk_coverage(np.ones(9), np.full(9, 4), np.arange(9)))
    assert flat == pytest.approx(0.25)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=4, max_size=60))
@settings(max_examples=60, deadline=None)
def test_ranking_is_scipys_and_scikit_learns(pairs):
    scipy = pytest.importorskip("scipy.stats")
    metrics = pytest.importorskip("sklearn.metrics")
    score, wrong = map(np.array, zip(*pairs, strict=True))
    groups = np.arange(len(pairs))
    found = statistics.auroc(score, wrong, groups, resamples=2).value
    if len(set(wrong.tolist())) < 2:
        assert np.isnan(found)
        assert np.isnan(statistics.spearman(score, wrong))
        return
    assert found == pytest.approx(metrics.roc_auc_score(wrong, score))
    if len(set(score.tolist())) > 1:
        theirs = scipy.spearmanr(score, wrong).statistic
        assert statistics.spearman(score, wrong) == pytest.approx(theirs)


def test_the_interval_of_the_ranking_resamples_utterances():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(11)
    groups = np.repeat(np.arange(25), rng.integers(2, 9, 25))
    wrong = rng.random(len(groups)) < 0.3
    score = np.round(rng.normal(size=len(groups)) + wrong, 1)
    found = statistics.auroc(score, wrong, groups, resamples=100)
    again = np.random.default_rng(0)
    slow = []
    for _ in range(100):
        counts = again.multinomial(25, np.full(25, 1 / 25))
        rows = [i for i, g in enumerate(groups) for _ in range(counts[g])]
        slow.append(metrics.roc_auc_score(wrong[rows], score[rows]))
    assert [found.low, found.high] == pytest.approx(np.quantile(slow, (0.025, 0.975)))
    assert found.value == pytest.approx(metrics.roc_auc_score(wrong, score))
