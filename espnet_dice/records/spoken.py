"""The audio behind a feature directory, read again as its features stage read it."""

from pathlib import Path

import numpy as np

from espnet_dice.io import fingerprint
from espnet_dice.io.audio import AudioOptions, AudioReader
from espnet_dice.io.datadir import read_data_dir
from espnet_dice.io.errors import DataError
from espnet_dice.records import feature_dir, frontend


class Spoken:
    """Samples of a set by utterance.

    Args:
        dump: the set.
        data: directory with the set's data directory; a set of waveforms has its own.
        allow_pipes: run wav.scp entries that are shell commands.

    Raises:
        DataError: the audio is not there, or is not what the features were made from.
    """

    def __init__(self, dump: feature_dir.FeatureDir, data: Path, allow_pipes: bool = False):
        heard = frontend.of_dump(dump.path)
        if heard is None:
            raise DataError(
                f"{dump.path}: does not say how its features were made: run {feature_dir.STAGE}"
            )
        self._waves = None if dump.dim else feature_dir.Waves(dump)
        if self._waves is None:
            source, made = read_data_dir(data / dump.name, allow_pipes), fingerprint.read(dump.path)
            if source.key() != made["inputs"].get("data"):
                raise DataError(
                    f"{source.path} has changed since {dump.path} was made: run {feature_dir.STAGE}"
                )
            said = made["settings"]
            how = AudioOptions(heard.rate, said["resample"], said["channel"], allow_pipes)
            self._reader, self._utterances = AudioReader(how), {utt.id: utt for utt in source}

    def __call__(self, utt: str) -> np.ndarray:
        """(samples,) float32 in [-1, 1) at the rate of the set."""
        if self._waves is not None:
            return self._waves[utt]
        return self._reader.read(self._utterances[utt])[0]
