import sys

import kaldi_native_fbank as knf
import numpy as np
import pytest

from espnet_dice.features import fbank, fbank_pitch, kaldi_pitch, process_pitch
from tests.features import reference
from tests.features.signals import speechlike


@pytest.mark.parametrize("rate", [8000, 16000])
def test_agrees_with_plain_numpy(rate):
    wave = speechlike(rate)
    got = fbank(wave, rate)
    want = reference.fbank(wave, rate)
    assert got.shape == want.shape == (58, 80)
    assert np.abs(got - want).max() < 2e-3
    assert np.abs(got - want).mean() < 5e-5


@pytest.mark.parametrize("snip_edges", [True, False])
def test_agrees_with_the_library(snip_edges, monkeypatch):
    # the package's fbank is the function: the module stands behind it
    monkeypatch.setattr(sys.modules["espnet_dice.features.fbank"], "CHUNK", 1000)
    wave = speechlike()
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.snip_edges = snip_edges
    options.mel_opts.num_bins = 23
    extractor = knf.OnlineFbank(options)
    extractor.accept_waveform(16000, wave.astype(np.float32))
    extractor.input_finished()
    want = [extractor.get_frame(t) for t in range(extractor.num_frames_ready)]
    np.testing.assert_array_equal(fbank(wave, 16000, 23, snip_edges), want)


def test_floats_are_scaled_to_int16():
    wave = speechlike()
    want = fbank(wave, 16000)
    np.testing.assert_array_equal(fbank(wave / 32768, 16000), want)
    np.testing.assert_array_equal(fbank((wave / 32768).astype(np.float32), 16000), want)
    with pytest.raises(ValueError, match="divide them by 32768"):
        fbank(wave.astype(np.float32), 16000)


def test_silence_is_floored():
    got = fbank(np.zeros(8000, np.int16), 16000)
    np.testing.assert_allclose(got, np.log(np.finfo(np.float32).eps), rtol=1e-6)


def test_dither_is_seeded():
    wave = np.zeros(8000, np.int16)
    got = fbank(wave, 16000, dither=1.0, seed="a")
    np.testing.assert_array_equal(fbank(wave, 16000, dither=1.0, seed="a"), got)
    assert not np.array_equal(fbank(wave, 16000, dither=1.0, seed="b"), got)
    assert got.min() > np.log(np.finfo(np.float32).eps) + 5


def test_refuses():
    with pytest.raises(ValueError, match="NaN"):
        fbank(np.full(800, np.nan), 16000)
    with pytest.raises(ValueError, match="mono"):
        fbank(np.zeros((800, 2)), 16000)


@pytest.mark.parametrize("snip_edges", [True, False])
def test_pitch_stands_beside_the_filter_bank(snip_edges):
    wave = speechlike()
    got = fbank_pitch(wave, 16000, snip_edges=snip_edges, seed="utt1")
    assert got.shape == (58 if snip_edges else 60, 83)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got[:, :80], fbank(wave, 16000, snip_edges=snip_edges))
    pitch = process_pitch(kaldi_pitch(wave, 16000, snip_edges), seed="utt1")
    np.testing.assert_array_equal(got[:, 80:], pitch)
    quiet = fbank_pitch(wave, 16000, snip_edges=snip_edges, add_noise=False)
    assert not np.array_equal(quiet[:, 82], got[:, 82])


@pytest.mark.parametrize("samples, frames", [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2)])
def test_short_waves_follow_the_shorter_of_the_two(samples, frames):
    wave = speechlike()[2000 : 2000 + samples]
    assert fbank_pitch(wave, 16000).shape == (frames, 83)
