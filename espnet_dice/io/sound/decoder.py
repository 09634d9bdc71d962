"""libsndfile at work: a file opened, a span of it decoded, or all of it, however long it is."""

import contextlib
import io
import os
import threading
from typing import Any

import numpy as np

from espnet_dice.io.sound.beginnings import seems
from espnet_dice.io.sound.containers import Disagreement
from espnet_dice.io.sound.mp3 import Stream

_BLOCK = 1 << 16


class _Memory(io.BytesIO):
    """Bytes of a file; libsndfile may seek before its beginning when it is cut short."""

    def seek(self, to: int, whence: int = 0) -> int:
        """Go there, or stay, as a file does; libsndfile looks at where that is."""
        with contextlib.suppress(ValueError):  # else a traceback on stderr, out of a callback
            super().seek(to, whence)
        return self.tell()


def opened(source: str | bytes) -> Any:
    """A ``soundfile.SoundFile`` of a path or of a file's bytes.

    Raises:
        Disagreement: libsndfile does not read it.
    """
    import soundfile

    try:
        if isinstance(source, bytes):
            return soundfile.SoundFile(_Memory(source))
        # without its name, from which libsndfile would guess what has no header (.gsm, .vox, .au)
        return soundfile.SoundFile(os.open(source, os.O_RDONLY))
    except soundfile.SoundFileError as err:
        what = f"unreadable audio ({_reason(err)}{seems(source)})"
        raise Disagreement(f"{what}; replace the file") from err


def _reason(err: Exception) -> str:
    text = str(err).rstrip(". ")
    return text.split(": ", 1)[-1] if text.startswith("Error opening") else text or "decoder error"


def decoded(part: Any, start: int, stop: int) -> np.ndarray:
    """Samples from ``start`` on, up to ``stop``: (samples, channels) float32.

    Raises:
        Disagreement: the decoder fails, or gives another number.
    """
    import soundfile

    try:
        if part.seekable() and part.tell() != start:
            part.seek(start)
        samples = part.read(stop - start, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as err:
        raise Disagreement(
            f"damaged or truncated audio ({_reason(err)}); replace the file"
        ) from err
    if len(samples) != stop - start:
        raise Disagreement(
            f"truncated: {stop - start} samples expected, {len(samples)} decoded; "
            "copy the file again or remove the utterance"
        )
    return samples


def length(data: bytes) -> int:
    """Samples that the decoder gives, whatever the header says."""
    import soundfile

    found = 0
    with opened(data) as part:
        try:
            while got := len(part.read(_BLOCK, dtype="float32")):
                found += got
        except soundfile.SoundFileError:
            return found  # what came before the damage counts
    return found


class Piped:
    """A stream that libsndfile reads from a pipe, where it does not guess how long it is.

    Args:
        sound: the stream as libsndfile opened it.
        stream: its bytes and number of samples.
    """

    def __init__(self, sound: Any, stream: Stream):
        self.samplerate, self.channels = sound.samplerate, sound.channels
        self.format, self.frames = sound.format, stream.samples
        self._data = stream.data
        sound.close()

    def seekable(self) -> bool:
        """It is decoded from its beginning."""
        return False

    def close(self) -> None:
        """Nothing is open."""

    def read(self, frames: int, **how: Any) -> np.ndarray:
        """All samples, whatever is asked for."""
        import soundfile

        end, begin = os.pipe()

        def feed() -> None:
            with contextlib.suppress(BrokenPipeError), os.fdopen(begin, "wb") as f:
                f.write(self._data)

        feeder = threading.Thread(target=feed)
        feeder.start()
        made = []
        try:
            with soundfile.SoundFile(end, closefd=False) as f:
                while len(block := f.read(_BLOCK, **how)):
                    made.append(block)
        finally:
            os.close(end)
            feeder.join()
        return np.concatenate(made)
