"""A recogniser's files, found and made independent of the working directory."""

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_dice.inference import archive
from espnet_dice.io.errors import ConfigError, StaleError
from espnet_dice.io.json_files import is_there
from espnet_dice.records import experiment, frontend
from espnet_dice.records.config_base import read_trained

CONFIG, MODEL = "config.yaml", "model.pth"
FETCHED = {
    "frontend": ("s3prl", "whisper", "fused", "huggingface"),
    "encoder": ("hubert", "avhubert", "whisper", "wav2vec2", "longformer"),
    "decoder": ("whisper", "hugging_face_transformers"),
    "postencoder": ("hugging_face_transformers",),
}
"""Classes of ESPnet that download, or unpickle, what their configuration names."""
BUILT = ("espnet", "uncertainty_kd")
"""Values of ``model`` that ESPnet's ``Speech2Text`` of the asr task decodes."""
LEVELS = 4
"""How far above a model's directory the recipe may be from which its paths start."""


@dataclass(frozen=True)
class Files:
    """A recogniser's files.

    Attributes:
        name: of the directory or the archive.
        config: ESPnet's ``config.yaml``, all paths in it absolute.
        model: parameters.
        frontend: its features, None where that is not told.
        lm: config and parameters of the language model in its pack.
    """

    name: str
    config: dict[str, Any]
    model: Path
    frontend: frontend.Frontend | None
    lm: tuple[Path, Path] | None = None


def find(directory: Path) -> Files:
    """The files of an experiment (``exp/asr_<tag>``), of its export, or of an unpacked archive.

    Raises:
        ConfigError: a file is missing, or it is a model that cannot be decoded here.
        StaleError: the experiment is not finished.
    """
    if (directory / experiment.NAME).exists():
        found = experiment.load(directory, "its training")
        values = read_trained(found.config)
        return _files(found.name, directory, found.config, values, found.model_file)
    if not directory.is_dir():
        raise ConfigError(f"{directory}: no such directory; give exp/asr_<tag> or its export")
    config, model, lm = directory / CONFIG, directory / MODEL, None
    is_pack = (directory / archive.META).is_file()
    if is_pack:
        config, model, lm = _packed(directory)
    elif not config.is_file():
        raise ConfigError(f"{config}: missing; give exp/asr_<tag> or its export directory")
    values = read_trained(config)
    if is_pack:
        values = _absolute(values, directory)
    _refuse_others(values, config)
    _refuse_fetching(values, config)
    return _files(directory.resolve().name, directory, config, values, model, lm)


def _files(
    name: str,
    directory: Path,
    config: Path,
    values: dict[str, Any],
    model: Path,
    lm: tuple[Path, Path] | None = None,
) -> Files:
    if not (is_there(model) and model.is_file()):
        raise StaleError(f"{directory}: {model.name} is missing: train it, or export it again")
    said = directory / frontend.NAME
    features = frontend.load(said) if said.exists() else _trained_on(values, config, directory)
    return Files(name, with_paths(values, config.parent), model, features, lm)


def _packed(directory: Path) -> tuple[Path, Path, tuple[Path, Path] | None]:
    """Config, parameters and language model that an unpacked archive lists."""
    listed = archive.listed(directory)
    archive.check_task(directory, listed)
    unused = [key for key in listed if key not in archive.USED]
    if unused:
        logging.warning("in the pack, but not used here: %s", ", ".join(unused))
    lm = (listed[archive.LM_CONFIG], listed[archive.LM]) if archive.LM in listed else None
    return listed[archive.CONFIG], listed[archive.MODEL], lm


def _absolute(value: Any, directory: Path) -> Any:
    """A value of a packed config, in which files of the pack are absolute paths, as unpack does."""
    if isinstance(value, dict):
        return {key: _absolute(v, directory) for key, v in value.items()}
    if isinstance(value, list):
        return [_absolute(v, directory) for v in value]
    # a word such as "transformer" is no file's name: those have a directory
    is_path = isinstance(value, str) and "/" in value and not Path(value).is_absolute()
    inside = is_path and len(value) < 1000 and (directory / value).is_file()
    return str((directory / value).resolve()) if inside else value


