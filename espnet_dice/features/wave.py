"""The waveform as the feature extractors take it, checked once."""

import numpy as np

from espnet_dice.io.audio import LARGEST_FLOAT

INT16_SCALE = 32768.0


def check_wave(wave: np.ndarray, sample_rate: int) -> tuple[np.ndarray, int]:
    """A mono waveform and its rate, or a ``ValueError`` that says what is wrong with them.

    Args:
        wave: (samples,) int16, or float16/32/64 in any scale.
        sample_rate: in Hz, a positive whole number.
    """
    wave = np.asarray(wave)
    if wave.ndim != 1:
        raise ValueError(f"the wave must be mono, of shape (samples,): got {wave.shape}")
    if wave.dtype.kind != "f" and wave.dtype != np.int16:
        raise ValueError(f"the wave must be int16 or float: got {wave.dtype}")
    if wave.dtype.kind == "f" and not np.isfinite(wave).all():
        where = int(np.flatnonzero(~np.isfinite(wave))[0])
        raise ValueError(f"the wave is NaN or infinite at sample {where}")
    if not (np.isfinite(sample_rate) and sample_rate > 0 and sample_rate == int(sample_rate)):
        raise ValueError(f"the sample rate must be a positive whole number: got {sample_rate}")
    return wave, int(sample_rate)


def int16_scale(wave: np.ndarray) -> np.ndarray:
    """Samples in Kaldi's scale (the int16 range), float32.

    int16 samples keep their values; floats, taken to be in [-1, 1] as soundfile reads them, are
    multiplied by 32768. Floats far outside raise ``ValueError``: they are in the int16 scale
    already, and their log energies would be wrong by 20.8.
    """
    if wave.dtype == np.int16:
        return wave.astype(np.float32)
    peak = float(np.abs(wave).max(initial=0.0))
    if peak > LARGEST_FLOAT:
        raise ValueError(
            f"a float wave must lie in [-1, 1], this one peaks at {peak:g}: divide it by 32768, "
            "or pass it as int16"
        )
    return (wave.astype(np.float64) * INT16_SCALE).astype(np.float32)
