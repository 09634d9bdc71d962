import itertools
import random

import numpy as np
import pytest

from espnet_dice.probes.probe_scores import eer, greedy, interval, token_errors


def distance(a, b):
    """Levenshtein distance by the textbook recursion, in a table."""
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (x != y)))
        rows.append(row)
    return rows[-1][-1]


def test_token_errors_against_the_textbook():
    rng = random.Random(0)
    references = [rng.choices("AB C", k=rng.randint(1, 9)) for _ in range(50)]
    results = [rng.choices("AB C", k=rng.randint(0, 9)) for _ in range(50)]
    assert [] in results
    wanted = [[distance(*pair), len(pair[0])] for pair in zip(references, results, strict=True)]
    assert token_errors(references, results).tolist() == wanted
    phones = [["AA", "B"], ["AA B"]]  # tokens are what they are, not what is in them
    assert token_errors(phones, [["AA", "B"], ["AA", "B"]]).tolist() == [[0, 2], [2, 1]]


def test_intervals_against_scipy():
    """Of a mean and of a ratio of sums, whose resamples are drawn by others."""
    from scipy.stats import bootstrap

    rng = np.random.default_rng(0)
    pairs = np.stack([rng.poisson(3, 300), rng.integers(5, 30, 300)], 1).astype(float)

    def ratio(errors, tokens, axis=-1):
        return 100 * errors.sum(axis) / tokens.sum(axis)

    found = bootstrap(
        tuple(pairs.T), ratio, paired=True, method="percentile", n_resamples=4000, rng=1
    ).confidence_interval

    def measure(answers, counts):
        errors, tokens = (counts @ answers).T
        return 100 * errors / tokens

    ends = interval(measure, pairs)
    assert ends == pytest.approx(tuple(found), abs=0.15 * (found.high - found.low))
    assert ends == interval(measure, pairs)


@pytest.mark.parametrize("seed", range(5))
def test_greedy_against_groups(seed):
    best = np.random.default_rng(seed).integers(0, 3, 40)
    joined = [int(k) for k, _ in itertools.groupby(best) if k]
    assert greedy(np.eye(3)[best]) == joined
    assert greedy(np.zeros((0, 3))) == []


def reference_eer(scores, positive):
    """From scikit-learn's ROC, the point on the straight lines between its thresholds."""
    from scipy.interpolate import interp1d
    from scipy.optimize import brentq
    from sklearn.metrics import roc_curve

    false, hit, _ = roc_curve(positive, scores, drop_intermediate=False)
    at = np.linspace(0, 1, len(false))
    miss, accepted = interp1d(at, 1 - hit), interp1d(at, false)
    return 100 * float(accepted(brentq(lambda x: miss(x) - accepted(x), 0, 1, xtol=1e-12)))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("decimals", [8, 0])
def test_eer_against_scikit_learn(seed, decimals):
    rng = np.random.default_rng(seed)
    positive = rng.permutation(np.arange(60) < 7 + 6 * seed)
    scores = np.round(rng.normal(size=60) + positive, decimals)  # 0: many are equal
    assert eer(scores, positive) == pytest.approx(reference_eer(scores, positive), abs=1e-6)


def test_eer_of_answers_that_count_several_times():
    """As if each stood there as often: what a bootstrap draws."""
    rng = np.random.default_rng(0)
    positive = rng.random(40) < 0.3
    scores = np.round(rng.normal(size=40) + positive, 1)
    counts = rng.integers(0, 4, (20, 40))
    found = eer(scores, positive, counts)
    for of_one, one in zip(counts, found, strict=True):
        repeated = np.repeat(scores, of_one), np.repeat(positive, of_one)
        assert one == pytest.approx(reference_eer(*repeated), abs=1e-6)
    assert np.isnan(eer(scores, positive, counts * positive)).all()


def test_eer_of_the_extremes():
    positive = np.array([True, False, True, False])
    assert eer(np.array([3.0, 1.0, 2.0, 0.0]), positive) == 0
    assert eer(np.array([0.0, 2.0, 1.0, 3.0]), positive) == 100
    assert eer(np.zeros(4), positive) == 50
