"""What a Hugging Face directory says of the waveforms that its model takes.

``transformers.AutoFeatureExtractor`` reads the block ``feature_extractor`` of
``processor_config.json`` (what ``Wav2Vec2Processor.save_pretrained`` writes since transformers 5),
or else ``preprocessor_config.json``. ``config.json`` gives it the name of a class at most.
"""

import logging
from pathlib import Path
from typing import Any, NamedTuple

from espnet_dice.hubert.formats import hub
from espnet_dice.hubert.models.frames import SAMPLE_RATE
from espnet_dice.io.errors import ConfigError
from espnet_dice.io.json_files import read_settings

BLOCKS = ("feature_extractor", "audio_processor")
KIND = "Wav2Vec2FeatureExtractor"
RATES = ("sampling_rate", "sample_rate")


class Preprocessor(NamedTuple):
    """The settings of a feature extractor.

    Attributes:
        settings: None where no file has any.
        file: that has them.
    """

    settings: dict[str, Any] | None
    file: Path

    def normalizes(self) -> bool | None:
        """Whether waveforms get mean 0 and variance 1; None where nothing says.

        Raises:
            ConfigError: a setting that is no yes or no, or another kind of feature extractor.
        """
        if self.settings is None:
            return None
        kind = self.settings.get("feature_extractor_type") or KIND
        if kind != KIND:
            raise ConfigError(
                f"{self.file}: feature_extractor_type: {kind}; a teacher takes waveforms, with "
                f"{KIND}"
            )
        # transformers normalises where a preprocessor does not say that it must not
        value = self.settings.get("do_normalize", True)
        if value not in (True, False, None):
            raise ConfigError(f"{self.file}: do_normalize: {value!r} must be true or false")
        return bool(value)


def read(directory: Path, config: dict[str, Any]) -> Preprocessor:
    """The settings that AutoFeatureExtractor would take.

    Args:
        directory: of the model.
        config: its ``config.json``.

    Raises:
        ConfigError: a file is damaged, or any of them has another sampling rate than 16 kHz.
    """
    files = {name: _read(directory / name) for name in (hub.PROCESSOR, hub.PREPROCESSOR)}
    processor, preprocessor = files.values()
    nested = next((processor[b] for b in BLOCKS if b in processor), None) if processor else None
    if nested is not None and not isinstance(nested, dict):
        raise ConfigError(f"{directory / hub.PROCESSOR}: its feature extractor has no settings")
    for name, values in ((hub.PROCESSOR, nested), *files.items(), ("config.json", config)):
        check_rate(values or {}, directory / name)
    if nested is None:
        return Preprocessor(preprocessor, directory / hub.PREPROCESSOR)
    said = nested.get("do_normalize", True)
    if preprocessor is not None and preprocessor.get("do_normalize", True) != said:
        logging.warning(
            "%s: do_normalize: %s is taken, as transformers does, not that of %s",
            directory / hub.PROCESSOR,
            said,
            hub.PREPROCESSOR,
        )
    return Preprocessor(nested, directory / hub.PROCESSOR)


def check_rate(settings: dict[str, Any], file: Path) -> None:
    """Refuse another sampling rate than that of labels.

    Raises:
        ConfigError: naming the file and the rate.
    """
    for key in RATES:
        rate = settings.get(key)
        if rate is None:  # as of transformers, which leaves the rate open
            continue
        if not isinstance(rate, (int, float)):
            raise ConfigError(f"{file}: {key}: {rate!r} is no number of Hz")
        if rate != SAMPLE_RATE:
            raise ConfigError(
                f"{file}: the model takes {rate} Hz; labels are made at {SAMPLE_RATE} Hz"
            )


def assumed(layer_norm: bool, file: Path, way_out: str) -> bool:
    """Whether a model whose files do not say it wants normalised waveforms; a warning says so.

    Public models do if, and only if, the convolutions of their stem have layer norms (fairseq's
    ``extractor_mode: layer_norm`` is "meant to use with normalize=True").

    Args:
        layer_norm: whether they have.
        file: that does not say.
        way_out: where one may say it.
    """
    logging.warning(
        "%s: nothing says whether the model wants normalised waveforms; taken as %s, since the "
        "convolutions of its stem have %s; %s",
        file,
        "mean 0 and variance 1" if layer_norm else "they are, not normalised",
        "layer norms" if layer_norm else "a group norm",
        way_out,
    )
    return layer_norm


def _read(path: Path) -> dict[str, Any] | None:
    values = read_settings(path)
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"{path}: no settings of a preprocessor")
    return values
