"""PCA before k-means against scikit-learn's, and its labels against those of the coordinates."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from espnet_dice.features import fbank, mfcc
from espnet_dice.hubert import upstreams
from espnet_dice.io.errors import ConfigError
from espnet_dice.labels import kmeans, pca, quantizer, store
from espnet_dice.stages import labels
from espnet_dice.stages.kmeans import make_quantizer
from tests.corpus import noise
from tests.stages.test_labels import make_dump, speech_of


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(20000, 12)) @ rng.normal(size=(12, 30)) + 3
    return (mixed + 0.1 * rng.normal(size=mixed.shape)).astype(np.float32)


def test_directions_are_scikit_learns(frames):
    ours, theirs = pca.fit(frames, 5), PCA(5, svd_solver="full").fit(frames.astype(np.float64))
    signs = np.sign((ours.basis * theirs.components_).sum(1))
    np.testing.assert_allclose(ours.basis, signs[:, None] * theirs.components_, atol=1e-7)
    assert ours.share == pytest.approx(theirs.explained_variance_ratio_.sum())
    wanted = theirs.transform(frames.astype(np.float64)) * signs
    np.testing.assert_allclose(ours.coordinates(frames), wanted, rtol=1e-4, atol=1e-4)
    assert (np.take_along_axis(ours.basis, abs(ours.basis).argmax(1)[:, None], 1) > 0).all()


def test_the_nearest_lifted_centroid_is_the_nearest_of_the_coordinates(frames):
    found = pca.fit(frames, 4)
    y = found.coordinates(frames)
    centroids = kmeans.fit(y, 20)
    lifted = found.lifted(centroids)
    here, there = cdist(frames, lifted), cdist(y, centroids)
    least = np.sort(there, axis=1)
    sure = least[:, 1] - least[:, 0] > 1e-4
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(here.argmin(1)[sure], there.argmin(1)[sure])
    rest = here**2 - there**2
    np.testing.assert_allclose(rest, rest[:, :1] + 0 * rest, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("number", [0, 31])
def test_as_many_directions_as_there_are(frames, number):
    with pytest.raises(ConfigError, match=f"--pca {number}: give from 1 to 30"):
        pca.fit(frames, number)


def test_a_quantizer_of_directions_and_its_labels(tmp_path):
    train = make_dump(tmp_path, "train", 12, 0.3)
    km = tmp_path / "km"
    assert make_quantizer("mfcc_mel", 0, 6, [train], km, directions=8)
    assert not make_quantizer("mfcc_mel", 0, 6, [train], km, directions=8)
    found = quantizer.load(km)
    assert found.centroids.shape == (6, 119)
    labels.label_sets("mfcc_mel", 0, km, [train], tmp_path / "l")
    reader = store.Reader(tmp_path / "l/train")
    x = {u: upstreams.load("mfcc_mel").features(w).numpy() for u, w in speech_of(train).items()}
    theirs = PCA(8, svd_solver="full").fit(np.concatenate(list(x.values())).astype(np.float64))
    centroids = theirs.transform(found.centroids.astype(np.float64))
    for utt, frames in x.items():
        d = cdist(theirs.transform(frames.astype(np.float64)), centroids)
        two = np.sort(d, axis=1)[:, :2]
        sure = two[:, 1] - two[:, 0] > 1e-3
        np.testing.assert_array_equal(reader.ids(utt)[sure], d.argmin(1)[sure])
    # centroids lie in the plane of the directions
    back = theirs.inverse_transform(centroids)
    np.testing.assert_allclose(back, found.centroids, rtol=1e-3, atol=1e-3)
    assert make_quantizer("mfcc_mel", 0, 6, [train], km, directions=7)


def test_mfcc_of_mean_0_and_deviation_1():
    from sklearn.preprocessing import StandardScaler

    wave = noise(0.3).astype(np.float32)
    found = upstreams.load("mfcc_cmvn").features(wave).numpy()
    whole = mfcc(wave, 16000).astype(np.float64)
    np.testing.assert_allclose(found, StandardScaler().fit_transform(whole)[::2], atol=1e-4)
    silent = upstreams.load("mfcc_cmvn").features(np.zeros(4000, np.float32)).numpy()
    assert abs(silent).max() < 0.1


def test_mfcc_beside_log_mel():
    wave = noise(0.3).astype(np.float32)
    found = upstreams.load("mfcc_mel").features(wave).numpy()
    np.testing.assert_array_equal(found[:, :39], mfcc(wave, 16000)[::2])
    np.testing.assert_array_equal(found[:, 39:], fbank(wave, 16000)[::2])
