"""Stage 3: a quantizer from streamed speech, the same twice; none from speech that says nothing."""

import shutil

import joblib
import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans

from espnet_dice.features import mfcc
from espnet_dice.hubert import upstreams
from espnet_dice.io.audio import AudioOptions
from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.labels import kmeans, quantizer
from espnet_dice.labels.sample import collect
from espnet_dice.probes.probe_corpus import Corpus, Settings
from espnet_dice.records import feature_dir
from espnet_dice.stages.features import make_features
from espnet_dice.stages.kmeans import main, make_quantizer, use_given
from tests.corpus import make_corpus, noise, write_audio
from tests.hubert import fairseq_checkpoints, tiny_models


def make_dump(root, name, utterances=12, seconds=0.3):
    make_corpus(root / "data" / name, utterances, seconds)
    make_features(root / "data" / name, root / "dump" / name, "raw")
    return feature_dir.load(root / "dump" / name)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("kmeans")
    return root, make_dump(root, "train")


def test_clusters_the_features_of_the_speech(world, tmp_path):
    _, train = world
    assert make_quantizer("mfcc", 0, 8, [train], tmp_path / "km")
    found = quantizer.load(tmp_path / "km")
    waves = feature_dir.Waves(train)
    frames = np.concatenate([mfcc(waves[utt], 16000)[::2] for utt in sorted(train.lengths)])
    np.testing.assert_array_equal(collect(upstreams.SPECTRAL["mfcc"], [train], 10**6, 0), frames)
    assert found.source_key == upstreams.layer_key_of("mfcc", 0)
    # as good as scikit-learn's exact k-means
    from sklearn.cluster import KMeans

    theirs = KMeans(8, n_init=3, random_state=0).fit(frames).inertia_ / len(frames)
    assert kmeans.inertia(frames, found.centroids) < 1.05 * theirs


def test_the_same_again_and_another_with_another_seed(world, tmp_path):
    _, train = world
    before = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert make_quantizer("mfcc", 0, 8, [train], tmp_path / name, seed, sample_frames=60)
        before[name] = (tmp_path / name / "centroids.npy").read_bytes()
    assert before["a"] == before["b"] != before["c"]
    assert make_quantizer("mfcc", 0, 8, [train], tmp_path / "d", 0, sample_frames=60, seedings=1)
    assert (tmp_path / "d/centroids.npy").read_bytes() != before["a"]
    with pytest.raises(ConfigError, match="--seedings 0: give at least 1"):
        make_quantizer("mfcc", 0, 8, [train], tmp_path / "e", seedings=0)
    assert not make_quantizer("mfcc", 0, 8, [train], tmp_path / "a", 0, sample_frames=60)
    assert make_quantizer("mfcc", 0, 9, [train], tmp_path / "a", 0, sample_frames=60)
    assert len(quantizer.load(tmp_path / "a").centroids) == 9


def test_more_clusters_than_frames(world, tmp_path):
    _, train = world
    with pytest.raises(DataError, match="20 frames are fewer than 30 clusters"):
        make_quantizer("mfcc", 0, 30, [train], tmp_path / "km", sample_frames=20)
    assert not (tmp_path / "km").exists()


def test_silent_speech(tmp_path):
    make_corpus(tmp_path / "data", 3)
    for path in (tmp_path / "data/audio").iterdir():
        write_audio(path, np.zeros(16000))
    make_features(tmp_path / "data", tmp_path / "dump", "raw")
    with pytest.raises(DataError, match="silent"):
        make_quantizer("mfcc", 0, 4, [feature_dir.load(tmp_path / "dump")], tmp_path / "km")
    assert not (tmp_path / "km").exists()


def test_speech_in_two_sets_is_refused(world, tmp_path):
    _, train = world
    with pytest.raises(DataError, match="u000 is in another set too"):
        make_quantizer("mfcc", 0, 4, [train, train], tmp_path / "km")


