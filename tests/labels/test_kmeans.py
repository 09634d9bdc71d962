"""k-means against scikit-learn's, against plain loops, and on what it must refuse."""

import numpy as np
import pytest

from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.labels import kmeans


def mixture(frames=4000, clusters=40, dim=12, spread=0.3, seed=0):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(clusters, dim)) * 3
    x = means[rng.integers(clusters, size=frames)] + spread * rng.normal(size=(frames, dim))
    return x.astype(np.float32)


def plain_inertia(x, c):
    x, c = x.astype(np.float64), c.astype(np.float64)
    return np.mean([((c - row) ** 2).sum(1).min() for row in x])


def test_as_good_as_the_setting_of_all_public_recipes():
    from sklearn.cluster import MiniBatchKMeans

    x = mixture(clusters=100, spread=1.0)
    public = MiniBatchKMeans(60, random_state=0, **kmeans.PUBLIC).fit(x).cluster_centers_
    ours = kmeans.fit(x, 60, seed=0)
    assert ours.shape == (60, 12) and ours.dtype == np.float32
    assert plain_inertia(x, ours) <= 1.005 * plain_inertia(x, public)


def test_ends_where_lloyds_algorithm_ends():
    x = mixture(spread=1.0)
    c = kmeans.fit(x, 20, seed=1, max_iterations=300).astype(np.float64)
    ids = np.array([((c - row) ** 2).sum(1).argmin() for row in x.astype(np.float64)])
    means = np.stack([x[ids == k].mean(0, dtype=np.float64) for k in range(20)])
    step = plain_inertia(x, c) - plain_inertia(x, means)
    assert 0 <= step < 2e-4 * plain_inertia(x, c)


def test_finds_clusters_that_are_there():
    x = mixture(clusters=40, spread=0.05)
    assert plain_inertia(x, kmeans.fit(x, 40, seed=0)) == pytest.approx(12 * 0.05**2, rel=0.05)


def test_inertia_against_plain_loops():
    x, c = mixture(500), mixture(30, seed=3)
    assert kmeans.inertia(x, c) == pytest.approx(plain_inertia(x, c), rel=1e-5)


def test_far_from_the_origin():
    x = mixture() + 1000
    assert plain_inertia(x, kmeans.fit(x, 40, seed=0)) < 4


def test_same_seed_same_centroids():
    x = mixture()
    np.testing.assert_array_equal(kmeans.fit(x, 10, seed=4), kmeans.fit(x, 10, seed=4))
    assert np.abs(kmeans.fit(x, 10, seed=4) - kmeans.fit(x, 10, seed=5)).max() > 0


def test_torch_in_is_numpy_in():
    import torch

    x = mixture()
    np.testing.assert_array_equal(kmeans.fit(x, 7, 0), kmeans.fit(torch.from_numpy(x), 7, 0))


def test_empty_clusters_are_filled():
    """A seeding that leaves a cluster without frames; no centroid may stay there unused."""
    import torch

    x = torch.from_numpy(mixture(clusters=5, spread=0.5))
    start = torch.cat([x[:4], torch.full((1, 12), 1e3)])
    c = kmeans._lloyd(x, start, 50, 0.0)
    ids = kmeans._assign(x, c)[0]
    assert len(ids.unique()) == 5 and c.abs().max() < 100


def test_sklearn_backend():
    x = mixture()
    assert plain_inertia(x, kmeans.fit(x, 40, 0, "sklearn")) < 3


@pytest.mark.parametrize(
    ("features", "clusters", "backend", "error", "message"),
    [
        (mixture(9), 10, "torch", DataError, "9 frames are fewer than 10 clusters"),
        (mixture(9), 0, "torch", ConfigError, "at least 1, not 0"),
        (mixture(9), 2, "kmeans", ConfigError, "no such k-means backend 'kmeans'"),
        (np.full((9, 2), np.nan, np.float32), 2, "torch", DataError, "NaN or infinite"),
        (np.ones((50, 2), np.float32), 3, "torch", DataError, "is the speech silent"),
    ],
)
def test_refused(features, clusters, backend, error, message):
    with pytest.raises(error, match=message):
        kmeans.fit(features, clusters, 0, backend)
