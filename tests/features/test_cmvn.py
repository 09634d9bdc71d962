import numpy as np
import pytest

from espnet_dice.features import GlobalStats
from espnet_dice.io.errors import DataError


@pytest.fixture
def utterances():
    rng = np.random.default_rng(0)
    return [rng.normal(3, 2, (n, 83)).astype(np.float32) for n in (7, 1, 120, 0, 31)]


def stats_of(utterances):
    stats = GlobalStats()
    for features in utterances:
        stats.add(features)
    return stats


def test_agrees_with_numpy(utterances):
    stats = stats_of(utterances)
    frames = np.concatenate(utterances).astype(np.float64)
    assert stats.count == 159
    np.testing.assert_allclose(stats.mean, frames.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(stats.std, frames.std(axis=0), rtol=1e-9)


def test_shards_merge_to_the_same(utterances):
    whole = stats_of(utterances)
    merged = stats_of(utterances[:2])
    merged.merge(stats_of(utterances[2:]))
    merged.merge(GlobalStats())
    assert merged.count == whole.count
    np.testing.assert_allclose(merged.sum, whole.sum, rtol=1e-12)
    np.testing.assert_allclose(merged.sum_square, whole.sum_square, rtol=1e-12)


def test_espnet_normalises_with_the_file(utterances, tmp_path):
    torch = pytest.importorskip("torch")
    mvn = pytest.importorskip("espnet2.layers.global_mvn")
    path = tmp_path / "feats_stats.npz"
    stats_of(utterances).save(path)
    frames = np.concatenate(utterances)
    got, _ = mvn.GlobalMVN(path)(torch.tensor(frames)[None].clone(), torch.tensor([len(frames)]))
    want = (frames - frames.mean(axis=0)) / frames.std(axis=0)
    np.testing.assert_allclose(got[0].numpy(), want, atol=1e-4)


def test_saves_and_loads(utterances, tmp_path):
    path = tmp_path / "feats_stats.npz"
    stats = stats_of(utterances)
    stats.save(path)
    assert sorted(np.load(path)) == ["count", "sum", "sum_square"]
    again = GlobalStats.load(path)
    assert again.count == stats.count
    np.testing.assert_array_equal(again.sum_square, stats.sum_square)
    again.add(utterances[0])
    assert again.count == stats.count + 7


def test_refuses_bad_features_and_counts_nothing_of_them():
    stats = GlobalStats(3)
    bad = np.zeros((4, 3))
    bad[2, 1] = np.nan
    for features, message in ((bad, "NaN"), (np.zeros((4, 2)), "3"), (np.zeros(3), "frames")):
        with pytest.raises(ValueError, match=message):
            stats.add(features)
    assert stats.count == 0
    with pytest.raises(DataError, match="empty"):
        stats.save("never-written.npz")
    with pytest.raises(ValueError, match="2 and 3"):
        stats.merge(GlobalStats(2))


def test_refuses_a_damaged_file(utterances, tmp_path):
    path = tmp_path / "feats_stats.npz"
    stats_of(utterances).save(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="feats_stats.npz"):
        GlobalStats.load(path)
    np.savez(path, count=3)
    with pytest.raises(DataError, match="feats_stats.npz"):
        GlobalStats.load(path)
