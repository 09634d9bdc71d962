"""Finding a teacher's files, and making a model of them. No pickle is run unasked."""

import contextlib
import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml

from espnet_dice.dice.frames import SAMPLE_RATE
from espnet_dice.io import fingerprint
from espnet_dice.io.errors import ConfigError, StaleError

HF, OURS, ESPNET = "huggingface", "ours", "espnet"
PREPROCESSOR = "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# keys of config.json and config.yaml that do not touch what a model computes
OF_NO_EFFECT = ("transformers_version", "torch_dtype", "dtype", "_name_or_path", "architectures")
DICE_KEYS = ("student", "student_conf", "collate_fn_conf")
ESPNET_KEYS = ("input_size", "encoder", "encoder_conf", "frontend", "frontend_conf", "specaug")
ESPNET_KEYS += ("normalize", "normalize_conf", "preencoder", "preencoder_conf")


@dataclass(frozen=True)
class Checkpoint:
    """Files of one model.

    Attributes:
        kind: :data:`HF`, :data:`OURS` or :data:`ESPNET`.
        directory: where they are.
        weights: files of parameters.
    """

    kind: str
    directory: Path
    weights: tuple[Path, ...]

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.json`` or ``config.yaml``."""
        path = self.config_file
        try:
            text = path.read_text(encoding="utf-8")
            values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        except (ValueError, yaml.YAMLError) as err:
            raise ConfigError(f"{path}: cannot be read ({' '.join(str(err).split())})") from err
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: no configuration of a model")
        return values

    @property
    def config_file(self) -> Path:
        """Where the configuration is."""
        return self.directory / ("config.json" if self.kind == HF else "config.yaml")

    @cached_property
    def preprocessor(self) -> dict[str, Any]:
        """``preprocessor_config.json``; empty where there is none."""
        path = self.directory / PREPROCESSOR
        if not path.exists():
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
        else:
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
    if path.is_file():
        if not (path.parent / "config.yaml").exists():
            raise ConfigError(f"{path}: there is no config.yaml beside it")
        return Checkpoint(ESPNET, path.parent, (path,))
    if not path.is_dir():
        return Checkpoint(HF, *_from_hub(str(source)))
    if (path / "config.json").exists():
        return Checkpoint(HF, path, _hf_weights(path))
    if (path / "config.yaml").exists():
        if fingerprint.read(path) is not None:
            return Checkpoint(OURS, path, (_own_model(path),))
        return Checkpoint(ESPNET, path, (_espnet_model(path),))
    raise ConfigError(
        f"{path}: neither config.json (Hugging Face) nor config.yaml (an experiment) is in it"
    )


def _hf_weights(directory: Path) -> tuple[Path, ...]:
    for name in WEIGHTS:
        path = directory / name
        if not path.exists():
            continue
        if not name.endswith(".index.json"):
            return (path,)
        shards = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
        for shard in shards:
            if not (directory / shard).exists():
                raise ConfigError(f"{directory / shard}: missing, though {name} names it")
        return tuple(directory / shard for shard in shards)
    raise ConfigError(f"{directory}: no parameters there; looked for {', '.join(WEIGHTS)}")


def _from_hub(name: str) -> tuple[Path, tuple[Path, ...]]:
    """Take a model from the hub's cache, or else fetch it, by ``owner/name``."""
    if not HUB_NAME.fullmatch(name):
        raise ConfigError(
            f"{name}: no such directory; a teacher is a directory, or owner/name on Hugging Face"
        )
    directory = _cached(name)
    if directory is None:
        logging.info("%s: asking the Hugging Face hub", name)
        try:
            directory = _download(name)
        except Exception as err:  # the hub and what it is made of have classes of their own
            said = " ".join(str(err).split())[:200]
            raise ConfigError(
                f"{name}: no such directory here, and the Hugging Face hub did not give it "
                f"({type(err).__name__}: {said}); without network, copy the model here and give "
                "its directory"
            ) from err
    return directory, _hf_weights(directory)


def _cached(name: str) -> Path | None:
    """The model in the hub's cache, if all of it is there.

    A preprocessor that was never asked for may exist, and say that the model wants normalised
    waveforms; the cache knows of files that do not exist.
    """
    from huggingface_hub import try_to_load_from_cache

    config, preprocessor, *weights = (
        try_to_load_from_cache(name, file) for file in ("config.json", PREPROCESSOR, *WEIGHTS)
    )
    if not isinstance(config, str) or preprocessor is None:
        return None
    return Path(config).parent if any(isinstance(w, str) for w in weights) else None


