"""MFCC and deltas against torchaudio's Kaldi-compatible ones, their frames against the stem's."""

import numpy as np
import pytest

from espnet_dice.features import mfcc
from espnet_dice.features.mfcc import deltas
from espnet_dice.hubert.models.frames import n_frames


def noise(samples, seed=0):
    rng = np.random.default_rng(seed)
    tone = np.sin(np.arange(samples) * 2 * np.pi * 220 / 16000)
    return (0.1 * rng.standard_normal(samples) + 0.2 * tone).astype(np.float32)


def test_agrees_with_torchaudio():
    torch = pytest.importorskip("torch")
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi")
    from torchaudio.functional import compute_deltas

    wave = noise(16000)
    wanted = kaldi.mfcc(torch.from_numpy(wave)[None] * 32768, use_energy=False, dither=0.0).T
    first = compute_deltas(wanted)
    wanted = torch.cat([wanted, first, compute_deltas(first)]).T.numpy()
    found = mfcc(wave, 16000)
    assert found.shape == wanted.shape == (98, 39)
    assert np.abs(found - wanted).max() < 2e-2  # of values up to 100; both compute in float32


def test_deltas_of_a_straight_line():
    line = np.arange(20, dtype=np.float32)[:, None] * [1.0, -2.0]
    np.testing.assert_allclose(deltas(line)[2:-2], np.tile([1.0, -2.0], (16, 1)), rtol=1e-6)
    assert deltas(np.zeros((0, 3), np.float32)).shape == (0, 3)


@pytest.mark.parametrize("samples", [400, 559, 560, 719, 720, 879, 4000, 12345])
def test_every_second_frame_is_a_frame_of_the_stem(samples):
    assert len(mfcc(noise(samples), 16000)[::2]) == n_frames(samples)


def test_a_frame_sees_the_samples_of_the_stems_frame():
    wave = noise(4000)
    changed = wave.copy()
    changed[320 * 4 + 400 :] = 0.5
    before, after = mfcc(wave, 16000)[::2, :13], mfcc(changed, 16000)[::2, :13]
    np.testing.assert_array_equal(before[:5], after[:5])
    assert np.abs(before[5:] - after[5:]).max() > 1
