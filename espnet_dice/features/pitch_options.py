"""The options of the pitch tracker and the candidate lags that follow from them."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class PitchOptions:
    """Kaldi's options, under Kaldi's names, with its defaults.

    Frequencies in Hz, durations in ms. ``recompute_frame``: up to this frame the energy in the
    ballast term is that of the whole signal, even if its last milliseconds change it.
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

    def __post_init__(self):
        if not 0 < self.min_f0 < self.max_f0:
            raise ValueError(f"min_f0 {self.min_f0} must be below max_f0 {self.max_f0}, above 0")
        if self.soft_min_f0 > self.min_f0:
            raise ValueError(f"soft_min_f0 {self.soft_min_f0} must not exceed min_f0")
        if not 0 < 2 * self.lowpass_cutoff <= self.resample_freq:
            raise ValueError("resample_freq must be at least twice lowpass_cutoff")
        if self.lag_range[0] < 1:
            raise ValueError(f"max_f0 {self.max_f0} is too high for resample_freq")
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
