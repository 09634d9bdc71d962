"""The samples of one utterance, from a file or from an array."""

from pathlib import Path
from typing import Any

import numpy as np

from espnet_dice.features.wave import INT16_SCALE
from espnet_dice.io.audio import LARGEST_FLOAT, AudioOptions, AudioReader, change_speed
from espnet_dice.io.datadir import Recording, Utterance
from espnet_dice.io.errors import DataError


def samples_of(audio: Any, rate: int | None, options: AudioOptions) -> np.ndarray:
    """Samples as the recipes' stages read them.

    Args:
        audio: a file's name; or (samples,) int16, or float in [-1, 1], an array or a tensor. Floats
            somewhat beyond that are kept as they are, as in a file.
        rate: sampling rate of an array in Hz; a file knows its own.
        options: what to accept.

    Returns:
        (samples,) float32 at ``options.rate``, not clipped.

    Raises:
        DataError: a file that is missing or damaged, another sampling rate and no leave to convert
            it, several channels, NaN.
    """
    if isinstance(audio, (str, Path)):
        return _of_file(Path(audio), options)
    if rate is None:
        raise DataError("an array has no sampling rate: give rate=16000, or what it is")
    samples = np.asarray(audio)
    if samples.ndim != 1 or not len(samples):
        raise DataError(f"an array must be mono, of shape (samples,): got {samples.shape}")
    if samples.dtype == np.int16:
        samples = (samples / INT16_SCALE).astype(np.float32)
    elif samples.dtype.kind != "f":
        raise DataError(f"an array must be int16, or float in [-1, 1]: got {samples.dtype}")
    samples = np.ascontiguousarray(samples, np.float32)
    if not np.isfinite(samples).all():
        raise DataError("the array has NaN or infinite samples")
    if np.abs(samples).max() > LARGEST_FLOAT:
        raise DataError("floats must lie in [-1, 1]: divide by 32768, or give int16")
    if rate != options.rate and not options.resample:
        raise DataError(
            f"{rate} Hz, the model wants {options.rate} Hz: convert it, or load the model with "
            "resample=True"
        )
    return change_speed(samples, rate / options.rate)


def name_of(audio: Any) -> str:
    """What a file is called without its directory and its ending; arrays have no name."""
    return Path(audio).stem if isinstance(audio, (str, Path)) else ""


def _of_file(path: Path, options: AudioOptions) -> np.ndarray:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    recording = Recording(path.stem, "file", str(path), "", "audio")
    utterance = Utterance(path.stem, recording, "", "", 0.0, None, "audio")
    return AudioReader(options).read(utterance)[0]
