"""Windowed-sinc resampling: of the signal to a lower rate, of the NCCF to the pitch lags.

Both use a sinc low-pass under a Hann window that spans ``zeros`` zero crossings on each side
(P. Ghahremani et al., "A pitch extraction algorithm tuned for automatic speech recognition",
ICASSP 2014, section 2).
"""

import math
from functools import lru_cache

import numpy as np


def windowed_sinc(time: np.ndarray, cutoff: float, zeros: int) -> np.ndarray:
    """h(t) = 2c sinc(2ct) · (1 + cos(2πct/zeros))/2 for |t| < zeros/(2c), else 0.

    Args:
        time: offsets from the centre, in seconds.
        cutoff: c, in Hz.
        zeros: zero crossings on each side.
    """
    window = 0.5 * (1 + np.cos(2 * np.pi * cutoff / zeros * time))
    inside = np.abs(time) < zeros / (2 * cutoff)
    return np.where(inside, 2 * cutoff * np.sinc(2 * cutoff * time) * window, 0.0)


@lru_cache(maxsize=16)
def _phases(rate_in: int, rate_out: int, cutoff: float, zeros: int):
    """For each output sample of one repeating unit: index of its first input sample, weights."""
    half = zeros / (2 * cutoff)
    phases = []
    for i in range(rate_out // math.gcd(rate_in, rate_out)):
        centre = i / rate_out
        first = math.ceil((centre - half) * rate_in)
        last = math.floor((centre + half) * rate_in)
        offset = np.arange(first, last + 1) / rate_in - centre
        phases.append((first, windowed_sinc(offset, cutoff, zeros) / rate_in))
    return phases


def output_length(samples: int, rate_in: int, rate_out: int, lost: float = 0.0) -> int:
    """How many output samples fall into [0, samples/rate_in - lost) seconds."""
    ticks = math.lcm(rate_in, rate_out)
    # single precision, as in Kaldi: 0.0005 s of 16 kHz must give 8 ticks, never 7
    length = samples * (ticks // rate_in) - math.floor(np.float32(lost) * np.float32(ticks))
    return max(0, -(-length // (ticks // rate_out)))


def resample(wave: np.ndarray, rate_in: int, rate_out: int, cutoff: float, zeros: int):
    """The whole wave, (samples,), low-passed and resampled, float64; zeros beyond its ends."""
    unit = math.gcd(rate_in, rate_out)
    step_in, step_out = rate_in // unit, rate_out // unit
    total = output_length(len(wave), rate_in, rate_out)
    units = -(-total // step_out)
    phases = _phases(rate_in, rate_out, cutoff, zeros)
    left = -min(first for first, _ in phases)
    right = max(first + len(weights) for first, weights in phases)
    padded = np.zeros(left + max(len(wave), units * step_in + right))
    padded[left : left + len(wave)] = wave
    out = np.empty((units, step_out))
    for i, (first, weights) in enumerate(phases):
        taps = np.lib.stride_tricks.sliding_window_view(padded[left + first :], len(weights))
        out[:, i] = taps[::step_in][:units] @ weights
    return out.reshape(-1)[:total]


def lag_matrix(lags: np.ndarray, first_lag: int, last_lag: int, rate: int, zeros: int):
    """Weights that interpolate the NCCF from whole-sample lags to ``lags``.

    Args:
        lags: (states,) in seconds.
        first_lag, last_lag: the measured lags, in samples at ``rate``, both included.
        rate: in Hz; the interpolation's cut-off is its half.
        zeros: filter half-width in samples.

    Returns:
        (measured lags, states) float64.
    """
    measured = np.arange(first_lag, last_lag + 1) / rate
    return windowed_sinc(lags[None, :] - measured[:, None], 0.5 * rate, zeros) / rate
