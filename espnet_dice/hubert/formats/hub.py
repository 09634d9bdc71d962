"""Models by ``owner/name``: from the Hugging Face hub's cache, or else fetched."""

import contextlib
import json
import logging
import re
from pathlib import Path

from espnet_dice.io.errors import ConfigError

PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
INDEX = ".index.json"
WEIGHTS = ("model.safetensors", f"model.safetensors{INDEX}")
WEIGHTS += ("pytorch_model.bin", f"pytorch_model.bin{INDEX}")
"""Files of parameters, the first that is there being taken."""
NAME = re.compile(r"[\w.-]+/[\w.-]+")


def directory(name: str) -> Path:
    """Where a model lies, after it was fetched if need be.

    Raises:
        ConfigError: it is no such name, or the hub did not give it.
    """
    found = held(name)
    if found is not None:
        return found
    logging.info("%s: asking the Hugging Face hub", name)
    try:
        return _download(name)
    except Exception as err:  # the hub and what it is made of have classes of their own
        said = " ".join(str(err).split())[:200]
        raise ConfigError(
            f"{name}: no such directory here, and the Hugging Face hub did not give it "
            f"({type(err).__name__}: {said}); without network, copy the model here and give "
            "its directory"
        ) from err


def held(name: str) -> Path | None:
    """Where a model lies that needs not be fetched; None for one that does.

    Raises:
        ConfigError: it is no such name.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{name}: no such file or directory; a teacher is one, or owner/name on Hugging Face"
        )
    first = name.split("/")[0]
    if Path(first).exists():  # a path that is misspelt must not be looked for on the network
        raise ConfigError(
            f"{name}: no such directory; there is an {first} here, so no model of that name is "
            "asked for on Hugging Face"
        )
    return _cached(name)


def shards(index: Path) -> tuple[Path, ...]:
    """The files that an index of parameters names; they need not exist.

    Raises:
        ConfigError: it is no index, or leads out of its directory.
    """
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as err:
        raise ConfigError(f"{index}: damaged, or no index of parameters ({err})") from err
    for name in names:
        if Path(name).name != name:
            raise ConfigError(f"{index}: {name!r} is not in the model's own directory; refused")
    return tuple(index.parent / name for name in names)


def _cached(name: str) -> Path | None:
    """The model in the hub's cache, if all of it is there.

    A preprocessor that was never asked for may exist, and say that the model wants normalised
    waveforms; the cache knows of files that do not exist.
    """
    from huggingface_hub import try_to_load_from_cache

    config, preprocessor, processor, *weights = (
        try_to_load_from_cache(name, file)
        for file in ("config.json", PREPROCESSOR, PROCESSOR, *WEIGHTS)
    )
    # transformers before 5 had no processor's settings, and never asked for them
    unknown = preprocessor is None or (processor is None and not isinstance(preprocessor, str))
    found = next((Path(w) for w in weights if isinstance(w, str)), None)
    if not isinstance(config, str) or unknown or found is None:
        return None
    if found.name.endswith(INDEX) and not all(path.exists() for path in shards(found)):
        return None
    return Path(config).parent


def _download(name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    config = Path(hf_hub_download(name, "config.json"))
    for file in (PREPROCESSOR, PROCESSOR):
        with contextlib.suppress(RemoteEntryNotFoundError):
            hf_hub_download(name, file)
    for file in WEIGHTS:
        try:
            found = Path(hf_hub_download(name, file))
        except RemoteEntryNotFoundError:
            if file == WEIGHTS[-1]:
                raise
            continue
        if file.endswith(INDEX):
            for shard in shards(found):
                hf_hub_download(name, shard.name)
        break
    return config.parent
