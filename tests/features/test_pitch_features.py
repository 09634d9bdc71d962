from pathlib import Path

import numpy as np
import pytest

from espnet_dice.features import kaldi_pitch, process_pitch
from tests.features import reference
from tests.features.signals import speechlike

GOLDEN = Path(__file__).with_name("kaldi_pitch.npz")
PINNED = [0.05903852358460426, 0.04020851477980614]


@pytest.mark.parametrize("frames", [1, 2, 3, 76, 200])
def test_agrees_with_loops(frames):
    raw = kaldi_pitch(speechlike(seconds=2.1), 16000)[:frames]
    assert len(raw) == frames
    got = process_pitch(raw, add_noise=False)
    np.testing.assert_allclose(got, reference.processed_pitch(raw), rtol=1e-5, atol=2e-6)
    assert got.dtype == np.float32


@pytest.mark.parametrize("edges", ["snip", "nosnip"])
def test_agrees_with_kaldi_itself(edges):
    stored = np.load(GOLDEN)
    for name in sorted({key.split("/")[0] for key in stored}):
        got = process_pitch(stored[f"{name}/raw_{edges}"], add_noise=False)
        np.testing.assert_allclose(got, stored[f"{name}/processed_{edges}"], atol=5e-6)


def test_nccf_beyond_one_is_clipped():
    got = process_pitch(np.array([[1.2, 100], [-1.2, 100]]), add_noise=False)
    np.testing.assert_allclose(got[:, 0], [2 * (1e-4**0.15 - 1), 2 * (2.0001**0.15 - 1)], rtol=1e-6)


def test_noise_is_seeded_and_only_in_the_delta():
    raw = np.tile([0.5, 100.0], (20000, 1))
    plain = process_pitch(raw, add_noise=False)
    noisy = process_pitch(raw, seed="spk1-utt2")
    np.testing.assert_array_equal(noisy[:, :2], plain[:, :2])
    noise = noisy[:, 2] - plain[:, 2]
    assert abs(noise.std() / 0.05 - 1) < 0.03
    assert abs(noise.mean()) < 0.002
    np.testing.assert_array_equal(process_pitch(raw, seed="spk1-utt2"), noisy)
    np.testing.assert_array_equal(process_pitch(raw), process_pitch(raw))
    assert not np.array_equal(process_pitch(raw, seed="spk1-utt3"), noisy)
    assert not np.array_equal(process_pitch(raw, seed=None), process_pitch(raw, seed=None))
    # the value is pinned: features must not change with the version of this package
    assert process_pitch(raw[:2], seed="a")[:, 2] == pytest.approx(PINNED, abs=1e-7)


def test_no_frames():
    assert process_pitch(np.zeros((0, 2))).shape == (0, 3)


@pytest.mark.parametrize(
    "raw, message",
    [
        (np.zeros((4, 3)), "frames, 2"),
        (np.zeros(4), "frames, 2"),
        (np.array([[0.5, 0.0]]), "F0 above 0"),
        (np.array([[np.nan, 100.0]]), "finite"),
    ],
)
def test_refuses(raw, message):
    with pytest.raises(ValueError, match=message):
        process_pitch(raw)
