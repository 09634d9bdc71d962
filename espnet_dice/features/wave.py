"""The waveform as the feature extractors take it, checked once."""

from typing import Any

import numpy as np

from espnet_dice.io.audio import LARGEST_FLOAT, scaled

INT16_SCALE = 32768.0
QUIET_INT32 = 1 << 15
"""int32 samples that stay below this are 96 dB under full scale: int16 ones in a wider type."""


def as_mono(wave: Any) -> np.ndarray:
    """Samples as whoever recorded or read them hands them over.

    Args:
        wave: (samples,), (1, samples) or (samples, 1): an array, a tensor (of any device, with or
            without a gradient) or a list. Integers are scaled as the same samples in a file:
            int8, int16 and int32 by 2^7, 2^15 and 2^31; uint8 has its zero at 128 and is scaled by
            2^7. Other integers do not say their scale.

    Returns:
        (samples,) int16 or float; other integers are float32 in [-1, 1).

    Raises:
        ValueError: no array of such numbers, several channels, or NaN.
    """
    samples = as_array(wave)
    if samples.dtype.kind not in "iuf":
        got = _described(wave, samples)
        raise ValueError(f"the wave must be int16, int32, uint8 or float samples: got {got}")
    if samples.ndim == 2 and 1 in samples.shape:
        samples = samples.reshape(-1)
    if samples.ndim != 1:
        raise ValueError(
            f"the wave must be mono, of shape (samples,): got {samples.shape}; choose a channel"
        )
    if samples.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(samples))
        if len(bad):
            raise ValueError(f"the wave is NaN or infinite at sample {bad[0]}")
        return samples
    return _scaled(samples)


def as_array(wave: Any) -> np.ndarray:
    """What NumPy makes of an array of any library, of a tensor or of a list.

    Raises:
        ValueError: nothing, or some of it is masked.
    """
    try:
        if np.ma.is_masked(wave):
            raise ValueError("some samples are masked; fill or remove them")
        if hasattr(wave, "detach"):  # a tensor
            wave = wave.detach().cpu()
            if wave.is_floating_point() and wave.element_size() < 4:
                wave = wave.float()  # NumPy has no bfloat16
        return np.asarray(wave)
    except Exception as err:  # libraries of arrays have their own classes
        kind, reason = type(wave).__name__, " ".join(str(err).split())[:150]
        raise ValueError(f"the wave, a {kind}, is no array of samples: {reason}") from err


def _described(wave: Any, samples: np.ndarray) -> str:
    kind = type(wave).__name__
    if samples.ndim and samples.dtype.kind in "OSU":  # the dtype says nothing more
        return f"a {kind} of {type(samples.flat[0]).__name__}" if samples.size else f"a {kind}"
    return f"{samples.dtype} ({kind})" if samples.ndim else kind


def _scaled(samples: np.ndarray) -> np.ndarray:
    """Integers as files have them: int16 as it is, others as float32 in [-1, 1)."""
    name = samples.dtype.name  # of either byte order
    if name == "int16":
        return samples.astype(np.int16)
    if name == "uint8":
        return (samples.astype(np.float32) - 128) / 128
    if name not in ("int8", "int32"):
        raise ValueError(
            f"the wave is {name}, which does not say its scale: give np.array(samples, np.int16), "
            "int32 or uint8 as a file has them, or float in [-1, 1]"
        )
    if name == "int32" and len(samples):
        peak = max(int(samples.max()), -int(samples.min()))
        if 0 < peak <= QUIET_INT32:
            raise ValueError(
                f"the wave is int32, of which it uses {peak} of 2147483648: if these are int16 "
                "samples, give them as int16; if not, as float in [-1, 1]"
            )
    return (samples / 2.0 ** (8 * samples.dtype.itemsize - 1)).astype(np.float32)


def whole_rate(rate: Any) -> int:
    """A sampling rate in Hz, of any kind of number.

    Raises:
        ValueError: no positive whole number.
    """
    try:
        is_number = np.ndim(rate) == 0 and not isinstance(rate, (bool, np.bool_, str, bytes))
        number = float(rate) if is_number else 0.0
    except (TypeError, ValueError, OverflowError):
        number = 0.0
    if not (0 < number < float("inf") and number == int(number)):
        raise ValueError(
            f"the sample rate must be a positive whole number of Hz: got {str(repr(rate))[:60]}"
        )
    return int(number)


def check_wave(wave: Any, sample_rate: Any) -> tuple[np.ndarray, int]:
    """A mono waveform and its rate, or a ``ValueError`` that says what is wrong with them.

    Args:
        wave: (samples,) as :func:`as_mono` takes it; floats in any scale.
        sample_rate: in Hz, a positive whole number.
    """
    return as_mono(wave), whole_rate(sample_rate)


def int16_scale(wave: np.ndarray) -> np.ndarray:
    """Samples in Kaldi's scale (the int16 range), float32.

    int16 samples keep their values; floats, taken to be in [-1, 1] as soundfile reads them, are
    multiplied by 32768. Floats far outside raise ``ValueError``: they are in the int16 scale
    already, and their log energies would be wrong by 20.8.
    """
    if wave.dtype == np.int16:
        return wave.astype(np.float32)
    check_peak(wave)
    return (wave.astype(np.float64) * INT16_SCALE).astype(np.float32)


def check_peak(wave: np.ndarray) -> None:
    """Refuse floats far outside [-1, 1].

    Raises:
        ValueError: there are some.
    """
    peak = float(np.abs(wave).max(initial=0.0))
    if peak > LARGEST_FLOAT:
        raise ValueError(
            f"floats of a wave must lie in [-1, 1], these reach {peak:g}: {scaled(peak)}"
        )
