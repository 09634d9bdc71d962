"""Silence and noise are told from what stands above a noise floor."""

import numpy as np
import pytest
from scipy.signal import lfilter

from espnet_dice.inference.level import measure

RATE = 16000
T = np.arange(3 * RATE) / RATE


def syllables():
    """A harmonic voice of 120 Hz, four times a second on and off."""
    voice = sum(np.sin(2 * np.pi * 120 * k * T) / k for k in range(1, 20))
    return 0.1 * voice * (np.sin(2 * np.pi * 4 * T) > 0)


def white(n=3 * RATE):
    return np.random.default_rng(0).normal(scale=0.1, size=n)


def is_speech(x, rate=RATE):
    found = measure(x.astype(np.float32), rate)
    assert np.isfinite([found.level_db, found.range_db]).all()
    return found.is_speech


@pytest.mark.parametrize("scale", [1, 0.01])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_what_has_no_speech(scale, rate):
    t = np.arange(3 * rate) / rate
    noise = white(len(t))
    click = np.zeros(len(t))
    click[len(t) // 2] = 1
    for x in (
        np.zeros(len(t)),
        np.full(len(t), 0.5),
        noise,
        0.5 + 1e-4 * noise,
        lfilter([1], [1, -0.95], noise),  # rumble
        lfilter([1, -0.95], [1], noise),  # hiss
        np.sin(2 * np.pi * 50 * t),
        np.sign(np.sin(2 * np.pi * 200 * t)),
        np.round(noise) / 32768,
        click,
        np.full(len(t), 1e-40),
        noise[:1],
        noise[:100],
        noise[: rate // 20],
        noise[: rate // 2],
    ):
        assert not is_speech(scale * x, rate)


def test_ten_minutes_of_noise():
    assert not is_speech(white(600 * RATE))


@pytest.mark.parametrize("snr", [np.inf, 20, 10])
@pytest.mark.parametrize("scale", [1, 0.01])
def test_what_has_some(snr, scale):
    clean = syllables()
    power = (clean**2).mean() / 10 ** (snr / 10)
    x = clean + 10 * np.sqrt(power) * white()
    assert is_speech(scale * x) and is_speech(0.3 + scale * x)
    assert not is_speech(1e-5 * x)


def test_a_word_in_a_long_silence():
    x = 1e-3 * white(60 * RATE)
    x[30 * RATE : 30 * RATE + RATE // 4] += 0.1 * np.sin(2 * np.pi * 200 * T[: RATE // 4])
    assert is_speech(x)


def test_figures():
    tone = np.sin(2 * np.pi * 400 * T)
    half = np.where(np.arange(len(T)) < len(T) / 2, 0.1, 0.01)
    found = measure((half * tone).astype(np.float32), RATE)
    assert found.level_db == pytest.approx(20 * np.log10(0.1 / np.sqrt(2)), abs=0.05)
    assert found.range_db == pytest.approx(20, abs=0.2)
    square = np.sign(np.sin(2 * np.pi * 100.3 * T)).astype(np.float32)
    assert measure(square, RATE).level_db == pytest.approx(0, abs=0.05)
