"""A feature directory ``dump/<feats_type>/<set>`` as training and decoding read it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espnet_dice.io import espnet_options, fingerprint, texts
from espnet_dice.io.arks import ArkReader
from espnet_dice.io.audio import SAMPLE_RATE, AudioOptions, AudioReader
from espnet_dice.io.datadir import read_data_dir
from espnet_dice.io.errors import ConfigError, DataError, StaleError
from espnet_dice.io.fingerprint import key_of

# conv2d subsampling needs 7 frames to make one; ESPnet stops at a shorter utterance.
MIN_FRAMES = 7
STAGE = "the features stage (2 in kd1, 1 in dice1)"


@dataclass(frozen=True)
class FeatureDir:
    """One set of features.

    Attributes:
        path: the directory.
        key: its fingerprint.
        dim: feature dimension; 0 for raw waves.
        speech: ESPnet's "path,name,type" of the input.
        lengths: utterance → frames (raw: samples), in file order.
    """

    path: Path
    key: str
    dim: int
    speech: str
    lengths: dict[str, int]

    @property
    def name(self) -> str:
        """Name of the set."""
        return self.path.name

    @property
    def rate(self) -> int:
        """Sampling rate of the audio in Hz; 16000 where its record does not say."""
        record = fingerprint.read(self.path) or {}
        return record.get("settings", {}).get("rate", SAMPLE_RATE)

    @property
    def per_second(self) -> int:
        """Frames of 10 ms in a second, or samples."""
        return 100 if self.dim else self.rate

    @property
    def text(self) -> Path:
        """Kaldi's ``text``."""
        return self.path / "text"

    @property
    def stats(self) -> Path:
        """Global mean and variance of the set, as ESPnet's GlobalMVN reads them."""
        return self.path / "feats_stats.npz"

    @property
    def shape(self) -> Path:
        """ESPnet's shape file of the input."""
        return self.path / "feats_shape"


def load(path: str | Path) -> FeatureDir:
    """Read a feature directory's index (not the features).

    Raises:
        StaleError: missing or unfinished.
        ConfigError: ESPnet cannot be told the path.
        DataError: a shape is not readable, or an utterance is too short to train on.
    """
    path = Path(path)
    key = key_of(path, STAGE)
    lengths: dict[str, int] = {}
    dims = set()
    for utt, shape in texts.table(path / "feats_shape").items():
        try:
            length, *dim = map(int, shape.split(","))
        except ValueError:
            raise DataError(f"{path / 'feats_shape'}: {utt}: not T,D: {shape!r}") from None
        lengths[utt] = length
        dims.add(dim[0] if dim else 0)
    if len(dims) != 1:
        raise DataError(f"{path / 'feats_shape'}: feature dimensions differ: {sorted(dims)}")
    dim = dims.pop()
    short = [u for u, n in lengths.items() if dim and n < MIN_FRAMES]
    if short:
        raise DataError(
            f"{path}: {len(short)} utterances have fewer than {MIN_FRAMES} frames, {short[0]} for "
            f"one: remove them from the data directory and run {STAGE} again"
        )
    scp, kind = ("feats.scp", "kaldi_ark") if dim else ("wav.scp", "sound")
    speech = espnet_options.triple(path / scp, "speech", kind)
    return FeatureDir(path, key, dim, speech, lengths)


def seconds(sets: Iterable[FeatureDir]) -> dict[str, float]:
    """utterance → length in seconds, of some sets."""
    return {utt: n / dump.per_second for dump in sets for utt, n in dump.lengths.items()}


def check_same_speech(one: FeatureDir, other: FeatureDir) -> None:
    """Refuse two sets that are not the same utterances of the same data directory.

    Raises:
        StaleError: naming both.
    """
    made = [fingerprint.read(dump.path) or {} for dump in (one, other)]
    spoken = [(m.get("inputs", {}).get("data"), m.get("settings", {}).get("speeds")) for m in made]
    if spoken[0] != spoken[1] or one.lengths.keys() != other.lengths.keys():
        raise StaleError(
            f"{one.path} and {other.path} were made from different speech or transcripts: "
            f"run {STAGE} again, for both"
        )


def check_rate(dump: FeatureDir, who: str = "HuBERT") -> None:
    """Refuse waveforms at another rate than HuBERT hears.

    Args:
        who: hears them, for the message.

    Raises:
        ConfigError: they are not at 16 kHz.
    """
    if dump.rate != SAMPLE_RATE:
        raise ConfigError(
            f"{dump.path} is at {dump.rate} Hz, {who} works at {SAMPLE_RATE} Hz: make it again "
            f"with --fs {SAMPLE_RATE} --resample true, which converts the speech (stage 1; in kd1 "
            "stages 1 and 2)"
        )


class Waves(Mapping):
    """The waveforms of a raw dump, (samples,) float32 in [-1, 1), read when asked for.

    Args:
        dump: made with ``feats_type`` raw.

    Raises:
        DataError: the dump holds features; on access, audio that cannot be read.
    """

    def __init__(self, dump: FeatureDir):
        if dump.dim:
            raise DataError(f"{dump.path} holds features, not waveforms: use --feats_type raw")
        self.path = dump.path
        data = read_data_dir(dump.path, transcripts=False)
        self._utterances = {utt.id: utt for utt in data}
        self._reader = AudioReader(AudioOptions(dump.rate))

    def __len__(self) -> int:
        return len(self._utterances)

    def __iter__(self) -> Iterator[str]:
        return iter(self._utterances)

    def __getitem__(self, utt: str) -> np.ndarray:
        return self._reader.read(self._utterances[utt])[0]


class Inputs:
    """What a recogniser takes, by utterance.

    Args:
        dump: features or waves.
    """

    def __init__(self, dump: FeatureDir):
        self._dump = dump
        if dump.dim:
            self._table: Mapping = ArkReader(dump.path / "feats.scp")  # Kaldi's own runs commands
        else:
            self._table = texts.table(dump.path / "wav.scp")

    def __call__(self, utt: str) -> np.ndarray:
        """(T, F) float32 features, or (N,) float32 samples in [-1, 1].

        Raises:
            DataError: there is no such utterance, or its archive is damaged.
        """
        if utt not in self._table:
            raise DataError(f"{self._dump.path}: {utt} has no features: run {STAGE} again")
        if self._dump.dim:
            return np.array(self._table[utt], dtype=np.float32)
        import soundfile

        return soundfile.read(self._table[utt], dtype="float32")[0]
