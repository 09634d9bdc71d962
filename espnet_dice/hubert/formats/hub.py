"""Models by ``owner/name``: from the Hugging Face hub's cache, or else fetched."""

import contextlib
import logging
import re
from pathlib import Path

from espnet_dice.io.errors import ConfigError

PREPROCESSOR = "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
NAME = re.compile(r"[\w.-]+/[\w.-]+")


def directory(name: str) -> Path:
    """Where a model lies, after it was fetched if need be.

    Raises:
        ConfigError: it is no such name, or the hub did not give it.
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
    found = _cached(name)
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
