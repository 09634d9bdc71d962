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
PCM = bytes.fromhex("0100000000001000800000aa00389b71")  # what an extensible header says
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
            audio: a WAV file; samples at the model's rate, int16 or float in [-1, 1], an array, a
                tensor or a list, (samples,) or (1, samples); or an iterable of such chunks.

        Raises:
            ValueError: it is none of these, or has another rate.
        """
        if isinstance(audio, (str, os.PathLike)):
            samples, found = read_wave(audio)
            if found != self.rate:
                wants = f"the model wants {self.rate} Hz: convert it (sox, ffmpeg)"
                raise ValueError(f"{given(audio)}{found} Hz, {wants}")
            return samples
        is_list = isinstance(audio, (list, tuple)) and not any(map(np.ndim, audio))
        if is_list or hasattr(audio, "__array__") or not hasattr(audio, "__iter__"):
            return _in_one_scale(audio)
        parts = [_in_one_scale(part) for part in audio]
        return np.concatenate([np.zeros(0, np.float32), *parts])

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


def given(audio: Any) -> str:
    """What messages about it begin with: a file's path."""
    return f"{audio}: " if isinstance(audio, (str, os.PathLike)) else ""


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
    at = raw.find(b"fmt ") + 8
    if raw[at : at + 2] == b"\xfe\xff" and raw[at + 24 : at + 40] == PCM:  # new in Python 3.12
        raw = raw[:at] + PCM[:2] + raw[at + 2 :]
    try:
        with wave.open(io.BytesIO(raw)) as f:
            channels, width, rate, size = f.getparams()[:4]
            data = np.frombuffer(f.readframes(size), np.uint8)
    except (wave.Error, EOFError) as err:
        said = str(err) or "it ends in its head"
        raise ValueError(f"{path}: not a WAV file of integers ({said})") from err
    if width > 4:
        raise ValueError(f"{path}: {8 * width} bits a sample: give 16, 24 or 32")
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


def _in_one_scale(samples: Any) -> np.ndarray:
    wanted = "give samples of one channel, int16 or finite floats in [-1, 1]"
    try:
        if np.ma.is_masked(samples):
            raise ValueError("some are masked")
        if hasattr(samples, "detach"):  # a tensor
            samples = samples.detach().cpu()
        samples = np.asarray(samples)
    except Exception as err:  # libraries of arrays have their own classes
        raise ValueError(f"{wanted}, not a {type(samples).__name__} ({err})") from err
    got = f"got {samples.dtype}, shape {samples.shape}"
    if samples.dtype.name == "int16":  # of either byte order
        samples = samples / 32768.0
    if samples.ndim == 2 and 1 in samples.shape:
        samples = samples.reshape(-1)
    if samples.ndim != 1 or samples.dtype.kind != "f":
        raise ValueError(f"{wanted}: {got}")
    peak = np.abs(samples).max(initial=0.0)
    if not peak <= LOUDEST:  # NaN neither
        raise ValueError(f"{wanted}: {got}, up to {peak:g}")
    return samples.astype(np.float32)
