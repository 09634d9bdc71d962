"""Kaldi's pitch tracker: normalised cross-correlation and F0 of every frame.

The algorithm is that of P. Ghahremani et al., "A pitch extraction algorithm tuned for automatic
speech recognition" (ICASSP 2014), with the settings and edge rules of Kaldi's
``compute-kaldi-pitch-feats`` run over a whole utterance at once. Low-pass and resample to 4 kHz;
per 25 ms frame, every 10 ms, the NCCF at whole-sample lags; interpolate it to lags in geometric
progression; choose a lag per frame by dynamic programming.
"""

import math
from functools import lru_cache

import numpy as np

from espnet_dice.features.pitch_features import process_pitch
from espnet_dice.features.pitch_options import PitchOptions, pitch_lags
from espnet_dice.features.resample import lag_matrix, output_length, resample
from espnet_dice.features.viterbi import Viterbi
from espnet_dice.features.wave import check_wave

__all__ = ["PitchOptions", "kaldi_pitch", "process_pitch"]

# 256 windows of 182 float64 samples stay within a core's level-2 cache.
BLOCK_FRAMES = 256


@lru_cache(maxsize=16)
def _interpolation(options: PitchOptions) -> tuple[np.ndarray, np.ndarray]:
    """Matrix NCCF at measured lags → at pitch lags (measured, states), soft_min_f0 · lag."""
    lags = pitch_lags(options)
    rate, zeros = options.resample_freq, options.upsample_filter_width
    matrix = lag_matrix(lags, *options.lag_range, rate, zeros).astype(np.float32)
    return matrix, (options.soft_min_f0 * lags).astype(np.float32)


