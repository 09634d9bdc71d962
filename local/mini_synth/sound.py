"""From spoken samples to a recording: resampling, reverberation, level and noise at a given SNR."""

import numpy as np

LIMIT = 0.98  # of full scale
ROLL_OFF = 0.95  # of the lower Nyquist frequency: from there to it, resampling fades out


def fast_length(n: int) -> int:
    """The least product of 2s, 3s and 5s that is at least ``n``: an FFT of it is quick."""
    n = max(1, n)
    best = 1 << (n - 1).bit_length()
    for five in (5**k for k in range(n.bit_length())):
        for three in (3**k for k in range(n.bit_length())):
            rest = -(-n // (five * three))
            best = min(best, five * three << (rest - 1).bit_length())
    return best


def resample(wave: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Resample (n,) samples from ``rate_in`` to ``rate_out`` Hz by way of the spectrum.

    NumPy alone: importing SciPy's filters takes longer than making a small set.
    """
    g = int(np.gcd(rate_in, rate_out))
    down, up = rate_in // g, rate_out // g
    blocks = fast_length(-(-len(wave) // down) + 2)  # two of silence, for the ends to ring in
    spectrum = np.fft.rfft(wave, blocks * down)[: blocks * up // 2 + 1]
    nyquist = min(blocks * down, blocks * up) / 2
    above = (np.arange(len(spectrum)) / nyquist - ROLL_OFF) / (1 - ROLL_OFF)
    spectrum = spectrum * (0.5 + 0.5 * np.cos(np.pi * np.clip(above, 0, 1)))
    out = np.fft.irfft(spectrum, blocks * up) * (up / down)
    return out[: -(-len(wave) * up // down)]


def convolve(wave: np.ndarray, response: np.ndarray, n: int) -> np.ndarray:
    """The first ``n`` samples of the convolution of two signals."""
    size = fast_length(len(wave) + len(response) - 1)
    full = np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(response, size), size)
    out = np.zeros(n)
    out[: min(n, size)] = full[:n]
    return out


def loud_part(wave: np.ndarray, below_db: float = 45.0) -> slice:
    """All but what is ``below_db`` under the peak at both ends."""
    loud = np.flatnonzero(np.abs(wave) > np.abs(wave).max() * 10 ** (-below_db / 20))
    return slice(loud[0], loud[-1] + 1) if len(loud) else slice(0, len(wave))


def reverberate(wave, n: int, sample_rate: int, t60: float, direct_db: float, rng) -> np.ndarray:
    """Add a tail of white noise that decays by 60 dB in ``t60`` seconds.

    Args:
        n: samples to return; what the tail adds beyond them is cut.
        direct_db: energy of the direct path over that of the tail, dB.

    Returns:
        (n,) samples; the direct path stays where it was.
    """
    length = max(1, int(t60 * sample_rate))
    tail = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    tail *= 10 ** (-direct_db / 20) / np.sqrt(np.sum(tail**2))
    return convolve(wave, np.concatenate(([1.0], tail)), n)


def white(n: int, rng) -> np.ndarray:
    """(n,) Gaussian noise of flat spectrum."""
    return rng.standard_normal(n)


def pink(n: int, rng) -> np.ndarray:
    """(n,) Gaussian noise whose power falls by 3 dB an octave."""
    size = fast_length(n)
    spectrum = np.fft.rfft(rng.standard_normal(size))
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), size)[:n]


def babble(n: int, bank: list[np.ndarray], talkers: int, rng) -> np.ndarray:
    """(n,) samples of ``talkers`` at once, each beginning anywhere in a clip of ``bank``."""
    out = np.zeros(n)
    for _ in range(talkers):
        clip = bank[rng.integers(len(bank))]
        start = rng.integers(len(clip))
        out += np.take(clip, np.arange(start, start + n), mode="wrap")
    return out


def make_noise(kind: str, n: int, bank, talkers: tuple[int, int], rng) -> np.ndarray:
    """(n,) samples of the noise ``kind`` (none, white, pink, babble), of any level."""
    if kind == "babble":
        return babble(n, bank, int(rng.integers(talkers[0], talkers[1] + 1)), rng)
    return {"none": lambda n, _: np.zeros(n), "white": white, "pink": pink}[kind](n, rng)


def power(wave: np.ndarray) -> float:
    """Mean square."""
    return float(np.mean(wave**2))


def mix(speech, noise, span: slice, snr_db: float, level_db: float) -> np.ndarray:
    """Lay ``noise`` under ``speech``.

    The speech gets an RMS of ``level_db`` (dB re full scale) over ``span``, the noise the power
    that makes the ratio over ``span`` ``snr_db``. Where that would clip, both are lowered.

    Args:
        speech: (n,) samples with silence around the spoken ``span``.
        noise: (n,) samples.

    Returns:
        (n,) samples in ±1.
    """
    speech = speech * 10 ** (level_db / 20) / np.sqrt(max(power(speech[span]), 1e-12))
    gain = power(speech[span]) / 10 ** (snr_db / 10) / max(power(noise[span]), 1e-12)
    out = speech + noise * np.sqrt(gain)
    peak = np.abs(out).max()
    return out * (LIMIT / peak) if peak > LIMIT else out


def to_int16(wave: np.ndarray) -> np.ndarray:
    """Full scale ±1 to 16-bit integers."""
    return np.round(wave * 32767).astype(np.int16)
