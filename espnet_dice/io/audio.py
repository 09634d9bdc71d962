"""Reading the samples of one utterance, and saying exactly what is wrong when that fails."""

import argparse
import signal
import subprocess
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from espnet_dice.io.datadir import Recording, Utterance
from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.io.options import add_conversions, true_false
from espnet_dice.io.sound.ark_sounds import read_entry
from espnet_dice.io.sound.containers import Disagreement
from espnet_dice.io.sound.sound import Sound

SAMPLE_RATE = 16000
LARGEST_FLOAT = 32.0
"""An overshoot of a lossy codec or a loud recording in floats stays far below this, and is kept as
it is everywhere; int16-scale samples in floats do not, and are refused everywhere."""
FULL_SCALES = {2**15: "16 bits", 2**23: "24 bits", 2**31: "32 bits"}
"""Of integers, in bits of a sample."""
CONVERTIBLE = (1000, 1_000_000)
"""Sampling rates in Hz that are converted: below there is no speech, above no recorder."""
END_SLACK_S = 0.5
"""How far a segment may end beyond its recording, as of Kaldi's ``extract-segments
--max-overshoot``: times in ``segments`` are rounded, and lossy codecs end where they like."""


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
    add_conversions(parser)


def audio_options(args: argparse.Namespace) -> AudioOptions:
    """:class:`AudioOptions` from parsed arguments."""
    return AudioOptions(args.fs, args.resample, args.channel, args.allow_pipes)


class AudioReader:
    """Reads utterances; a recording stays open for its next segment.

    How long a recording is, :class:`Sound` decides, from files, archives and
    commands alike: what :meth:`probe` says of an utterance :meth:`read` gives, or refuses it.
    """

    def __init__(self, options: AudioOptions | None = None):
        self.options = options or AudioOptions()
        self._kept: tuple[Recording, Sound] | None = None

    def read(self, utt: Utterance) -> tuple[np.ndarray, int]:
        """Samples of one utterance.

        Returns:
            samples: float32 (samples,), integers scaled to [-1, 1); floats as they are, loud ones
                beyond that, too.
            rate: in Hz, always ``options.rate``.

        Raises:
            DataError: naming the entry, the utterance, the file and the way out.
        """
        sound, start, stop = self._located(utt)
        try:
            if utt.end is None:
                sound.check_end()
            samples = sound.read(start, stop)
        except Disagreement as err:
            raise _bad(utt, _fitting(err, utt.recording)) from err
        samples = np.ascontiguousarray(samples[:, self.options.channel or 0])
        peak = float(np.abs(samples).max(initial=0.0))
        if not np.isfinite(peak):
            raise _bad(utt, "NaN or infinite samples; write the file again")
        if peak > LARGEST_FLOAT:
            raise _bad(utt, f"floats must lie in [-1, 1], these reach {peak:g}; {scaled(peak)}")
        samples = change_speed(samples, utt.speed * sound.rate / self.options.rate)
        return samples, self.options.rate

    def probe(self, utt: Utterance) -> float:
        """Seconds of audio, without decoding it where that can be.

        Raises:
            DataError: as :meth:`read`, but for damage that only decoding shows.
        """
        sound, start, stop = self._located(utt)
        return (stop - start) / sound.rate / utt.speed

    def is_plain(self, utt: Utterance) -> bool:
        """Whether soundfile, given the file's path, reads the samples as :meth:`read` does."""
        if not utt.is_whole or utt.recording.kind != "file":
            return False
        sound, _, _ = self._located(utt)
        same = sound.rate == self.options.rate and sound.channels == 1
        return same and sound.plain

    def _located(self, utt: Utterance) -> tuple[Sound, int, int]:
        sound = self._opened(utt)
        self._check_header(utt, sound.rate, sound.channels)
        return sound, *_span(utt, sound.frames, sound.rate)

    def _opened(self, utt: Utterance) -> Sound:
        recording = utt.recording
        if self._kept is None or self._kept[0] != recording:
            if self._kept is not None:
                self._kept[1].close()
                self._kept = None
            if recording.kind == "pipe" and not self.options.allow_pipes:
                raise _bad(utt, "is a shell command; give --allow_pipes true to run it")
            try:
                if recording.kind == "file":
                    sound = Sound(recording.source)
                elif recording.kind == "ark":
                    sound = Sound(read_entry(recording.source))
                else:
                    sound = Sound(_run(recording, utt))
            except Disagreement as err:
                raise _bad(utt, _fitting(err, recording)) from err
            self._kept = recording, sound
        return self._kept[1]

    def _check_header(self, utt: Utterance, rate: int, channels: int) -> None:
        want, channel = self.options.rate, self.options.channel
        if channels > 1 and channel is None:
            raise _bad(
                utt,
                f"{channels} channels, expected one; choose with --channel 0 (in Python channel=0) "
                "or mix them down",
            )
        if channel is not None and channel >= channels:
            raise _bad(
                utt, f"has no channel {channel} (channels: {channels}; --channel counts from 0)"
            )
        if rate != want and not self.options.resample:
            raise _bad(
                utt,
                f"{rate} Hz, expected {want} Hz; convert it or give --resample true (in Python "
                "resample=True)",
            )
        if rate != want:
            try:
                check_convertible(rate)
            except ValueError as err:
                raise _bad(utt, str(err)) from err