def frame_count(samples: int, options: PitchOptions, snip_edges: bool, needed: int) -> int:
    """Frames of a resampled signal that has at least ``needed`` samples, else none."""
    if samples < needed:
        return 0
    if snip_edges:
        return (samples - needed) // options.shift + 1
    missing = 0 if needed == options.window else needed // 2
    return (samples - missing + options.shift // 2) // options.shift


def correlate(frames: np.ndarray, options: PitchOptions) -> tuple[np.ndarray, np.ndarray]:
    """Inner products ⟨x_0, x_l⟩ and energy products ‖x_0‖²‖x_l‖² for the measured lags l.

    x_l is the window that starts l samples into the frame; the mean of x_0 is taken off first.

    Args:
        frames: (frames, window + last lag).

    Returns:
        two arrays (frames, measured lags), float64.
    """
    size = options.window
    first, last = options.lag_range
    centred = frames - frames[:, :size].mean(axis=1, keepdims=True)
    # what rounding leaves of a constant signal must not pass for a perfectly periodic one
    floor = 1e-13 * np.abs(frames).max(axis=1, keepdims=True)
    centred[np.abs(centred) <= floor] = 0.0
    head = centred[:, :size]
    inner = np.empty((len(frames), last + 1 - first))
    energy = np.empty_like(inner)
    for i, lag in enumerate(range(first, last + 1)):
        shifted = centred[:, lag : lag + size]
        np.einsum("ti,ti->t", head, shifted, out=inner[:, i])
        np.einsum("ti,ti->t", shifted, shifted, out=energy[:, i])
    energy *= np.einsum("ti,ti->t", head, head)[:, None]
    return inner, energy


def _nccf(inner: np.ndarray, energy: np.ndarray, ballast: np.ndarray | float) -> np.ndarray:
    """inner / sqrt(energy + ballast), eq. 4 of the paper; 0 where the signal is silent."""
    norm = np.sqrt(energy + ballast)
    return np.divide(inner, norm, out=np.zeros_like(inner), where=norm > 0)


def _ballast(wave_samples, sample_rate, signal, frames, snip_edges, options):
    """What is added to the energy product of every frame, and how to correct it afterwards.

    Kaldi works through the frames that are complete before the resampler is flushed, then through
    the last few. The ballast is the energy of the signal known by then; where the two differ by
    more than 2 % in a short utterance, the NCCF of the early frames is rescaled.

    Returns:
        (frames, 1) ballast, and the same with the energy of the whole signal where a correction
        is due (else None).
    """
    lost = options.lowpass_filter_width / (2 * options.lowpass_cutoff)
    known = output_length(wave_samples, sample_rate, options.resample_freq, lost)
    full = options.window + options.lag_range[1]
    early = frame_count(known, options, snip_edges, full)
    final = float(signal.var())
    first = float(signal[:known].var()) if early else final

    def scaled(mean_square):
        return (mean_square * options.window) ** 2 * options.nccf_ballast

    ballast = np.full((frames, 1), scaled(final))
    ballast[:early] = scaled(first)
    close = abs(first - final) <= 0.01 * (first + final)
    if close or early >= options.recompute_frame:
        return ballast, None
    return ballast, np.full((frames, 1), scaled(final))


def kaldi_pitch(
    wave: np.ndarray,
    sample_rate: int,
    snip_edges: bool = True,
    options: PitchOptions | None = None,
) -> np.ndarray:
    """Raw pitch as Kaldi's ``compute-kaldi-pitch-feats`` gives it.

    Args:
        wave: (samples,) integers or floats; the scale does not matter.
        sample_rate: in Hz, at least twice the low-pass cut-off (2000 Hz by default).
        snip_edges: true: only whole frames; false: frames centred on every shift, so that their
            number is the duration over the frame shift, rounded.
        options: Kaldi's options where they differ from the defaults.

    Returns:
        (frames, 2) float32: NCCF in [-1, 1] without ballast, and F0 in Hz, which is defined in
        unvoiced frames too. A wave shorter than one frame gives (0, 2).

    Raises:
        ValueError: a wave that is not mono integers or floats, NaN in it, or a rate too low.
    """
    options = options or PitchOptions()
    wave, sample_rate = check_wave(wave, sample_rate)
    if sample_rate < 2 * options.lowpass_cutoff:
        raise ValueError(
            f"a sample rate of {sample_rate} Hz is too low for pitch: "
            f"{2 * options.lowpass_cutoff:g} Hz are needed"
        )
    rate, cutoff, zeros = (
        options.resample_freq,
        options.lowpass_cutoff,
        options.lowpass_filter_width,
    )
    signal = resample(wave, sample_rate, rate, cutoff, zeros)
    frames = frame_count(len(signal), options, snip_edges, options.window)
    if frames == 0:
        return np.zeros((0, 2), np.float32)
    ballast, corrected = _ballast(len(wave), sample_rate, signal, frames, snip_edges, options)

    first_lag, last_lag = options.lag_range
    length = options.window + last_lag
    left = 0 if snip_edges else length // 2 - options.shift // 2
    padded = np.zeros(left + (frames - 1) * options.shift + length + len(signal))
    padded[left : left + len(signal)] = signal
    windows = np.lib.stride_tricks.sliding_window_view(padded, length)[:: options.shift][:frames]

    to_lags, soft = _interpolation(options)
    measured = np.empty((frames, last_lag + 1 - first_lag), np.float32)
    factor = options.penalty_factor * math.log1p(options.delta_pitch) ** 2
    search = Viterbi(to_lags.shape[1], factor, frames)
    for start in range(0, frames, BLOCK_FRAMES):
        block = slice(start, min(start + BLOCK_FRAMES, frames))
        inner, energy = correlate(windows[block], options)
        measured[block] = _nccf(inner, energy, 0.0)
        nccf = _nccf(inner, energy, ballast[block])
        if corrected is not None:
            mean = energy.mean(axis=1, keepdims=True)
            nccf *= np.sqrt((ballast[block] + mean) / (corrected[block] + mean))
        nccf = nccf.astype(np.float32) @ to_lags
        # eq. 5 of the paper: 1 - φ(1 - soft_min_f0 · lag)
        search.feed((1 - nccf) + soft * nccf)
    states = search.path()
    pitch = np.empty((frames, 2), np.float32)
    pitch[:, 0] = np.einsum("tl,tl->t", measured, to_lags.T[states])
    pitch[:, 1] = 1 / pitch_lags(options)[states]
    return pitch
