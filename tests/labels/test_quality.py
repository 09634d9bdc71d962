"""Cluster use, purity and PNMI against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import homogeneity_score
from sklearn.metrics.cluster import contingency_matrix

from espnet_dice.labels import quality


def test_perplexity():
    assert quality.perplexity(np.array([5, 5, 5, 5])) == pytest.approx(4)
    assert quality.perplexity(np.array([0, 7, 0])) == pytest.approx(1)
    assert quality.perplexity(np.array([1, 3])) == pytest.approx(4 / 3**0.75)


def test_agreement():
    rng = np.random.default_rng(0)
    phones = rng.integers(0, 6, 2000)
    clusters = np.where(rng.random(2000) < 0.6, phones * 2, rng.integers(0, 20, 2000))
    joint = contingency_matrix(phones, clusters)
    got = quality.agreement(np.pad(joint, ((0, 1), (0, 3))))  # empty rows and columns do not count
    assert got["pnmi"] == pytest.approx(homogeneity_score(phones, clusters))
    assert got["phone_purity"] == pytest.approx(joint.max(0).sum() / 2000)
    assert got["cluster_purity"] == pytest.approx(joint.max(1).sum() / 2000)


def test_extremes():
    perfect = quality.agreement(np.diag([3, 4, 5]))
    assert list(perfect.values()) == pytest.approx([1, 1, 1])
    useless = quality.agreement(np.full((4, 8), 2))
    assert list(useless.values()) == pytest.approx([1 / 4, 1 / 8, 0])
    assert quality.agreement(np.ones((1, 3)))["pnmi"] == 1
