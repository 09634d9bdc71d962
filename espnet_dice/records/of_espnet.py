"""A recogniser that ESPnet's own ``asr.sh`` trained, as the export sees it.

Its directory has ESPnet's files alone: config.yaml and the average of the best epochs.
"""

from pathlib import Path

from espnet_dice.io import fingerprint
from espnet_dice.io.errors import ConfigError
from espnet_dice.io.fingerprint import digest_files
from espnet_dice.records import experiment
from espnet_dice.records.config_base import read_trained

CONFIG, MODEL, OTHERS = "config.yaml", "valid.acc.ave.pth", "valid.*.ave.pth"
"""``asr.sh`` decodes with the second, unless ``--inference_asr_model`` names another."""
LM = "valid.loss.ave.pth"
"""What it decodes with of a language model."""


def is_espnets(directory: Path) -> bool:
    """Whether no stage of a recipe of ours trained what is in ``directory``."""
    is_ours = (directory / experiment.NAME).exists() or fingerprint.read(directory) is not None
    return (directory / CONFIG).is_file() and not is_ours


def load(directory: str | Path, made_by: str = "the training stage") -> experiment.Experiment:
    """Read a finished experiment, of a stage's or of ESPnet's own training.

    Args:
        directory: ``exp/asr_<tag>`` or ``exp/dice_<tag>``.
        made_by: what makes it, for the message.

    Returns:
        Of ESPnet's own with neither ``parameters`` nor ``key``, which nobody counted.

    Raises:
        ConfigError: ESPnet's own is no recogniser, or has no averaged model.
        StaleError: it is missing or unfinished, or its parameter file is not what was trained.
    """
    directory = Path(directory)
    if not is_espnets(directory):
        return experiment.load(directory, made_by)
    config = read_trained(directory / CONFIG)
    if not {"token_list", "decoder"} <= config.keys():
        raise ConfigError(f"{directory / CONFIG}: of no recogniser that ESPnet's asr.sh trained")
    model = averaged(directory, MODEL)
    sets = {part: _set(config, part) for part in ("train", "valid")}
    return experiment.Experiment(
        directory=directory,
        key="",
        task="asr",
        model=model.name,
        sha256=digest_files([model]),
        parameters=0,
        seed=config.get("seed", 0),
        max_epoch=config.get("max_epoch", 0),
        train_set=sets["train"],
        valid_set=sets["valid"],
    )


def averaged(directory: Path, name: str) -> Path:
    """Parameters of what ESPnet trained: those of a name, or else the only average.

    Raises:
        ConfigError: naming the averages that there are.
    """
    if (directory / name).exists():
        return directory / name
    others = sorted(directory.glob(OTHERS))
    if len(others) != 1:
        found = ", ".join(path.name for path in others) or "none"
        raise ConfigError(
            f"{directory / name}: missing (averaged models there: {found}); let ESPnet's training "
            f"end, or link {name} to the parameters that are meant"
        )
    return others[0]


def _set(config: dict, part: str) -> str:
    """The name of a set, ``dump/raw/<name>/wav.scp``."""
    for entry in config.get(f"{part}_data_path_and_name_and_type") or ():
        if entry[1] == "speech":
            return Path(entry[0]).parent.name
    return ""
