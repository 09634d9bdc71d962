"""The label code: exact hard labels, soft labels as close as promised, in the promised bytes."""

import logging
import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.special import rel_entr, softmax
from scipy.stats import entropy

from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.labels import codebooks, codec
from espnet_dice.labels.codebook import Codebook
from tests.labels.mixture import mixture

K, DIM = 100, 128


def records_of(codebook, features):
    """As a reader and ESPnet's dataset hand them over."""
    return torch.from_numpy(codebook.encode(features).astype(np.int64))


def kl(codebook, features, tau):
    """Mean KL(exact ‖ decoded), by SciPy."""
    exact = softmax(-cdist(features, codebook.centroids) / tau, axis=1)
    decoded = codec.distances(records_of(codebook, features), codebook).double().numpy()
    return rel_entr(exact, softmax(-decoded / tau, axis=1)).sum(1).mean()


@pytest.fixture(scope="module")
def data():
    return mixture(6000, K, DIM)


@pytest.fixture(scope="module")
def codebook(data):
    return codec.fit(data[1], data[0][:4000])


@pytest.mark.parametrize("tau", [1.0, 5.0])
@pytest.mark.parametrize("fall", [0.0, 0.7])
def test_the_smallest_code_that_is_good_enough(tau, fall):
    features, centroids = mixture(6000, K, DIM, fall=fall)
    code = codec.fit(centroids, features[:4000], tau=tau)
    assert kl(code, features[4000:], tau) < 1.2e-3  # 1e-3 was measured on other frames
    assert max(error for t, error in code.kl.items() if t >= tau) <= 1e-3
    assert code.bytes_per_frame <= 128
    if code.bytes_per_frame > 4:
        fewer = codec.fit(centroids, features[:4000], tau, max_bytes=code.bytes_per_frame - 2)
        assert fewer.bytes_per_frame == code.bytes_per_frame - 2
        assert max(error for t, error in fewer.kl.items() if t >= tau) > 1e-3


def test_at_k_500():
    """The size that the paper uses: ≤ 128 bytes and ≤ 1e-3 nats at τ = 5 are the requirement."""
    features, centroids = mixture(3000, 500, 768, fall=0.0)  # the hardest spectrum
    code = codec.fit(centroids, features[:2200], tau=5.0)
    assert code.bytes_per_frame <= 128
    assert kl(code, features[2200:], 5.0) <= 1e-3


def test_the_error_that_is_written_down_is_the_error(data, codebook):
    for tau, said in codebook.kl.items():
        assert said == pytest.approx(kl(codebook, data[0][:1000], tau), rel=1e-3)


def test_soft_labels_spread_as_scipys_entropy_says(data, codebook):
    features, centroids = data
    exact = cdist(features[:1000].astype(np.float64), centroids)
    assert list(codebook.spread) == [0.25, 0.5, 1, 2, 5, 10]
    for tau, said in codebook.spread.items():
        entropies = entropy(softmax(-exact / tau, axis=1), axis=1)
        assert said == pytest.approx(np.exp(entropies.mean()), rel=1e-4)
    assert 1 <= codebook.spread[0.25] < codebook.spread[10] <= K


def test_the_error_is_not_that_of_the_frames_fitted_to():
    features, centroids = mixture(3300, 200, 256, fall=0.0)
    code = codec.fit(centroids, features[:300], max_bytes=40, max_kl=1e-9)
    assert code.kl[1.0] == pytest.approx(kl(code, features[300:], 1.0), rel=0.25)
    assert kl(code, features[75:300], 1.0) < 0.5 * code.kl[1.0]


def test_hard_labels_are_exact(data, codebook):
    records = records_of(codebook, data[0])
    nearest = cdist(*data).argmin(1)
    np.testing.assert_array_equal(records[:, 0], nearest)
    decoded = codec.distances(records, codebook)
    np.testing.assert_array_equal(decoded.argmin(1), nearest)


def test_no_centroid_comes_nearer_than_that_of_the_hard_label(data):
    """Not even half-way between two, where any error would do."""
    features, centroids = data
    code = codec.fit(centroids, features[:2000], tau=0.1, max_bytes=400, max_kl=1e-9)
    half_way = (centroids[:50] + centroids[50:]) / 2 + 1e-4 * features[:50]
    records = records_of(code, half_way)
    decoded = codec.distances(records, code)
    own = decoded.gather(1, records[:, :1])
    assert torch.equal(own[:, 0], decoded.min(1).values)
    np.testing.assert_allclose(own[:, 0], cdist(half_way, centroids).min(1), atol=code.own_step)


def test_the_nearest_distance_is_exact_and_others_are_close(data, codebook):
    exact = cdist(*data)
    decoded = codec.distances(records_of(codebook, data[0]), codebook).numpy()
    own = exact.min(1)
    np.testing.assert_allclose(decoded.min(1), own, atol=codebook.own_step)
    assert np.sqrt(((decoded - exact) ** 2).mean()) < 0.1 * exact.std()


