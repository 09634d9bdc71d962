"""Hard and soft labels against SciPy's distances and against sums written out."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from espnet_dice.labels import targets
from tests.labels.mixture import mixture

BOTH = pytest.mark.parametrize("as_input", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])


@BOTH
def test_hard_labels_are_the_argmin(as_input):
    features, centroids = mixture(5000, 40, 24)
    got = targets.hard_labels(as_input(features), as_input(centroids))
    assert got.dtype in (np.int64, torch.int64)
    assert type(got) is type(as_input(features))
    np.testing.assert_array_equal(got, cdist(features, centroids).argmin(1))


def test_equally_near_centroids_give_the_first():
    features = np.array([[0.0, 0.0], [1.0, 1.0]])
    centroids = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    for xp in (np.asarray, torch.from_numpy):
        assert targets.hard_labels(xp(features), xp(centroids)).tolist() == [0, 0]


def test_near_ties_far_from_the_origin():
    """In float32 |x|² + |c|² - 2xc would lose the difference of 1e-3 altogether."""
    centroids = np.full((2, 64), 1000.0, np.float32)
    centroids[1, 0] += 1.0
    features = np.tile(centroids[:1], (2, 1))
    features[:, 0] += np.array([0.499, 0.501], np.float32)
    assert targets.hard_labels(features, centroids).tolist() == [0, 1]
    np.testing.assert_allclose(targets.margins(features, centroids), [2e-3, 2e-3], rtol=0.05)


@BOTH
@pytest.mark.parametrize("tau", [0.5, 1.0, 5.0])
def test_soft_labels_are_equation_3(as_input, tau):
    features, centroids = (x.astype(np.float64) for x in mixture(6, 7, 5))
    got = targets.soft_labels(as_input(features), as_input(centroids), tau)
    for t, x in enumerate(features):
        rho = [math.sqrt(sum((a - b) ** 2 for a, b in zip(x, c, strict=True))) for c in centroids]
        total = sum(math.exp(-r / tau) for r in rho)
        np.testing.assert_allclose(got[t], [math.exp(-r / tau) / total for r in rho], rtol=1e-10)


def test_soft_labels_have_the_type_of_the_features():
    features, centroids = mixture(3, 4, 5)
    assert targets.soft_labels(features, centroids, 5.0).dtype == np.float32
    half = torch.from_numpy(features).half()
    assert targets.soft_labels(half, torch.from_numpy(centroids), 5.0).dtype == torch.float16
    assert targets.soft_labels(np.ones((2, 5), int), centroids, 5.0).dtype == np.float64


def test_far_away_frames_do_not_overflow():
    got = targets.soft_labels(np.array([[1e6, 0.0]]), np.array([[0.0, 0.0], [-1e6, 0.0]]), 0.1)
    np.testing.assert_array_equal(got, [[1.0, 0.0]])


def test_margins():
    features, centroids = mixture(50, 9, 6)
    wanted = np.sort(cdist(features, centroids), axis=1)
    for xp in (np.asarray, torch.from_numpy):
        got = targets.margins(xp(features), xp(centroids))
        np.testing.assert_allclose(got, wanted[:, 1] - wanted[:, 0], atol=1e-9)
    assert np.isinf(targets.margins(features, centroids[:1])).all()


@BOTH
def test_refuses(as_input):
    x, c = as_input(np.ones((3, 4))), as_input(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="τ"):
        targets.soft_labels(x, c, 0.0)
    with pytest.raises(ValueError, match="expected"):
        targets.hard_labels(x, c[:, :3])
    x[1, 2] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        targets.hard_labels(x, c)


def test_numpy_needs_no_torch():
    code = (
        "import sys, numpy as np; from espnet_dice.labels import codebook, store, targets;"
        "targets.soft_labels(np.ones((2, 3)), np.eye(3), 5.0); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
