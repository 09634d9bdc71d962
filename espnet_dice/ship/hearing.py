"""What a model hears of a waveform: the features that it was trained on. Needs numpy alone.

A copy goes beside each runtime, with ``pitch.py`` where the model hears pitch.
"""

import io
import os
import wave
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 1024  # frames that are transformed at a time: a long recording needs no more memory
LOUDEST = 32.0  # floats above this are in another scale
STREAMED = 0x7F000000  # bytes: what is written to a pipe promises as many, or more


class Hearing:
    """From audio to what a model takes.

    Args:
        feats_type: ``fbank_pitch``, ``fbank`` or ``raw``.
        rate: in Hz.
        pitch: the module ``pitch.py``, for ``fbank_pitch``.
    """

    def __init__(self, feats_type: str, rate: int, pitch: Any = None):
        self.feats_type, self.rate, self._pitch = feats_type, rate, pitch

    def samples(self, audio: Any) -> np.ndarray:
        """Samples, (samples,) float32 in [-1, 1].

        Args:
            audio: a WAV file; samples at the model's rate, int16 or float in [-1, 1]; or an
                iterable of such arrays.
        """
        if isinstance(audio, (str, os.PathLike)):
            audio, found = read_wave(audio)
            if found != self.rate:
                wants = f"the model wants {self.rate} Hz: convert it (sox, ffmpeg)"
                raise ValueError(f"{found} Hz, {wants}")
        if not isinstance(audio, np.ndarray):
            parts = [_in_one_scale(np.asarray(part)) for part in audio]
            return np.concatenate([np.zeros(0, np.float32), *parts])
        return _in_one_scale(audio)

    def features(self, samples: np.ndarray, name: str = "") -> np.ndarray:
        """What the model takes: (frames, dim) float32, or for waveforms the samples.

        Args:
            samples: of :meth:`samples`.
            name: of the utterance, which seeds the noise that Kaldi adds to the pitch.
        """
        if self.feats_type == "raw":
            return samples
        mel = fbank(samples, self.rate)
        if self.feats_type == "fbank":
            return mel
        pitch = self._pitch.process_pitch(self._pitch.kaldi_pitch(samples, self.rate), seed=name)
        frames = min(len(mel), len(pitch))
        return np.concatenate([mel[:frames], pitch[:frames]], axis=1)


def name_of(audio: Any) -> str:
    """An utterance's name: what its file is called, without its ending."""
    return Path(audio).stem if isinstance(audio, (str, os.PathLike)) else ""


def fbank(samples: np.ndarray, rate: int, bins: int = 80) -> np.ndarray:
    """Kaldi's log-mel energies, 25 ms every 10 ms: Povey's window, pre-emphasis 0.97, no dither.

    Args:
        samples: (samples,) in [-1, 1].
        rate: in Hz.
        bins: filters, from 20 Hz to half the rate.

    Returns:
        (frames, bins) float32, of whole frames only.
    """
    size, shift = int(0.025 * rate), int(0.01 * rate)
    if len(samples) < size:
        return np.zeros((0, bins), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[::shift]
    length = 1 << (size - 1).bit_length()
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / (size - 1))) ** 0.85
    filters = mel_filters(rate, length, bins)
    features = np.empty((len(frames), bins), np.float32)
    for start in range(0, len(frames), BLOCK):
        x = frames[start : start + BLOCK] * 32768.0
        x -= x.mean(axis=1, keepdims=True)
        x -= 0.97 * np.concatenate([x[:, :1], x[:, :-1]], axis=1)
        power = np.abs(np.fft.rfft(x * window, length)) ** 2
        energies = power[:, :-1] @ filters
        features[start : start + BLOCK] = np.log(np.maximum(energies, np.finfo(np.float32).eps))
    return features


def mel_filters(rate: int, length: int, bins: int, low: float = 20.0) -> np.ndarray:
    """Triangles on the mel scale over the bins of a spectrum, (length / 2, bins)."""

    def mel(hertz):
        return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)

    edges = np.linspace(mel(low), mel(rate / 2), bins + 2)
    at = mel(np.arange(length // 2) * rate / length)[:, None]
    slopes = (at - edges) / np.diff(edges, append=2 * edges[-1] - edges[-2])
    return np.maximum(0.0, np.minimum(slopes[:, :-2], 1.0 - slopes[:, 1:-1]))


def read_wave(path: str | Path) -> tuple[np.ndarray, int]:
    """Samples, (samples,) float32 in [-1, 1), and rate in Hz of a WAV file of integers."""
    raw = Path(path).read_bytes()
    try:
        with wave.open(io.BytesIO(raw)) as f:
            channels, width, rate, size = f.getparams()[:4]
            data = np.frombuffer(f.readframes(size), np.uint8)
    except (wave.Error, EOFError) as err:
        raise ValueError(f"{path}: not a WAV file of integers ({err})") from err
    if channels != 1:
        raise ValueError(f"{path}: {channels} channels: give one")
    whole = len(data) == size * width and len(raw) <= 9 + int.from_bytes(raw[4:8], "little")
    if not whole and size * width < STREAMED:
        raise ValueError(f"{path}: cut, joined, or longer than its header says: write it again")
    if not whole:
        data = data[: len(data) - _notes(raw)]
    data = data[: len(data) // width * width].reshape(-1, width)
    if width == 1:  # has its zero at 128
        data = data ^ 128
    wide = np.zeros((len(data), 4), np.uint8)
    wide[:, 4 - width :] = data
    return (wide.view("<i4")[:, 0] / 2.0**31).astype(np.float32), rate


def _notes(raw: bytes) -> int:
    """Bytes of notes behind samples that nobody counted."""
    at = max(raw.rfind(b"LIST"), raw.rfind(b"id3 "))
    size = 8 + int.from_bytes(raw[at + 4 : at + 8], "little")
    return len(raw) - at if at > 0 and len(raw) - at in (size, size + size % 2) else 0


def _in_one_scale(samples: np.ndarray) -> np.ndarray:
    if samples.dtype == np.int16:
        samples = samples / 32768.0
    right = samples.ndim == 1 and samples.dtype.kind == "f"
    if not right or not np.abs(samples).max(initial=0.0) <= LOUDEST:  # NaN neither
        raise ValueError("give samples of one channel, int16 or finite floats in [-1, 1]")
    return samples.astype(np.float32)