def _refuse_others(config: dict[str, Any], path: Path) -> None:
    """Refuse models that need a decoder of their own.

    Raises:
        ConfigError: naming the key.
    """
    model = config.get("model") or BUILT[0]
    if model not in BUILT:
        raise ConfigError(
            f"{path}: model: {model} is not decoded by espnet2.bin.asr_inference: use the tool of "
            "ESPnet that is made for it"
        )
    speakers = (config.get("model_conf") or {}).get("num_spkrs") or config.get("num_spkrs")
    if speakers and speakers > 1:
        raise ConfigError(f"{path}: it recognises {speakers} speakers at a time: use ESPnet's own")


def _refuse_fetching(config: dict[str, Any], path: Path) -> None:
    """Refuse a model of somebody's that would be fetched from a network while it is built.

    Raises:
        ConfigError: naming the key.
    """
    for key, names in FETCHED.items():
        if config.get(key) in names:
            raise ConfigError(
                f"{path}: {key}: {config[key]} fetches a model from the network, which only its "
                "own recipe may do: decode there, or load it with ESPnet's Speech2Text"
            )
    source = (config.get("encoder_conf") or {}).get("source")
    if source:
        try:
            locate(str(source), path.parent)
        except ConfigError:
            raise ConfigError(
                f"{path}: encoder_conf: source: {source} is not here, and a model is not fetched "
                "because another names it: fetch it, and give its directory as source"
            ) from None


def with_paths(config: dict[str, Any], directory: Path) -> dict[str, Any]:
    """The config with absolute paths: ESPnet looks for relative ones from the working directory."""
    config = dict(config)
    if config.get("bpemodel"):
        config["bpemodel"] = str(locate(config["bpemodel"], directory))
    normalize = config.get("normalize_conf") or {}
    if normalize.get("stats_file"):
        stats = str(locate(normalize["stats_file"], directory))
        config["normalize_conf"] = {**normalize, "stats_file": stats}
    encoder = config.get("encoder_conf") or {}
    if encoder.get("source"):  # of an SSL encoder; perhaps a name on a hub
        with contextlib.suppress(ConfigError):
            source = str(locate(encoder["source"], directory))
            config["encoder_conf"] = {**encoder, "source": source}
    return config


def locate(name: str, directory: Path) -> Path:
    """What a config names: beside it, or from one of the directories above it.

    Of an absolute path what a copy of the directory has of it comes first: the place that it names
    may have been made anew.

    Raises:
        ConfigError: it is nowhere there.
    """
    directory = directory.resolve()
    above = [directory, *directory.parents][: LEVELS + 1]
    parts = Path(name).parts
    inside = [directory.joinpath(*parts[i:]) for i in range(1, len(parts))]  # it was moved
    named = [d / name for d in above]
    for place in [*inside, Path(name)] if Path(name).is_absolute() else [*named, *inside]:
        if place.exists():
            return place
    raise ConfigError(f"{directory / CONFIG}: {name}: not found from {directory} or above it")


def _trained_on(config: dict[str, Any], path: Path, directory: Path) -> frontend.Frontend | None:
    directory = directory.resolve()
    for root in [directory, *directory.parents][: LEVELS + 1]:
        found = frontend.of_training(config, root)
        if found is not None:
            return found
    return frontend.of_sound(config, path)


def read_weights(path: Path) -> dict[str, Any]:
    """Parameters, of a file that holds nothing else: ESPnet 202511 would run a pickle.

    Raises:
        ConfigError: it holds more, or is damaged.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:  # pickle, zipfile and torch have their own classes
        raise ConfigError(
            f"{path}: damaged, or a pickle that holds more than tensors and can run any code "
            f"({' '.join(str(err).split())[:150]})"
        ) from err
    if not isinstance(state, dict):
        raise ConfigError(f"{path}: no parameters by name, but {type(state).__name__}")
    return state.get("module", state)  # DeepSpeed's
