"""k-means against scikit-learn's, against plain loops, and on what it must refuse."""

import numpy as np
import pytest

from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.labels import kmeans

PUBLIC = {
    "n_init": 20,
    "batch_size": 10000,
    "max_iter": 100,
    "max_no_improvement": 100,
    "reassignment_ratio": 0.0,
}
"""The setting of MiniBatchKMeans that all public HuBERT recipes share."""


def mixture(frames=4000, clusters=40, dim=12, spread=0.3, seed=0):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(clusters, dim)) * 3
    x = means[rng.integers(clusters, size=frames)] + spread * rng.normal(size=(frames, dim))
    return x.astype(np.float32)


def plain_inertia(x, c):
    x, c = x.astype(np.float64), c.astype(np.float64)
    return np.mean([((c - row) ** 2).sum(1).min() for row in x])


def heavy(freedom):
    return lambda rng, n: rng.standard_t(freedom, size=(n, 8))


def together(rng, n):
    """Heavy tails whose dimensions are far together."""
    return rng.normal(size=(n, 8)) / np.sqrt(rng.chisquare(1.2, size=(n, 1)))


def correlated(rng, n):
    return rng.normal(size=(n, 8)) @ (rng.normal(size=(8, 8)) / np.arange(1, 9)[:, None])


def duplicated(rng, n):
    return rng.normal(size=(n // 10, 8))[rng.integers(n // 10, size=n)]


KINDS = {
    "mixture": lambda rng, n: mixture(n, 90, 8, 1.0, rng.integers(99)),
    "normal": lambda rng, n: rng.normal(size=(n, 8)),
    "t(2)": heavy(2),
    "t(1.2)": heavy(1.2),
    "together": together,
    "lognormal": lambda rng, n: rng.lognormal(0, 1.5, size=(n, 8)),
    "correlated": correlated,
    "duplicated": duplicated,
}


@pytest.mark.parametrize("kind", KINDS)
def test_as_good_as_the_setting_of_all_public_recipes(kind):
    from sklearn.cluster import MiniBatchKMeans

    ratios = []
    for seed in range(3):
        x = KINDS[kind](np.random.default_rng(seed), 5000).astype(np.float32)
        public = MiniBatchKMeans(40, random_state=seed, **PUBLIC).fit(x).cluster_centers_
        ours = kmeans.fit(x, 40, seed)
        assert ours.shape == (40, 8) and ours.dtype == np.float32
        ratios.append(plain_inertia(x, ours) / plain_inertia(x, public))
    assert np.mean(ratios) <= 1 and max(ratios) < 1.015, ratios


def test_one_seeding_is_as_good_as_a_random_start():
    """What faiss and others begin with; ours after one iteration on all frames, theirs after 25."""
    from sklearn.cluster import KMeans

    ratios = []
    for seed in range(5):
        x = mixture(seed=seed, clusters=60, spread=0.5)
        theirs = KMeans(40, init="random", n_init=1, max_iter=25, random_state=seed, tol=0.0).fit(x)
        ours = kmeans.fit(x, 40, seed, max_iterations=1, seedings=1)
        ratios.append(plain_inertia(x, ours) / plain_inertia(x, theirs.cluster_centers_))
    assert np.mean(ratios) < 1, ratios


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
    """A seeding that leaves clusters without frames; no centroid may stay there unused."""
    import torch

    x = torch.from_numpy(mixture(clusters=5, spread=0.5))
    start = torch.cat([x[:4], torch.full((3, 12), 1e3)])
    c = kmeans._lloyd(x, start, 50)
    ids = kmeans._assign(x, c)[0]
    assert len(ids.unique()) == 7 and c.abs().max() < 100


def few(different, frames=6000, dim=8, scale=1.0, seed=0):
    """Frames of which ``different`` differ; nearly all of them are the first one."""
    rng = np.random.default_rng(seed)
    rows = scale * rng.normal(size=(different, dim))
    ids = np.concatenate([np.arange(different), np.zeros(frames - different, int)])
    return rows[rng.permutation(ids)].astype(np.float32)


@pytest.mark.parametrize("frames", [60, 9000])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("different", [1, 2, 29, 30, 31])
def test_as_many_clusters_as_different_frames_and_no_more(different, scale, frames):
    x = few(different, frames, scale=scale)
    assert len(np.unique(x, axis=0)) == different
    if different < 30:
        with pytest.raises(DataError, match=f"only {different} of the frames differ, 30 clusters"):
            kmeans.fit(x, 30, 0)
        return
    c = kmeans.fit(x, 30, 0)
    assert len(np.unique(c, axis=0)) == 30
    if different == 30:
        assert plain_inertia(x, c) < 1e-9 * scale**2


def test_minus_zero_is_zero():
    x = np.zeros((9, 2), np.float32)
    x[0], x[1] = -0.0, 1.0
    with pytest.raises(DataError, match="only 2 of the frames differ"):
        kmeans.fit(x, 3)


def test_neighbours_are_different_frames():
    """Numbers that float32 only just tells apart, far from the origin of the others."""
    x = np.repeat(np.float32([[1000.0, 0.0]]), 50, axis=0)
    x[:5, 0] = np.nextafter(np.float32(1000.0), np.float32(2000.0))
    x[5:9] = 0.0
    c = kmeans.fit(x, 3)
    assert len(np.unique(c, axis=0)) == 3 and plain_inertia(x, c) < 1e-6


@pytest.mark.parametrize(
    ("features", "clusters", "error", "message"),
    [
        (mixture(9), 10, DataError, "9 frames are fewer than 10 clusters"),
        (mixture(9), 0, ConfigError, "at least 1, not 0"),
        (np.full((9, 2), np.nan, np.float32), 2, DataError, "NaN or infinite"),
        (np.ones((50, 2), np.float32), 3, DataError, "is the speech silent"),
    ],
)
def test_refused(features, clusters, error, message):
    with pytest.raises(error, match=message):
        kmeans.fit(features, clusters, 0)
