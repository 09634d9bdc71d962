"""A recogniser's files, found and made independent of the working directory."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from espnet_dice.io.errors import ConfigError, StaleError
from espnet_dice.records import experiment, frontend
from espnet_dice.records.feature_shards import RAW

CONFIG, MODEL = "config.yaml", "model.pth"
FETCHED = {
    "frontend": ("s3prl", "whisper", "fused", "huggingface"),
    "encoder": ("hubert", "avhubert", "whisper", "wav2vec2", "longformer"),
    "decoder": ("whisper", "hugging_face_transformers"),
    "postencoder": ("hugging_face_transformers",),
}
"""Classes of ESPnet that download, or unpickle, what their configuration names."""
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
    """

    name: str
    config: dict[str, Any]
    model: Path
    frontend: frontend.Frontend | None


def find(directory: Path) -> Files:
    """The files of an experiment (``exp/asr_<tag>``), of its export, or of an unpacked archive.

    Raises:
        ConfigError: a file is missing.
        StaleError: the experiment is not finished.
    """
    if (directory / experiment.NAME).exists():
        found = experiment.load(directory, "its training")
        config, model, name = found.config, found.model_file, found.name
    else:
        if not directory.is_dir():
            raise ConfigError(f"{directory}: no such directory; give exp/asr_<tag> or its export")
        config, model = directory / CONFIG, directory / MODEL
        if not config.is_file():
            raise ConfigError(f"{config}: missing; give exp/asr_<tag> or its export directory")
        name = directory.resolve().name
    if not model.is_file():
        raise StaleError(f"{directory}: {model.name} is missing: train it, or export it again")
    values = read_config(config)
    said = directory / frontend.NAME
    features = frontend.load(said) if said.exists() else _trained_on(values, directory)
    if model.name == MODEL and config.parent == directory:
        _refuse_fetching(values, config)
    return Files(name, with_paths(values, directory), model, features)


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


def read_config(path: Path) -> dict[str, Any]:
    """ESPnet's ``config.yaml``.

    Raises:
        ConfigError: it is missing, or no configuration.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: cannot be read ({' '.join(str(err).split())})") from err
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: no configuration of a model")
    return values


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

    Raises:
        ConfigError: it is nowhere there.
    """
    directory = directory.resolve()
    above = [directory, *directory.parents][: LEVELS + 1]
    parts = Path(name).parts
    inside = (directory.joinpath(*parts[i:]) for i in range(1, len(parts)))  # it was moved
    for place in (*(d / name for d in above), *inside):
        if place.exists():
            return place
    raise ConfigError(f"{directory / CONFIG}: {name}: not found from {directory} or above it")


def _trained_on(config: dict[str, Any], directory: Path) -> frontend.Frontend | None:
    directory = directory.resolve()
    for root in [directory, *directory.parents][: LEVELS + 1]:
        found = frontend.of_training(config, root)
        if found is not None:
            return found
    if config.get("input_size") in (None, 1):  # the model has a frontend of its own
        return frontend.Frontend(RAW, rate_of(config.get("frontend_conf") or {}))
    return None


def rate_of(conf: dict[str, Any]) -> int:
    """Hz of an ESPnet frontend, which may write ``16k``."""
    text = str(conf.get("fs", 16000))
    return round(1000 * float(text[:-1])) if text.endswith("k") else int(text)


def check_weights(path: Path) -> None:
    """Refuse a file that holds more than tensors: ESPnet 202511 would run what is pickled in it.

    Raises:
        ConfigError: it does, or is damaged.
    """
    import torch

    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:  # pickle, zipfile and torch have their own classes
        raise ConfigError(
            f"{path}: damaged, or a pickle that holds more than tensors and can run any code "
            f"({' '.join(str(err).split())[:150]})"
        ) from err
