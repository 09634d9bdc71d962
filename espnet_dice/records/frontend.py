"""What a recogniser hears: the features that it was trained on, made from a waveform.

``features.json`` beside an exported recogniser says what the fingerprint of its training's dump
said.
"""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from espnet_dice.io import fingerprint
from espnet_dice.io.atomic import write_text
from espnet_dice.io.errors import ConfigError
from espnet_dice.records.feature_shards import ALGORITHM, RAW, extractor

NAME = "features.json"


@dataclass(frozen=True)
class Frontend:
    """The features of a recogniser.

    Attributes:
        feats_type: ``fbank_pitch``, ``fbank`` or ``raw``.
        rate: sampling rate in Hz.
        algorithm: version of the features, see :data:`feature_shards.ALGORITHM`.
    """

    feats_type: str
    rate: int
    algorithm: int = ALGORITHM

    def features(self, samples: np.ndarray, name: str) -> np.ndarray:
        """What the features stage makes of an utterance.

        Args:
            samples: (samples,) float32 in [-1, 1) at ``rate``.
            name: the utterance's id, which seeds the noise that Kaldi adds to the pitch.

        Returns:
            (frames, dim) float32; for ``raw`` the samples themselves.
        """
        if self.feats_type == RAW:
            return samples
        return extractor(self.feats_type)(samples, self.rate, name)

    def save(self, directory: Path) -> None:
        """Write ``features.json``."""
        write_text(directory / NAME, json.dumps(asdict(self)) + "\n")


def load(path: Path) -> Frontend:
    """Read ``features.json``.

    Raises:
        ConfigError: it says something else.
    """
    try:
        found = Frontend(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as err:
        raise ConfigError(f"{path}: does not say what the features are ({err})") from err
    if found.algorithm != ALGORITHM:
        logging.warning(
            "%s: features of version %s, this espnet_dice makes version %s: export again",
            path,
            found.algorithm,
            ALGORITHM,
        )
    return found


def of_dump(directory: Path) -> Frontend | None:
    """The features of a dump; None where its record does not say (they came from elsewhere)."""
    record = fingerprint.read(directory)
    said: dict[str, Any] = (record or {}).get("settings", {})
    if not {"feats_type", "rate", "algorithm"} <= said.keys():
        return None
    return Frontend(said["feats_type"], said["rate"], said["algorithm"])


def of_training(config: dict[str, Any], root: Path = Path()) -> Frontend | None:
    """The features that a recogniser was trained on.

    Args:
        config: ESPnet's ``config.yaml``.
        root: the recipe, from which its paths start.

    Returns:
        None where that cannot be told.
    """
    for entry in config.get("train_data_path_and_name_and_type") or ():
        if entry[1] == "speech":
            return of_dump((root / entry[0]).parent)
    return None


def of_sound(config: dict[str, Any], path: Path) -> Frontend | None:
    """What a model hears that takes waveforms: ``raw``, at the rate of its own frontend.

    Args:
        config: ESPnet's ``config.yaml``.
        path: of that file, for messages.

    Returns:
        None where it takes features.

    Raises:
        ConfigError: its frontend has no sampling rate.
    """
    if config.get("input_size") in (None, 1):
        return Frontend(RAW, rate_of(config.get("frontend_conf") or {}, path))
    return None


def rate_of(conf: dict[str, Any], path: Path) -> int:
    """Hz of an ESPnet frontend, which may write ``16k``, and says nothing for 16000.

    Raises:
        ConfigError: naming the file ``path``: it says something else.
    """
    import humanfriendly

    text = conf.get("fs")
    try:
        rate = humanfriendly.parse_size(str(16000 if text is None else text))  # as ESPnet does
    except humanfriendly.InvalidSize:
        rate = 0
    if rate < 1:
        raise ConfigError(f"{path}: frontend_conf: fs: {text!r} is no sampling rate")
    return rate
