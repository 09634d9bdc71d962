"""The samples of one utterance, from a file, its bytes, or an array."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from espnet_dice.features.wave import INT16_SCALE, as_mono, check_peak, whole_rate
from espnet_dice.io import wav_scp
from espnet_dice.io.audio import AudioOptions, AudioReader, change_speed, check_convertible
from espnet_dice.io.datadir import Recording, Utterance
from espnet_dice.io.errors import DataError

EXPECTED = (
    "give a file's name; bytes or an open binary file of audio; an array with rate=16000, or what "
    "it is; (samples, rate); or {'array': samples, 'sampling_rate': rate}"
)
ARRAY, RATE = "array", "sampling_rate"
"""Keys of an utterance in Hugging Face's ``datasets``."""
PAIRS = [True, False], [False, True]
"""Which of two is an array, where one is the other's rate."""


def samples_of(audio: Any, rate: Any, options: AudioOptions) -> np.ndarray:
    """Samples as the recipes' stages read them.

    Args:
        audio: a file's name; an audio file's bytes, or the file, opened in binary mode; samples as
            :func:`espnet_dice.features.wave.as_mono` takes them, floats in [-1, 1]; (samples,
            rate); or a mapping with ``array`` and ``sampling_rate``.
        rate: sampling rate of an array in Hz; a file knows its own.
        options: what to accept.

    Returns:
        (samples,) float32 at ``options.rate``, not clipped.

    Raises:
        DataError: a file that is missing or damaged, another sampling rate and no leave to convert
            it, several channels, NaN; or nothing of the above.
    """
    if isinstance(audio, (str, os.PathLike)):
        return _of_file(Path(audio), options, name=os.fspath(audio))
    if isinstance(audio, memoryview) and audio.itemsize == 1:
        audio = bytes(audio)
    if isinstance(audio, (bytes, bytearray)) or hasattr(audio, "read"):
        try:
            return _of_bytes(audio, options)
        except DataError as err:
            if rate is None or hasattr(audio, "read"):
                raise
            raise DataError(f"{err}; of raw samples give np.frombuffer(audio, np.int16)") from err
    samples, rate = _with_rate(audio, rate)
    if rate is None:
        if _is_array(samples) and not _holds_things(samples):
            raise DataError("an array has no sampling rate: give rate=16000, or what it is")
        raise DataError(f"{_kind(audio)} is no audio: {EXPECTED}")
    try:
        return _of_array(as_mono(samples), whole_rate(rate), options)
    except ValueError as err:
        several = options.channel is not None and getattr(samples, "ndim", 1) == 2
        hint = ": channel= is for files, give samples[0] or samples[:, 0]" if several else ""
        raise DataError(f"{err}{hint}") from err


def name_of(audio: Any) -> str:
    """What a file is called without its directory and its ending; all else has no name."""
    path = getattr(audio, "name", None) if hasattr(audio, "read") else audio
    return Path(path).stem if isinstance(path, (str, os.PathLike)) else ""


def _kind(thing: Any) -> str:
    return type(thing).__name__


def _is_array(samples: Any) -> bool:
    if isinstance(samples, (list, tuple)):
        return True
    return hasattr(samples, "__array__") and np.ndim(samples) > 0  # a number of NumPy's has 0


def _holds_things(samples: Any) -> bool:
    """Whether it is a list of files, or of arrays and numbers together: no samples."""
    if not isinstance(samples, (list, tuple)):
        return False
    is_file = any(isinstance(one, (str, os.PathLike)) for one in samples)
    return is_file or len({hasattr(one, "__len__") for one in samples}) > 1


def _with_rate(audio: Any, rate: Any) -> tuple[Any, Any]:
    """Samples and rate of those that come together.

    Raises:
        DataError: they say it twice, or in another way.
    """
    what = "(samples, rate): the samples"
    if isinstance(audio, Mapping):
        if not {ARRAY, RATE} <= audio.keys():
            keys = ", ".join(map(repr, audio)) or "none"
            raise DataError(f"a mapping must have {ARRAY!r} and {RATE!r}, this one has {keys}")
        what, audio = repr(ARRAY), (audio[ARRAY], audio[RATE])
    elif not (isinstance(audio, tuple) and [*map(_is_array, audio)] in PAIRS):
        return audio, rate
    if not _is_array(audio[0]):
        raise DataError(f"{what} must be an array, not {_kind(audio[0])}")
    if rate is not None:
        raise DataError(f"the samples come with their rate, {audio[1]!r}: leave rate={rate!r} out")
    return audio


def _of_array(samples: np.ndarray, rate: int, options: AudioOptions) -> np.ndarray:
    if not len(samples):
        raise DataError("the array has no samples")
    if samples.dtype == np.int16:
        samples = samples / INT16_SCALE
    check_peak(samples)
    samples = np.ascontiguousarray(samples, np.float32)
    if rate != options.rate and not options.resample:
        raise DataError(
            f"{rate} Hz, the model wants {options.rate} Hz: convert it, or load the model with "
            "resample=True"
        )
    check_convertible(rate)
    return change_speed(samples, rate / options.rate)


@dataclass(frozen=True)
class _Given(Utterance):
    """An utterance that no data directory lists: messages begin with what the caller gave."""

    given: str = ""

    @property
    def name(self) -> str:
        return self.given


def _of_file(path: Path, options: AudioOptions, given: str = "", name: str = "") -> np.ndarray:
    try:
        is_file = path.is_file()
    except OSError as err:  # too long a name
        raise DataError(f"{str(path)[:100]}: {err.strerror}") from err
    if not is_file:
        if path.is_dir():
            raise DataError(f"{path}: a directory")
        hint = wav_scp.hint(Path(), [Path()], name, "")
        raise DataError(f"{name}: no such file{hint and f'; {hint}'}")
    recording = Recording(path.stem, "file", str(path), "", "audio")
    utterance = _Given(path.stem, recording, "", "", 0.0, None, "audio", given=given or str(path))
    return AudioReader(options).read(utterance)[0]


def _of_bytes(audio: Any, options: AudioOptions) -> np.ndarray:
    """Read as a file of the same content, by the same reader."""
    name = getattr(audio, "name", None)
    is_named = isinstance(name, (str, os.PathLike))
    given = str(name) if is_named else f"{_kind(audio)} of an audio file"
    if hasattr(audio, "read"):
        try:
            audio = audio.read()
        except UnicodeDecodeError as err:
            raise DataError(f"{given}: opened as text: open it in binary mode, 'rb'") from err
        except (OSError, ValueError, TypeError) as err:  # closed, not open for reading, …
            raise DataError(f"{given}: cannot be read ({err})") from err
    if not isinstance(audio, (bytes, bytearray)):
        way = "give its samples and rate, or the name of the file"  # such as a SoundFile
        if isinstance(audio, str):
            way = "open it in binary mode, 'rb'"
        raise DataError(f"{given}: read() gave {_kind(audio)}, not bytes: {way}")
    if not audio:
        raise DataError(f"{given}: no bytes; seek(0) if it was read before")
    with tempfile.TemporaryDirectory() as tmp:
        path = Path(tmp) / "audio"
        path.write_bytes(audio)
        return _of_file(path, options, given)