def _download(name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    config = Path(hf_hub_download(name, "config.json"))
    with contextlib.suppress(RemoteEntryNotFoundError):
        hf_hub_download(name, PREPROCESSOR)
    try:
        hf_hub_download(name, WEIGHTS[0])
    except RemoteEntryNotFoundError:
        hf_hub_download(name, WEIGHTS[-1])
    return config.parent


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


def read_state(weights: tuple[Path, ...], trust_pickle: bool) -> dict[str, torch.Tensor]:
    """Parameters by name.

    Raises:
        ConfigError: a file is damaged, or a pickle of more than tensors without ``trust_pickle``.
    """
    state: dict[str, torch.Tensor] = {}
    for path in weights:
        try:
            if path.suffix == ".safetensors":
                from safetensors.torch import load_file

                state |= load_file(path)
            else:
                state |= torch.load(path, map_location="cpu", weights_only=not trust_pickle)
        except Exception as err:  # safetensors, zipfile and pickle have their own classes
            said = " ".join(str(err).split())
            if "weights_only" in said or "Unsupported" in said:
                raise ConfigError(
                    f"{path}: a pickle that holds more than tensors and can run any code; if you "
                    "trust where it comes from, give --trust_pickle true"
                ) from err
            raise ConfigError(f"{path}: damaged, or no file of parameters ({said[:200]})") from err
    return {k: v for k, v in state.items() if torch.is_tensor(v)}


def fill(model: torch.nn.Module, state: dict[str, torch.Tensor], source: Path) -> None:
    """Load parameters that must fit exactly; only the mask embedding may be missing.

    Raises:
        ConfigError: naming parameters that are missing, left over, or of another shape.
    """
    wanted = model.state_dict()
    missing = [k for k in wanted if k not in state and k != "masked_spec_embed"]
    if "masked_spec_embed" not in wanted:
        state.pop("masked_spec_embed", None)
    problems = [f"missing: {k}" for k in missing]
    problems += [f"left over: {k}" for k in state if k not in wanted]
    problems += [
        f"{k} is {tuple(v.shape)}, must be {tuple(wanted[k].shape)}"
        for k, v in state.items()
        if k in wanted and v.shape != wanted[k].shape
    ]
    problems += [
        f"{k} has NaN or infinite values"
        for k, v in state.items()
        if v.is_floating_point() and not torch.isfinite(v).all()
    ]
    if problems:
        shown = "; ".join(problems[:5]) + (f"; … {len(problems)}" if len(problems) > 5 else "")
        raise ConfigError(f"{source}: the parameters do not fit the configuration: {shown}")
    model.load_state_dict(state, strict=False)


def _huggingface(found: Checkpoint, trust_pickle: bool):
    from transformers import HubertConfig

    from espnet_dice.dice.backbone import Backbone

    kind = found.config.get("model_type")
    if kind != "hubert":
        raise ConfigError(f"{found.config_file}: model_type {kind!r}; a teacher is 'hubert'")
    rate = found.preprocessor.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise ConfigError(
            f"{found.directory / PREPROCESSOR}: the model takes {rate} Hz; labels are made at "
            f"{SAMPLE_RATE} Hz"
        )
    try:
        model = Backbone(HubertConfig(**found.config))
    except Exception as err:  # the validation of huggingface_hub raises classes of its own
        raise ConfigError(f"{found.config_file}: {err}") from err
    state = hf_names(read_state(found.weights, trust_pickle))
    fill(model, state, found.weights[0])
    return model, bool(found.preprocessor.get("do_normalize", False)), 1e-7


def hf_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Parameters of any Hugging Face HuBERT under the names of ``HubertModel``.

    Heads (``lm_head``, ``classifier`` …) go, the prefix ``hubert.`` goes, and the weight norm of
    old files (``weight_g``, ``weight_v``) gets its new names.
    """
    if any(k.startswith("hubert.") for k in state):
        state = {k.removeprefix("hubert."): v for k, v in state.items() if k.startswith("hubert.")}
    norm = "parametrizations.weight.original"
    return {
        k.replace("conv.weight_g", f"conv.{norm}0").replace("conv.weight_v", f"conv.{norm}1"): v
        for k, v in state.items()
    }


def _ours(found: Checkpoint, trust_pickle: bool):
    from espnet_dice.dice import students

    config = found.config
    model = students.build(config["student"], config.get("student_conf"))
    state = read_state(found.weights, trust_pickle=False)
    own = {k.removeprefix("student."): v for k, v in state.items() if k.startswith("student.")}
    fill(model, own, found.weights[0])
    return model, bool((config.get("collate_fn_conf") or {}).get("normalize", False)), 1e-7


def _espnet(found: Checkpoint, trust_pickle: bool):
    from espnet_dice.dice.espnet_models import convert

    return convert(found, read_state(found.weights, trust_pickle))


BUILDERS: dict[str, Callable[[Checkpoint, bool], tuple[torch.nn.Module, bool, float]]] = {
    HF: _huggingface,
    OURS: _ours,
    ESPNET: _espnet,
}
