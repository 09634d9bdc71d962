"""The files of a teacher, and what identifies them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from espnet_dice.hubert.formats import hub, preprocessors
from espnet_dice.hubert.formats.preprocessors import Preprocessor
from espnet_dice.io import fingerprint
from espnet_dice.io.errors import ConfigError, StaleError
from espnet_dice.io.json_files import is_there, read_settings

HF, OURS, ESPNET, FILE = "huggingface", "ours", "espnet", "file"
# keys of config.json and config.yaml that do not touch what a model computes
OF_NO_EFFECT = ("transformers_version", "torch_dtype", "dtype", "_name_or_path", "architectures")
DICE_KEYS = ("student", "student_conf", "collate_fn_conf")
ESPNET_KEYS = ("input_size", "encoder", "encoder_conf", "frontend", "frontend_conf", "specaug")
ESPNET_KEYS += ("normalize", "normalize_conf", "preencoder", "preencoder_conf")


@dataclass(frozen=True)
class Checkpoint:
    """Files of one model.

    Attributes:
        kind: :data:`HF`, :data:`OURS`, :data:`ESPNET`, or :data:`FILE`: one that says for itself
            what it is.
        directory: where they are.
        weights: files of parameters.
    """

    kind: str
    directory: Path
    weights: tuple[Path, ...]

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.json`` or ``config.yaml``; empty where a file needs none."""
        path = self.config_file
        values = read_settings(path)
        if values is None and self.kind == FILE and not path.exists():
            return {}
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: no configuration of a model")
        return values

    @property
    def config_file(self) -> Path:
        """Where the configuration is, or would be."""
        if self.kind == FILE:
            return self.directory / f"{self.weights[0].name}.json"
        return self.directory / ("config.json" if self.kind == HF else "config.yaml")

    @cached_property
    def preprocessor(self) -> Preprocessor:
        """What a Hugging Face directory says of the waveforms that its model takes."""
        return preprocessors.read(self.directory, self.config)

    def key(self) -> str:
        """A digest of the parameters and of what says how to compute with them."""
        config = self.config
        heard: dict[str, Any] = {}
        if self.kind == HF:
            config = {k: v for k, v in config.items() if k not in OF_NO_EFFECT}
            heard = self._heard()
        elif self.kind != FILE:
            wanted = DICE_KEYS if self.kind == OURS else ESPNET_KEYS
            config = {k: config[k] for k in wanted if k in config}
        return fingerprint.digest(
            {
                "kind": self.kind,
                "config": config,
                "preprocessor": heard,
                "weights": fingerprint.digest_files(self.weights),
            }
        )

    def _heard(self) -> dict[str, Any]:
        """Settings of the feature extractor; what is assumed, where no file has any."""
        settings = self.preprocessor.settings
        if settings:
            return settings
        return {"do_normalize": True} if settings is not None or self.layer_norm else {}

    @property
    def layer_norm(self) -> bool:
        """Whether the convolutions of a Hugging Face model have layer norms."""
        return self.config.get("feat_extract_norm") == "layer"


def key_of(source: str | Path) -> str:
    """The key of a teacher without loading it: a digest of its parameters and its configuration.

    Raises:
        ConfigError: there is no model.
    """
    return find(source).key()


def layer_key(key: str, layer: int | Sequence[int]) -> str:
    """The key of one or several layers of the teacher with ``key``."""
    return fingerprint.digest({"teacher": key, "layer": layer})


def find(source: str | Path) -> Checkpoint:
    """The files of a teacher.

    Raises:
        ConfigError: there are none, or which of several is meant cannot be told.
        StaleError: an experiment of ours is not finished.
    """
    path = Path(source)
    is_file = is_there(path) and path.is_file()
    if is_file and path.name in hub.WEIGHTS and is_there(path.parent / "config.json"):
        path = path.parent
    if path.name in ("config.json", "config.yaml"):
        path = path.parent
    if path.is_file():
        # ESPnet writes .pth, fairseq and s3prl .pt
        experiment = path.suffix == ".pth" and (path.parent / "config.yaml").exists()
        if experiment and fingerprint.read(path.parent) is not None:
            return Checkpoint(OURS, path.parent, (path,))
        return Checkpoint(ESPNET if experiment else FILE, path.parent, (path,))
    if not path.is_dir():
        path = hub.directory(str(source))
    if is_there(path / "config.json"):
        return Checkpoint(HF, path, _hf_weights(path))
    if is_there(path / "config.yaml"):
        if fingerprint.read(path) is not None:
            return Checkpoint(OURS, path, (_own_model(path),))
        return Checkpoint(ESPNET, path, (_espnet_model(path),))
    raise ConfigError(
        f"{path}: neither config.json (Hugging Face) nor config.yaml (an experiment) is in it; a "
        "checkpoint of torchaudio, fairseq or s3prl is given as a file"
    )


def _hf_weights(directory: Path) -> tuple[Path, ...]:
    for name in hub.WEIGHTS:
        path = directory / name
        if not is_there(path):
            continue
        if not name.endswith(hub.INDEX):
            return (path,)
        shards = hub.shards(path)
        for shard in shards:
            if not is_there(shard):
                raise ConfigError(f"{shard}: missing, though {name} names it")
        return shards
    raise ConfigError(f"{directory}: no parameters there; looked for {', '.join(hub.WEIGHTS)}")


def _own_model(directory: Path) -> Path:
    """The averaged model that ``model.json`` names, if it is the one that was trained."""
    fingerprint.key_of(directory, "its training")
    try:
        record = json.loads((directory / "model.json").read_text(encoding="utf-8"))
        path = directory / record["model"]
        if fingerprint.digest_files([path]) == record["sha256"]:
            return path
    except (FileNotFoundError, ValueError, KeyError):
        pass
    raise StaleError(
        f"{directory}: its model is missing or not the one that was trained: train it again"
    )


def _espnet_model(directory: Path) -> Path:
    averages = {p.resolve() for p in directory.glob("*.ave*.pth")}
    if len(averages) == 1:
        return averages.pop()
    files = ", ".join(sorted(p.name for p in directory.glob("*.pth"))) or "none"
    raise ConfigError(f"{directory}: give the .pth file itself; there are {files}")