def test_a_layer_that_does_not_exist(world, tmp_path):
    _, train = world
    tiny_models.save(tmp_path / "hubert")
    with pytest.raises(ConfigError, match="no layer 4: its layers are 0 to 3"):
        make_quantizer(str(tmp_path / "hubert"), 4, 4, [train], tmp_path / "km")
    assert make_quantizer(str(tmp_path / "hubert"), 3, 4, [train], tmp_path / "km")
    assert quantizer.load(tmp_path / "km").centroids.shape == (4, tiny_models.WIDTH["hidden_size"])


def test_given_centroids(tmp_path):
    centroids = np.random.default_rng(0).normal(size=(5, 39)).astype(np.float32)
    np.save(tmp_path / "c.npy", centroids)
    assert use_given(tmp_path / "c.npy", "mfcc", 0, tmp_path / "km")
    assert not use_given(tmp_path / "c.npy", "mfcc", 0, tmp_path / "km")
    np.testing.assert_array_equal(quantizer.load(tmp_path / "km").centroids, centroids)
    np.save(tmp_path / "d.npy", centroids[:, :7])
    with pytest.raises(ConfigError, match="7-d centroids.*another model"):
        use_given(tmp_path / "d.npy", "mfcc", 0, tmp_path / "km2")
    with pytest.raises(ConfigError, match="No such file"):
        use_given(tmp_path / "none.npy", "mfcc", 0, tmp_path / "km2")


def test_a_pickled_quantizer_for_a_teacher_of_fairseqs(tmp_path):
    teacher = fairseq_checkpoints.save(fairseq_checkpoints.hydra("hubert_base"), tmp_path / "m.pt")
    frames = np.random.default_rng(0).normal(size=(60, 12))
    model = MiniBatchKMeans(5, random_state=0).fit(frames)
    joblib.dump(model, tmp_path / "km5.bin")
    assert use_given(tmp_path / "km5.bin", str(teacher), 3, tmp_path / "km")
    found = quantizer.load(tmp_path / "km")
    np.testing.assert_array_equal(found.centroids, model.cluster_centers_.astype(np.float32))
    assert found.source_key == upstreams.layer_key_of(teacher, 3)
    joblib.dump(MiniBatchKMeans(5).fit(frames[:, :7]), tmp_path / "other.bin")
    with pytest.raises(ConfigError, match="7-d centroids, layer 3 of .*m.pt has 12 dim"):
        use_given(tmp_path / "other.bin", str(teacher), 3, tmp_path / "km2")
    assert not (tmp_path / "km2").exists()


def test_the_command(world, tmp_path, capsys):
    root, _ = world
    args = ["--source", "mfcc", "--clusters", "4", "--dump", str(root / "dump")]
    args += ["--sets", "train", "--out", str(tmp_path / "km"), "--nj", "1"]
    main(args)
    main(args)
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / 'km'}: made",
        f"{tmp_path / 'km'}: unchanged, skipped",
    ]


def test_speech_of_telephones_is_converted_or_refused(tmp_path):
    data = make_corpus(tmp_path / "data/phone", 4)
    for path in (data / "audio").iterdir():
        write_audio(path, noise(0.3), 8000)
    make_features(data, tmp_path / "raw", "raw", audio=AudioOptions(8000))
    phone = feature_dir.load(tmp_path / "raw")
    assert {len(wave) for wave in feature_dir.Waves(phone).values()} == {
        4800
    }  # good for a recogniser
    said = "raw is at 8000 Hz, HuBERT works at 16000 Hz: .*--fs 16000 --resample true"
    with pytest.raises(ConfigError, match=said):
        make_quantizer("mfcc", 0, 8, [phone], tmp_path / "km")
    for name in ("train", "dev", "test"):
        shutil.copytree(tmp_path / "raw", tmp_path / "dump" / name)
    with pytest.raises(ConfigError, match="train is at 8000 Hz"):
        Corpus(tmp_path / "dump", "train", "dev", "test", Settings()).task("char")
    # the way out that the message names
    make_features(data, tmp_path / "raw", "raw", audio=AudioOptions(resample=True))
    wide = feature_dir.load(tmp_path / "raw")
    assert wide.rate == 16000 and set(wide.lengths.values()) == {9600}
    assert make_quantizer("mfcc", 0, 8, [wide], tmp_path / "km")
