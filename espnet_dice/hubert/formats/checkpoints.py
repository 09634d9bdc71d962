"""The files of a teacher, and what identifies them."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from espnet_dice.hubert.formats import hub
from espnet_dice.io import fingerprint
from espnet_dice.io.errors import ConfigError, StaleError

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
        if self.kind == FILE and not path.exists():
            return {}
        try:
            text = path.read_text(encoding="utf-8")
            values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        except (ValueError, yaml.YAMLError) as err:
            said = " ".join(str(err).split())
            raise ConfigError(f"{path}: cannot be read ({said}); copy it again") from err
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
    def preprocessor(self) -> dict[str, Any]:
        """``preprocessor_config.json``; empty where there is none."""
        path = self.directory / hub.PREPROCESSOR
        if self.kind != HF or not path.exists():
            return {}
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as err:
            raise ConfigError(f"{path}: cannot be read ({err})") from err

    def key(self) -> str:
        """A digest of the parameters and of what says how to compute with them."""
        config = self.config
        if self.kind == HF:
            config = {k: v for k, v in config.items() if k not in OF_NO_EFFECT}
        elif self.kind != FILE:
            wanted = DICE_KEYS if self.kind == OURS else ESPNET_KEYS
            config = {k: config[k] for k in wanted if k in config}
        return fingerprint.digest(
            {
                "kind": self.kind,
                "config": config,
                "preprocessor": self.preprocessor,
                "weights": fingerprint.digest_files(self.weights),
            }
        )


def find(source: str | Path) -> Checkpoint:
    """The files of a teacher.

    Raises:
        ConfigError: there are none, or which of several is meant cannot be told.
        StaleError: an experiment of ours is not finished.
    """
    path = Path(source)
    if path.is_file() and path.name in hub.WEIGHTS:
        path = path.parent
    if path.is_file():
        # ESPnet writes .pth, fairseq and s3prl .pt
        experiment = path.suffix == ".pth" and (path.parent / "config.yaml").exists()
        return Checkpoint(ESPNET if experiment else FILE, path.parent, (path,))
    if not path.is_dir():
        path = hub.directory(str(source))
    if (path / "config.json").exists():
        return Checkpoint(HF, path, _hf_weights(path))
    if (path / "config.yaml").exists():
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
        if not path.exists():
            continue
        if not name.endswith(".index.json"):
            return (path,)
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            shards = sorted(set(index["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as err:
            raise ConfigError(f"{path}: damaged, or no index of parameters ({err})") from err
        for shard in shards:
            if Path(shard).name != shard:
                raise ConfigError(f"{path}: {shard!r} is not in the model's own directory; refused")
            if not (directory / shard).exists():
                raise ConfigError(f"{directory / shard}: missing, though {name} names it")
        return tuple(directory / shard for shard in shards)
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
