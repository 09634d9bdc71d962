from pathlib import Path

import numpy as np
import pytest

from espnet_dice.features import PitchOptions, kaldi_pitch, process_pitch
from tests.features import reference
from tests.features.signals import speechlike, voiced

GOLDEN = Path(__file__).with_name("kaldi_pitch.npz")
"""Nine waves with what Kaldi's feat/pitch-functions.cc, compiled, gave for them.

Six are of AN4 (Carnegie Mellon University, BSD-like licence), three were made: ``glide``, ``short``
and ``late_burst_5s``, which ends in a burst after 500 frames.
"""


@pytest.mark.parametrize("edges", ["snip", "nosnip"])
def test_agrees_with_kaldi_itself(edges):
    stored = np.load(GOLDEN)
    raw, processed = [], []
    for name in sorted({key.split("/")[0] for key in stored}):
        got = kaldi_pitch(stored[f"{name}/wave"], 16000, edges == "snip")
        want = stored[f"{name}/raw_{edges}"]
        assert got.shape == want.shape, name
        raw.append(np.abs(got - want) / np.stack([np.ones(len(want)), want[:, 1]], axis=1))
        processed.append(np.abs(process_pitch(got, False) - stored[f"{name}/processed_{edges}"]))
    # NCCF, and F0 relative: the next lag is half a per cent away
    assert (np.concatenate(raw) < [1e-5, 1e-6]).all(axis=1).mean() >= 0.999
    # the first feature is 750 times as steep as the NCCF where that is 1
    assert (np.concatenate(processed) < [1e-3, 1e-5, 1e-5]).all(axis=1).mean() >= 0.999


def click():
    """Speech that ends in a burst, which changes the ballast of the frames before it."""
    wave = speechlike(seconds=0.25, seed=5) // 8
    wave[-8:] = [9000, -20000, 30000, 30000, 30000, 20000, -9000, 3000]
    return wave


@pytest.mark.parametrize("snip_edges", [True, False])
@pytest.mark.parametrize(
    "wave, rate",
    [
        (speechlike(), 16000),
        (speechlike(11025), 11025),
        (speechlike(8000, seed=5), 8000),
        (click(), 16000),
    ],
)
def test_agrees_with_loops(wave, rate, snip_edges):
    want = reference.raw_pitch(wave, rate, snip_edges)
    pitch = kaldi_pitch(wave, rate, snip_edges)
    assert pitch.shape == want.shape
    # where two paths tie in single precision, a stretch may lie a lag (half a per cent) apart
    assert np.abs(pitch[:, 1] / want[:, 1] - 1).max() < 0.011
    same = np.isclose(pitch[:, 1], want[:, 1], rtol=1e-5)
    assert same.mean() > 0.8
    np.testing.assert_allclose(pitch[same, 0], want[same, 0], atol=2e-5)


def test_agrees_with_loops_on_an_offset():
    """The ballast is the variance of the signal: a constant offset does not count."""
    wave = (speechlike() // 4 + 4000).astype(np.int16)
    want = reference.raw_pitch(wave, 16000, True)
    pitch = kaldi_pitch(wave, 16000)
    same = np.isclose(pitch[:, 1], want[:, 1], rtol=1e-5)
    assert same.mean() > 0.8
    np.testing.assert_allclose(pitch[same, 0], want[same, 0], atol=1e-3)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100])
@pytest.mark.parametrize("f0", [70, 123, 210, 350])
def test_finds_the_pitch_of_a_tone(f0, rate):
    middle = kaldi_pitch(voiced(f0, rate, 0.5), rate)[5:-8]
    assert np.abs(middle[:, 1] / f0 - 1).max() < 0.006
    assert middle[:, 0].min() > 0.98


def test_follows_a_glide():
    rate = 16000
    f0 = np.geomspace(90, 250, rate)
    pitch = kaldi_pitch(voiced(f0), rate, False)[8:-8]
    # a frame's two windows lie around its centre, where the pitch is read
    centre = f0[80::160][8:-8]
    assert np.abs(pitch[:, 1] / centre - 1).max() < 0.02


def test_does_not_depend_on_the_scale():
    wave = speechlike()
    want = kaldi_pitch(wave, 16000)
    np.testing.assert_array_equal(kaldi_pitch(wave / 32768, 16000), want)
    np.testing.assert_array_equal(kaldi_pitch((wave / 32768).astype(np.float32), 16000), want)
    other = kaldi_pitch(wave * 0.003, 16000)
    assert np.mean(np.isclose(other, want, rtol=1e-4, atol=1e-4)) > 0.97


@pytest.mark.parametrize("snip_edges", [True, False])
def test_silence(snip_edges):
    pitch = kaldi_pitch(np.zeros(8000, np.int16), 16000, snip_edges)
    assert pitch.shape == (48 if snip_edges else 50, 2)
    np.testing.assert_array_equal(pitch[:, 0], 0)
    np.testing.assert_allclose(pitch[:, 1], 400, rtol=1e-6)


def test_a_constant_is_not_voiced():
    pitch = kaldi_pitch(np.full(8000, 1234, np.int16), 16000)
    assert np.abs(pitch[2:-6, 0]).max() == 0


@pytest.mark.parametrize(
    "samples, snipped, centred",
    [(0, 0, 0), (1, 0, 0), (396, 0, 0), (397, 1, 3), (400, 1, 3), (556, 1, 3), (557, 2, 4),
     (1000, 4, 6)],
)  # fmt: skip
def test_short_waves(samples, snipped, centred):
    wave = speechlike()[2000 : 2000 + samples]
    assert kaldi_pitch(wave, 16000).shape == (snipped, 2)
    assert kaldi_pitch(wave, 16000, snip_edges=False).shape == (centred, 2)
    assert kaldi_pitch(wave, 16000).dtype == np.float32


def test_blocks_leave_no_seams(monkeypatch):
    wave = speechlike(seconds=1.0)
    want = kaldi_pitch(wave, 16000, False)
    monkeypatch.setattr("espnet_dice.features.pitch.BLOCK_FRAMES", 14)
    got = kaldi_pitch(wave, 16000, False)
    assert np.mean(np.isclose(got, want, atol=1e-5)) > 0.97


@pytest.mark.parametrize(
    "wave, rate, message",
    [
        (np.array([0.0, np.nan] * 500), 16000, "NaN or infinite at sample 1"),
        (np.array([0.0, np.inf] * 500), 16000, "NaN or infinite"),
        (np.zeros((1000, 2)), 16000, "mono"),
        (np.zeros(1000, np.int64), 16000, "int64, which does not say its scale"),
        (np.zeros(1000), 1000, "too low"),
        (np.zeros(1000), 16000.5, "whole number"),
        (np.zeros(1000), -1, "whole number"),
    ],
)
def test_refuses(wave, rate, message):
    with pytest.raises(ValueError, match=message):
        kaldi_pitch(wave, rate)


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_f0": 400.0},
        {"soft_min_f0": 60.0},
        {"lowpass_cutoff": 3000.0},
        {"delta_pitch": 0.0},
        {"max_f0": 2500.0},
    ],
)
def test_refuses_options(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PitchOptions(**wrong)