def check_convertible(rate: int) -> None:
    """Refuse to convert from a rate that no speech has.

    Raises:
        ValueError: naming the rates that are converted.
    """
    low, high = CONVERTIBLE
    if not low <= rate <= high:
        raise ValueError(f"{rate} Hz is no rate of speech: {low} to {high} Hz are converted")


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


def scaled(peak: float) -> str:
    """What to do with floats of an integers' scale, by the largest of them."""
    for full, bits in FULL_SCALES.items():
        if peak <= full:
            return f"divide them by {full}, the full scale of {bits}"
    return "no integers are so large: make them again"


def _bad(utt: Utterance, problem: str) -> DataError:
    return DataError(f"{utt.name}: {problem}")


def _fitting(err: Disagreement, recording: Recording) -> str:
    """What is wrong, with a way out that fits where the sound comes from."""
    what, _, _ = str(err).partition("; ")
    if recording.kind == "file" and recording.source.endswith(".ark"):
        return f"{what}; of an archive the offset is wanted, too: FILE.ark:123"
    if recording.kind == "file" or "archive" in str(err):
        return str(err)
    if recording.kind == "ark":
        return f"{what}; make the archive again or remove the utterance"
    return f"{what}; let the command write one whole file of audio to its output"


def _span(utt: Utterance, frames: int, rate: int) -> tuple[int, int]:
    """First and one-past-last sample of an utterance."""
    if frames < 1:
        raise _bad(utt, "zero samples; remove the utterance")
    start = round(utt.start * rate)
    stop = frames if utt.end is None else round(utt.end * rate)
    if stop >= frames + END_SLACK_S * rate or start >= frames:
        end = "its end" if utt.end is None else f"{utt.end:g} s"
        raise _bad(
            utt,
            f"the segment {utt.start:g} s to {end} goes beyond the recording "
            f"({frames / rate:.2f} s); fix segments",
        )
    stop = min(stop, frames)
    if stop <= start:
        raise _bad(utt, "the segment holds no sample; remove it")
    return start, stop


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
    last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
    if done.returncode != 0:
        how = f"failed with exit code {done.returncode}"
        if done.returncode < 0:
            how = f"was ended by {signal.Signals(-done.returncode).name}"
        raise _bad(utt, ": ".join([f"the command {how}", *last]))
    if not done.stdout:
        raise _bad(utt, ": ".join(["the command wrote no audio to its output", *last]))
    return done.stdout
