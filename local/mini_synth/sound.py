"""From spoken samples to a recording: resampling, reverberation, level and noise at a given SNR."""

import numpy as np
from scipy.signal import fftconvolve, resample_poly

LIMIT = 0.98  # of full scale


def resample(wave: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Resample (n,) float64 samples from ``rate_in`` to ``rate_out`` Hz."""
    g = np.gcd(rate_in, rate_out)
    return resample_poly(wave, rate_out // g, rate_in // g)


def trim(wave: np.ndarray, below_db: float = 45.0) -> np.ndarray:
    """Cut what is ``below_db`` under the peak off both ends."""
    loud = np.flatnonzero(np.abs(wave) > np.abs(wave).max() * 10 ** (-below_db / 20))
    return wave[loud[0] : loud[-1] + 1] if len(loud) else wave


def reverberate(wave, sample_rate: int, t60: float, direct_db: float, rng) -> np.ndarray:
    """Add a tail of white noise that decays by 60 dB in ``t60`` seconds.

    Args:
        direct_db: energy of the direct path over that of the tail, dB.

    Returns:
        (n + t60·sample_rate,) samples.
    """
    n = max(1, int(t60 * sample_rate))
    tail = rng.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    tail *= 10 ** (-direct_db / 20) / np.sqrt(np.sum(tail**2))
    return fftconvolve(wave, np.concatenate(([1.0], tail)))


def white(n: int, rng) -> np.ndarray:
    """(n,) Gaussian noise of flat spectrum."""
    return rng.standard_normal(n)


def pink(n: int, rng) -> np.ndarray:
    """(n,) Gaussian noise whose power falls by 3 dB an octave."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), n)


def babble(n: int, bank: list[np.ndarray], talkers: int, rng) -> np.ndarray:
    """(n,) samples of ``talkers`` speaking at once, each beginning anywhere in a clip of ``bank``."""
    out = np.zeros(n)
    for _ in range(talkers):
        clip = bank[rng.integers(len(bank))]
        start = rng.integers(len(clip))
        out += np.take(clip, np.arange(start, start + n), mode="wrap")
    return out


def make_noise(kind: str, n: int, bank, talkers: tuple[int, int], rng) -> np.ndarray:
    """(n,) samples of the noise ``kind`` (white, pink, babble), of any level."""
    if kind == "babble":
        return babble(n, bank, int(rng.integers(talkers[0], talkers[1] + 1)), rng)
    return {"white": white, "pink": pink}[kind](n, rng)


def power(wave: np.ndarray) -> float:
    """Mean square."""
    return float(np.mean(wave**2))


def mix(speech, noise, at: int, snr_db: float, level_db: float) -> np.ndarray:
    """Lay ``speech`` over ``noise`` from sample ``at``.

    The speech gets an RMS of ``level_db`` (dB re full scale), the noise the power that makes the
    ratio over the span of the speech ``snr_db``. Where that would clip, both are lowered.

    Args:
        noise: (n,) samples, n ≥ at + len(speech); None: clean.
    """
    speech = speech * 10 ** (level_db / 20) / np.sqrt(max(power(speech), 1e-12))
    span = slice(at, at + len(speech))
    out = noise * np.sqrt(power(speech) / max(power(noise[span]), 1e-12) / 10 ** (snr_db / 10))
    out[span] += speech
    peak = np.abs(out).max()
    return out * (LIMIT / peak) if peak > LIMIT else out


def to_int16(wave: np.ndarray) -> np.ndarray:
    """Full scale ±1 to 16-bit integers."""
    return np.round(wave * 32767).astype(np.int16)
