import numpy as np
import pytest

from espnet_dice.decoding.noise import add_noise, noisy_inputs
from espnet_dice.io.errors import DataError
from espnet_dice.records import feature_dir
from espnet_dice.records.feature_dir import Inputs
from espnet_dice.stages import features
from tests.corpus import make_corpus


@pytest.mark.parametrize("snr", [0.0, 10.0, 25.0])
def test_the_ratio_is_what_was_asked_for(snr):
    t = np.arange(16000) / 16000
    samples = (0.1 * np.sin(2 * np.pi * 300 * t)).astype(np.float32)
    noisy = add_noise(samples, snr, seed=1)
    noise = noisy - samples
    measured = 10 * np.log10(np.mean(samples**2) / np.mean(noise**2))
    assert measured == pytest.approx(snr, abs=0.15)
    assert np.array_equal(add_noise(samples, snr, 1), noisy)
    assert abs(np.corrcoef(noise, add_noise(samples, snr, 2) - samples)[0, 1]) < 0.05


@pytest.mark.parametrize("feats_type", ["fbank", "fbank_pitch", "raw"])
def test_without_noise_the_inputs_are_those_of_the_features_stage(tmp_path, feats_type):
    make_corpus(tmp_path / "data/s")
    features.make_features(tmp_path / "data/s", tmp_path / "dump/s", feats_type)
    dump = feature_dir.load(tmp_path / "dump/s")
    found = noisy_inputs(dump, tmp_path / "data", np.inf)
    assert found.keys() == dump.lengths.keys()
    read = Inputs(dump)
    for utt, matrix in found.items():
        assert np.allclose(matrix, read(utt), atol=1e-6)
    other = noisy_inputs(dump, tmp_path / "data", 5)
    assert all(not np.allclose(other[u], found[u]) for u in found)


def test_a_dump_of_other_speech_is_refused(tmp_path):
    make_corpus(tmp_path / "data/s")
    features.make_features(tmp_path / "data/s", tmp_path / "dump/s", "fbank")
    text = tmp_path / "data/s/text"
    text.write_text(text.read_text().replace("ONE", "TWO"))
    with pytest.raises(DataError, match="has changed since"):
        noisy_inputs(feature_dir.load(tmp_path / "dump/s"), tmp_path / "data", 5)
