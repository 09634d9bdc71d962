"""Kaldi's pitch tracker: normalised cross-correlation and F0 of every frame.

The algorithm is that of P. Ghahremani et al., "A pitch extraction algorithm tuned for automatic
speech recognition" (ICASSP 2014), with the settings and edge rules of Kaldi's
``compute-kaldi-pitch-feats`` run over a whole utterance at once. Low-pass and resample to 4 kHz;
per 25 ms frame, every 10 ms, the NCCF at whole-sample lags; interpolate it to lags in geometric
progression; choose a lag per frame by dynamic programming.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from espnet_dice.features.pitch_features import process_pitch
from espnet_dice.features.resample import lag_matrix, output_length, resample
from espnet_dice.features.viterbi import Viterbi
from espnet_dice.features.wave import check_wave

__all__ = ["PitchOptions", "kaldi_pitch", "process_pitch"]

# 256 windows of 182 float64 samples stay within a core's level-2 cache.
BLOCK_FRAMES = 256


@dataclass(frozen=True)
class PitchOptions:
    """Kaldi's options, under Kaldi's names, with its defaults.

    Frequencies in Hz, durations in ms. ``recompute_frame``: up to this frame the energy in the
    ballast term is that of the whole signal, even if its last milliseconds change it.

    ``search`` says whose dynamic programming to follow: ``kaldi``, the published one, or
    ``torchaudio``, that of ``torchaudio.functional.compute_kaldi_pitch`` (see ``viterbi``), which
    follows changes of pitch less closely. NCCF and lags are the same in both.
    """

    frame_length_ms: float = 25.0
    frame_shift_ms: float = 10.0
    min_f0: float = 50.0
    max_f0: float = 400.0
    soft_min_f0: float = 10.0
    penalty_factor: float = 0.1
    lowpass_cutoff: float = 1000.0
    resample_freq: int = 4000
    delta_pitch: float = 0.005
    nccf_ballast: float = 7000.0
    lowpass_filter_width: int = 1
    upsample_filter_width: int = 5
    recompute_frame: int = 500
    search: str = "torchaudio"

    def __post_init__(self):
        if not 0 < self.min_f0 < self.max_f0:
            raise ValueError(f"min_f0 {self.min_f0} must be below max_f0 {self.max_f0}, above 0")
        if self.soft_min_f0 > self.min_f0:
            raise ValueError(f"soft_min_f0 {self.soft_min_f0} must not exceed min_f0")
        if not 0 < 2 * self.lowpass_cutoff <= self.resample_freq:
            raise ValueError("resample_freq must be at least twice lowpass_cutoff")
        if self.lag_range[0] < 1:
            raise ValueError(f"max_f0 {self.max_f0} is too high for resample_freq")
        if self.search not in ("kaldi", "torchaudio"):
            raise ValueError(f"search must be kaldi or torchaudio: got {self.search!r}")
        if not (self.delta_pitch > 0 and self.penalty_factor > 0):
            raise ValueError("delta_pitch and penalty_factor must be positive")

    @property
    def window(self) -> int:
        """Frame length in samples at ``resample_freq``."""
        return int(self.resample_freq * self.frame_length_ms / 1000)

    @property
    def shift(self) -> int:
        """Frame shift in samples at ``resample_freq``."""
        return int(self.resample_freq * self.frame_shift_ms / 1000)

    @property
    def lag_range(self) -> tuple[int, int]:
        """First and last lag, in samples, at which the NCCF is measured."""
        margin = self.upsample_filter_width / (2 * self.resample_freq)
        first = math.ceil(self.resample_freq * (1 / self.max_f0 - margin))
        return first, math.floor(self.resample_freq * (1 / self.min_f0 + margin))


@lru_cache(maxsize=16)
def pitch_lags(options: PitchOptions) -> np.ndarray:
    """The candidate lags 1/max_f0 … 1/min_f0, in seconds, each 1 + delta_pitch times the last."""
    # accumulated in single precision, as Kaldi's are: F0 then agrees to the last digit
    lag, last = np.float32(1 / options.max_f0), np.float32(1 / options.min_f0)
    ratio = 1.0 + float(np.float32(options.delta_pitch))
    lags = []
    while lag <= last:
        lags.append(lag)
        lag = np.float32(float(lag) * ratio)
    return np.array(lags, np.float64)


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
        wave: (samples,) int16 or float; the scale does not matter.
        sample_rate: in Hz, at least twice the low-pass cut-off (2000 Hz by default).
        snip_edges: true: only whole frames; false: frames centred on every shift, so that their
            number is the duration over the frame shift, rounded.
        options: Kaldi's options where they differ from the defaults.

    Returns:
        (frames, 2) float32: NCCF in [-1, 1] without ballast, and F0 in Hz, which is defined in
        unvoiced frames too. A wave shorter than one frame gives (0, 2).

    Raises:
        ValueError: a wave that is not mono int16 or float, NaN in it, or a rate too low.
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
    stale = options.search == "torchaudio"
    search = Viterbi(to_lags.shape[1], factor, frames, stale)
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
