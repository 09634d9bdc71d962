"""What the training of a recogniser with ``encoder: dice_ssl`` reads: waves, and an SSL model."""

from collections.abc import Sequence
from pathlib import Path

from espnet_dice.hubert.formats import teacher_files
from espnet_dice.hubert.models.frames import RECEPTIVE
from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.records import configs, feature_dir

NAME = "dice_ssl"
OPTIONS = ["--input_size", "1", "--normalize", "none"]
"""Samples go into the encoder as they are; it normalises them if its model wants that."""
NOT_WITH = {
    "specaug": "masks features; encoder_conf: mask_prob hides frames of the SSL model",
    "normalize": "is for features; the encoder normalises waveforms if its model wants that",
}


def chosen(config: Path, extra: str) -> bool:
    """True if a config, or ``--encoder`` beside it, asks for the SSL encoder."""
    return configs.value_of(config, "encoder", extra) == NAME


def inputs(config: Path, extra: str, sets: Sequence[feature_dir.FeatureDir]) -> dict[str, str]:
    """Keys of what the encoder reads. Imports torch, not ESPnet.

    Args:
        config: of the recogniser.
        extra: options that win over it.
        sets: training and validation set.

    Raises:
        ConfigError: the sets are features, or have another sampling rate; a key of the config
            does not go with waveforms; there is no such SSL model.
        DataError: an utterance is shorter than one frame.
    """
    for key, why in NOT_WITH.items():
        if configs.value_of(config, key, extra) not in (None, "none"):
            raise ConfigError(
                f"{configs.where(config, key)}: {key} {why}: write '{key}: null' with encoder "
                f"{NAME}"
            )
    for dump in sets:
        _check_waves(config, dump)
    source = configs.conf_of(config, "encoder_conf", extra).get("source")
    if source is None:
        return {}  # the class itself says what its encoder_conf must hold
    try:
        return {"encoder": teacher_files.key_of(source)}
    except ConfigError as err:
        place = configs.where(config, "encoder_conf", "source")
        raise ConfigError(f"{place}: encoder_conf: source: {err}") from err


def _check_waves(config: Path, dump: feature_dir.FeatureDir) -> None:
    if dump.dim:
        raise ConfigError(
            f"{configs.where(config, 'encoder')}: encoder {NAME} takes waveforms, and {dump.path} "
            "holds features: use --feats_type raw"
        )
    feature_dir.check_rate(dump, f"encoder {NAME}")
    short = [utt for utt, n in dump.lengths.items() if n < RECEPTIVE]
    if short:
        raise DataError(
            f"{dump.path}: {len(short)} utterances have fewer than {RECEPTIVE} samples, one frame "
            f"of encoder {NAME}; {short[0]} for one: remove them from the data directory and run "
            "stage 2 again"
        )
