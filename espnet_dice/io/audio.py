"""Reading the samples of one utterance, and saying exactly what is wrong when that fails."""

import argparse
import io
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from espnet_dice.io.datadir import Recording, Utterance
from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.io.options import add_resample, true_false

SAMPLE_RATE = 16000
STREAMED = 0x7FFFF000
"""Sizes from here on stand for "unknown" in the headers that programs write to a pipe."""
LARGEST_FLOAT = 32.0
"""An overshoot of a lossy codec stays far below this; int16-scale samples in floats do not."""
END_SLACK_S = 0.05
"""How far a segment may end beyond its recording: times in ``segments`` are rounded."""


@dataclass(frozen=True)
class AudioOptions:
    """What to accept.

    Attributes:
        rate: sampling rate in Hz that the samples must have.
        resample: convert other rates instead of refusing them.
        channel: which channel of a multi-channel recording to take (from 0); None refuses them.
        allow_pipes: run ``wav.scp`` entries that are shell commands.
    """

    rate: int = SAMPLE_RATE
    resample: bool = False
    channel: int | None = None
    allow_pipes: bool = False

    def __post_init__(self):
        if self.rate < 1:
            raise ConfigError(f"--fs {self.rate}: a sampling rate is a positive number of Hz")
        if self.channel is not None and self.channel < 0:
            raise ConfigError(f"--channel {self.channel}: channels count from 0")


def add_audio_options(parser: argparse.ArgumentParser) -> None:
    """Command-line options for :class:`AudioOptions`."""
    parser.add_argument(
        "--allow_pipes",
        type=true_false,
        default=False,
        metavar="BOOL",
        help="run wav.scp entries that are shell commands",
    )
    parser.add_argument("--fs", type=int, default=SAMPLE_RATE, help="sampling rate expected, Hz")
    add_resample(parser)
    parser.add_argument("--channel", type=int, help="channel to take of several, from 0")


def audio_options(args: argparse.Namespace) -> AudioOptions:
    """:class:`AudioOptions` from parsed arguments."""
    return AudioOptions(args.fs, args.resample, args.channel, args.allow_pipes)


class AudioReader:
    """Reads utterances; a recording that must be decoded whole is kept for the next segment."""

    def __init__(self, options: AudioOptions | None = None):
        self.options = options or AudioOptions()
        self._kept: tuple[str, np.ndarray, int] | None = None

    def read(self, utt: Utterance) -> tuple[np.ndarray, int]:
        """Samples of one utterance.

        Returns:
            samples: float32 (samples,) in [-1, 1), int16 scaled by 2^-15.
            rate: in Hz, always ``options.rate``.

        Raises:
            DataError: naming the entry, the utterance, the file and the way out.
        """
        recording = utt.recording
        if recording.kind == "file":
            with _opened(recording.source, utt) as f:
                rate = f.samplerate
                frames = f.frames
                self._check_header(utt, rate, f.channels)
                start, stop = _span(utt, frames, rate)
                samples = _read_frames(f, start, stop, utt)
        else:
            samples, rate = self._whole(recording, utt)
            self._check_header(utt, rate, samples.shape[1])
            start, stop = _span(utt, len(samples), rate)
            samples = samples[start:stop]
        samples = np.ascontiguousarray(samples[:, self.options.channel or 0])
        peak = float(np.abs(samples).max(initial=0.0))
        if not np.isfinite(peak):
            raise _bad(utt, "NaN or infinite samples; write the file again")
        if peak > LARGEST_FLOAT:
            raise _bad(utt, f"floats must lie in [-1, 1], these reach {peak:g}; divide by 32768")
        samples = change_speed(samples, utt.speed * rate / self.options.rate)
        return samples, self.options.rate

    def probe(self, utt: Utterance) -> float:
        """Seconds of audio, from the header alone where that is enough.

        Raises:
            DataError: as :meth:`read`, but for damage that only decoding shows.
        """
        if utt.recording.kind != "file":
            samples, rate = self.read(utt)
            return len(samples) / rate
        with _opened(utt.recording.source, utt) as f:
            self._check_header(utt, f.samplerate, f.channels)
            start, stop = _span(utt, f.frames, f.samplerate)
            return (stop - start) / f.samplerate / utt.speed

    def _check_header(self, utt: Utterance, rate: int, channels: int) -> None:
        want, channel = self.options.rate, self.options.channel
        if channels > 1 and channel is None:
            raise _bad(
                utt, f"{channels} channels, expected one; choose with --channel 0 or mix them down"
            )
        if channel is not None and channel >= channels:
            raise _bad(
                utt, f"has no channel {channel} (channels: {channels}; --channel counts from 0)"
            )
        if rate != want and not self.options.resample:
            raise _bad(utt, f"{rate} Hz, expected {want} Hz; convert it or give --resample true")

    def _whole(self, recording: Recording, utt: Utterance) -> tuple[np.ndarray, int]:
        """Samples (samples, channels) and rate of an ark entry or a command's output."""
        if self._kept is None or self._kept[0] != recording.id + recording.source:
            if recording.kind == "ark":
                samples, rate = _read_ark(recording.source, utt)
            else:
                if not self.options.allow_pipes:
                    raise _bad(utt, "is a shell command; give --allow_pipes true to run it")
                out = _run(recording, utt)
                with _opened(io.BytesIO(out), utt) as f:
                    frames, rate = f.frames, f.samplerate
                    if frames < 1:
                        raise _bad(utt, "zero samples; remove the utterance")
                    samples = _read_frames(f, 0, frames, utt)
            self._kept = (recording.id + recording.source, samples, rate)
        return self._kept[1], self._kept[2]


