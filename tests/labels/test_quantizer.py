"""Centroids on disk, those of others, and pickles that are not opened unasked."""

import copy
import pickle

import joblib
import numpy as np
import pytest

from espnet_dice.io.errors import ConfigError, DataError, StaleError
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.labels import quantizer

CENTROIDS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


class Leaves:
    """Unpickling it leaves a trace."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_round_trip(tmp_path):
    made = Fingerprint("kmeans", {"clusters": 5}, {"source": "abc"})
    quantizer.save(tmp_path, CENTROIDS)
    with pytest.raises(StaleError, match=r"run k-means .stage 3"):
        quantizer.load(tmp_path)
    made.finish(tmp_path)
    found = quantizer.load(tmp_path)
    np.testing.assert_array_equal(found.centroids, CENTROIDS)
    assert (found.key, found.source_key) == (made.key, "abc")


@pytest.fixture(scope="module")
def kmeans():
    from sklearn.cluster import MiniBatchKMeans

    x = np.random.default_rng(1).normal(size=(100, 3))
    return MiniBatchKMeans(4, random_state=np.random.RandomState(0)).fit(x)


def test_a_scikit_learn_pickle_gives_its_centroids(tmp_path, kmeans):
    joblib.dump(kmeans, tmp_path / "km.bin")
    (tmp_path / "km.pkl").write_bytes(pickle.dumps(kmeans))
    for name in ("km.bin", "km.pkl"):
        found = quantizer.read(tmp_path / name)
        np.testing.assert_array_equal(found, kmeans.cluster_centers_.astype(np.float32))


def test_nothing_that_a_quantizer_holds_is_run(tmp_path, kmeans):
    trace = tmp_path / "trace"
    bad = copy.copy(kmeans)
    bad.extra = Leaves(trace)
    joblib.dump(bad, tmp_path / "bad.bin")
    found = quantizer.read(tmp_path / "bad.bin")
    np.testing.assert_array_equal(found, kmeans.cluster_centers_.astype(np.float32))
    assert not trace.exists()
    joblib.load(tmp_path / "bad.bin")
    assert trace.exists()  # an attack indeed


def test_a_compressed_pickle_is_read_only_when_trusted(tmp_path, kmeans):
    joblib.dump(kmeans, tmp_path / "km.bin", compress=3)
    with pytest.raises(ConfigError, match=r"km\.bin: neither .*any code.* --trust_pickle true"):
        quantizer.read(tmp_path / "km.bin")
    found = quantizer.read(tmp_path / "km.bin", trust_pickle=True)
    np.testing.assert_array_equal(found, kmeans.cluster_centers_.astype(np.float32))


def test_pickles_without_centroids(tmp_path, kmeans):
    unfitted = type(kmeans)(4)
    joblib.dump(unfitted, tmp_path / "km.bin")
    with pytest.raises(ConfigError, match=r"MiniBatchKMeans without numbers as cluster_centers_"):
        quantizer.read(tmp_path / "km.bin")
    with pytest.raises(DataError, match="MiniBatchKMeans has no cluster_centers_"):
        quantizer.read(tmp_path / "km.bin", trust_pickle=True)
    joblib.dump(kmeans, tmp_path / "km.bin")
    whole = (tmp_path / "km.bin").read_bytes()
    (tmp_path / "km.bin").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"km\.bin: cut short"):
        quantizer.read(tmp_path / "km.bin")
    with pytest.raises(DataError, match=r"km\.bin"):
        quantizer.read(tmp_path / "km.bin", trust_pickle=True)


def test_an_attacking_pickle_leaves_no_trace(tmp_path):
    trace = tmp_path / "trace"
    (tmp_path / "bad.bin").write_bytes(pickle.dumps(Leaves(trace)))
    objects = np.array([Leaves(trace)], dtype=object)
    np.save(tmp_path / "bad.npy", objects, allow_pickle=True)
    with pytest.raises(ConfigError, match="--trust_pickle true"):
        quantizer.read(tmp_path / "bad.bin")
    with pytest.raises(DataError, match="Python objects"):
        quantizer.read(tmp_path / "bad.npy")
    assert not trace.exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(3), r"expected centroids \(K, D\), found float64 \(3,\)"),
        (np.full((2, 2), np.inf), "NaN or infinite"),
        (np.array([["a"]]), "expected centroids"),
    ],
)
def test_no_centroids(tmp_path, value, message):
    np.save(tmp_path / "c.npy", value)
    with pytest.raises(DataError, match=message):
        quantizer.read(tmp_path / "c.npy")


def test_missing_and_cut_short(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        quantizer.read(tmp_path / "none.npy")
    np.save(tmp_path / "c.npy", CENTROIDS)
    whole = (tmp_path / "c.npy").read_bytes()
    (tmp_path / "c.npy").write_bytes(whole[:-5])
    with pytest.raises(DataError, match="damaged"):
        quantizer.read(tmp_path / "c.npy")