def test_decoding_against_the_definition(data, codebook):
    """Bit by bit and centroid by centroid, in Python's floats."""
    features = np.concatenate([data[0][:4], 5 * data[0][4:6]])  # two are beyond the quantisers
    for x, record in zip(features, codebook.encode(features), strict=True):
        z, own = int(record[0]), record[1] * codebook.own_step
        stream = [(int(word) >> i) & 1 for word in record[2:] for i in range(16)]
        y, at = [], 0
        for bits, step in zip(codebook.bits, codebook.steps, strict=True):
            level = sum(stream[at + i] << i for i in range(bits))
            y.append((level - (2**bits - 1) / 2) * step)
            at += bits
        # the coordinates are those of the residual, each within half a step unless it is cut off
        exact = (x.astype(np.float64) - codebook.centroids[z]) @ codebook.basis
        edge = (2.0**codebook.bits - 1) / 2 * codebook.steps
        error = np.abs(np.array(y) - np.clip(exact, -edge, edge))
        assert (error <= codebook.steps / 2 * (1 + 1e-9)).all()
        got = codec.distances(torch.tensor(record.astype(np.int64)), codebook)
        for i in range(K):
            apart = math.dist(codebook.centroids[z], codebook.centroids[i])
            inner = sum(v * (s[i] - s[z]) for v, s in zip(y, codebook.scores, strict=True))
            squared = max(own**2 + apart**2 - 2 * inner, own**2)
            assert float(got[i]) == pytest.approx(math.sqrt(squared), rel=1e-4)


def test_shapes_and_devices_of_records(data, codebook, monkeypatch):
    records = records_of(codebook, data[0][:24])
    whole = codec.distances(records, codebook)
    assert whole.dtype == torch.float32
    folded = codec.distances(records.int().reshape(2, 3, 4, -1), codebook.as_dict())
    torch.testing.assert_close(folded.reshape(24, -1), whole)
    monkeypatch.setattr(codec, "CHUNK", 7)
    torch.testing.assert_close(codec.distances(records, codebook), whole)


def test_autocast_does_not_reach_the_code(data, codebook):
    records = records_of(codebook, data[0][:100])
    with torch.autocast("cpu", torch.bfloat16):
        got = codec.distances(records, codebook)
    assert torch.equal(got, codec.distances(records, codebook))


def test_what_is_stored_comes_back(tmp_path, data, codebook):
    codebooks.save(codebook, tmp_path / "a")
    codebooks.save(codebook, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again = codebooks.load(tmp_path / "a")
    assert again.kl == codebook.kl
    np.testing.assert_array_equal(again.encode(data[0][:50]), codebook.encode(data[0][:50]))
    for name, table in again.as_dict().items():
        assert torch.equal(table, codebook.as_dict()[name])


def test_damaged_codebooks(tmp_path, codebook):
    with pytest.raises(DataError, match="missing"):
        codebooks.load(tmp_path / "none")
    codebooks.save(codebook, tmp_path / "a")
    whole = (tmp_path / "a").read_bytes()
    for broken in (b"", whole[:100], whole[:-10], b"junk" * 10):
        (tmp_path / "a").write_bytes(broken)
        with pytest.raises(DataError, match="damaged"):
            codebooks.load(tmp_path / "a")


def test_hard_labels_only(tmp_path, data):
    code = Codebook.hard(data[1])
    assert code.bytes_per_frame == 2
    codebooks.save(code, tmp_path / "hard")
    records = codebooks.load(tmp_path / "hard").encode(data[0])
    np.testing.assert_array_equal(records, cdist(*data).argmin(1)[:, None])
    with pytest.raises(ConfigError, match="hard labels only"):
        codec.distances(torch.from_numpy(records.astype(np.int64)), code)


def test_too_few_bytes_are_said(data, caplog):
    with caplog.at_level(logging.WARNING):
        code = codec.fit(data[1], data[0][:2000], tau=0.2, max_bytes=8)
    # here labels are nearly one-hot at 0.2 and need few bytes, but more at τ = 1
    assert code.kl[0.2] < code.kl[1.0]
    assert code.bytes_per_frame == 8
    assert f"{max(code.kl.values()):.1e}" in caplog.text
    assert "--max_bytes" in caplog.text


@pytest.mark.parametrize("clusters, dim", [(1, 4), (2, 3), (5, 2), (40, 3), (3, 40)])
def test_any_number_of_clusters_and_dimensions(clusters, dim):
    rng = np.random.default_rng(0)
    centroids = rng.normal(size=(clusters, dim)).astype(np.float32)
    features = centroids[rng.integers(0, clusters, 400)] + 0.3 * rng.normal(size=(400, dim))
    code = codec.fit(centroids, features)
    assert kl(code, features, 1.0) < 2e-3


def test_frames_on_their_centroids():
    """No residual at all: four bytes say everything."""
    centroids = np.eye(8, dtype=np.float32)
    code = codec.fit(centroids, np.repeat(centroids, 10, axis=0))
    assert code.bytes_per_frame == 4
    assert kl(code, centroids, 1.0) < 1e-9


def test_an_outlier_is_cut_off_not_wrapped(data, codebook):
    far = data[0][:1] + 1e4
    got = codec.distances(records_of(codebook, far), codebook)
    assert torch.isfinite(got).all()
    assert int(got.argmin()) == int(cdist(far, data[1]).argmin())
    assert float(got.min()) == pytest.approx(65535 * codebook.own_step, rel=1e-4)


def test_refuses(data, codebook):
    records = records_of(codebook, data[0][:4])
    with pytest.raises(DataError, match="another label store"):
        codec.distances(records[:, :-1], codebook)
    with pytest.raises(DataError, match="too few"):
        codec.fit(data[1], data[0][:10])
    with pytest.raises(DataError, match="expected"):
        codec.fit(data[1], data[0][:100, :5])
    with pytest.raises(DataError, match="NaN"):
        codec.fit(data[1], np.full((100, DIM), np.nan))
    for wrong in ({"tau": 0}, {"max_kl": 0}, {"max_bytes": 2}):
        with pytest.raises(ConfigError):
            codec.fit(data[1], data[0], **wrong)
    with pytest.raises(ConfigError, match="65536"):
        codec.fit(np.zeros((65537, 1), np.float32), data[0])