def change_speed(samples: np.ndarray, factor: float) -> np.ndarray:
    """Samples played ``factor`` times as fast: (n,) → (ceil(n / factor),), float32.

    With factor = rate / wanted rate this is resampling; polyphase, so the result is the same
    on every machine.
    """
    if factor == 1:
        return samples
    from scipy.signal import resample_poly

    ratio = Fraction(factor).limit_denominator(1000)
    return resample_poly(samples, ratio.denominator, ratio.numerator).astype(np.float32)


def _bad(utt: Utterance, problem: str) -> DataError:
    return DataError(f"{utt.name}: {problem}")


def _opened(source: str | io.BytesIO, utt: Utterance) -> Any:
    import soundfile

    try:
        f = soundfile.SoundFile(source)
    except (soundfile.SoundFileError, TypeError) as err:
        raise _bad(utt, f"unreadable audio ({_reason(err)}); replace the file") from err
    lost = _truncation(f.extra_info)
    if lost:
        f.close()
        raise _bad(utt, f"truncated: {lost}; copy the file again or remove the utterance")
    return f


def _reason(err: Exception) -> str:
    text = str(err).rstrip(". ")
    return text.split(": ", 1)[-1] if text.startswith("Error opening") else text or "decoder error"


def _truncation(log: str) -> str | None:
    """What libsndfile's log says of missing bytes; it reads such files without complaint."""
    pattern = r"^\s*(?:data|riff|SSND|Data Size)\s*: (0x[0-9A-Fa-f]+|\d+) \(should be (\d+)\)"
    for claimed_text, there in re.findall(pattern, log, re.MULTILINE):
        claimed = int(claimed_text, 0)
        if int(there) < claimed < STREAMED:
            return f"the header promises {claimed} bytes, there are {there}"
    counts = re.search(r"frame count (\d+) does not match value from '\w+' chunk of (\d+)", log)
    if counts and int(counts[1]) < int(counts[2]):
        return f"the header promises {counts[2]} samples, there are {counts[1]}"
    if "Junk after the last page" in log:
        return "the last Ogg page is incomplete"
    return None


def _span(utt: Utterance, frames: int, rate: int) -> tuple[int, int]:
    """First and one-past-last sample of an utterance."""
    if frames < 1:
        raise _bad(utt, "zero samples; remove the utterance")
    start = round(utt.start * rate)
    stop = frames if utt.end is None else round(utt.end * rate)
    if stop > frames + END_SLACK_S * rate or start >= frames:
        end = "its end" if utt.end is None else f"{utt.end:g} s"
        raise _bad(
            utt,
            f"the segment {utt.start:g} s to {end} goes beyond the recording "
            f"({frames / rate:.2f} s); mend segments",
        )
    stop = min(stop, frames)
    if stop <= start:
        raise _bad(utt, "the segment holds no sample; remove it")
    return start, stop


def _read_frames(f: Any, start: int, stop: int, utt: Utterance) -> np.ndarray:
    import soundfile

    try:
        if start:
            f.seek(start)
        samples = f.read(stop - start, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as err:
        raise _bad(utt, f"damaged or truncated audio ({_reason(err)}); replace the file") from err
    if len(samples) < stop - start:
        raise _bad(
            utt,
            f"truncated: {stop - start} samples expected, {len(samples)} decoded; "
            "copy the file again or remove the utterance",
        )
    return samples


def _read_ark(source: str, utt: Utterance) -> tuple[np.ndarray, int]:
    import kaldiio

    path, _, offset = source.rpartition(":")
    with open(path, "rb") as f:
        f.seek(int(offset))
        head = f.read(8)
        there = os.fstat(f.fileno()).st_size - int(offset) - 8
    # kaldiio would take a matrix too, and unpickle what is marked as a pickle
    if not head.startswith((b"RIFF", b"fLaC", b"AUDIO")):
        raise _bad(utt, "no audio at this offset of the archive; make it again")
    promised = int.from_bytes(head[4:], "little")
    if head.startswith(b"RIFF") and there < promised < STREAMED:
        raise _bad(
            utt,
            f"truncated: the header promises {promised} bytes, there are {there}; make it again",
        )
    try:
        got = kaldiio.load_mat(source)
    except Exception as err:  # kaldiio raises whatever its parser stumbles over
        raise _bad(utt, f"unreadable archive ({type(err).__name__}: {err}); make it again") from err
    rate, samples = got if isinstance(got[0], int) else got[::-1]
    if samples.ndim == 1:
        samples = samples[:, None]
    if samples.dtype.kind == "i":
        return samples.astype(np.float32) / (1 << (8 * samples.dtype.itemsize - 1)), rate
    return samples.astype(np.float32), rate


def _run(recording: Recording, utt: Utterance) -> bytes:
    done = subprocess.run(
        recording.source,
        shell=True,
        cwd=recording.cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode in (-signal.SIGINT, 128 + signal.SIGINT):
        raise KeyboardInterrupt  # Ctrl-C ends the command too, and may do so first
    if done.returncode != 0:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise _bad(utt, f"the command failed with exit code {done.returncode}: {''.join(last)}")
    if not done.stdout:
        raise _bad(utt, "the command wrote no audio to its output")
    return done.stdout
