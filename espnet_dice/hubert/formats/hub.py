"""Models by ``owner/name``: from the Hugging Face hub's cache, or else fetched."""

import contextlib
import logging
import re
from pathlib import Path

from espnet_dice.io.errors import ConfigError
from espnet_dice.io.json_files import read_settings

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
        said = f"{type(err).__name__}: {' '.join(str(err).split())[:200]}"
        where, missing = _in_cache(name)
        if where:
            raise ConfigError(
                f"{name}: {where} holds no {' and no '.join(missing)}, and the Hugging Face hub "
                f"did not give it ({said}); if the model has none, give that directory"
            ) from err
        raise ConfigError(
            f"{name}: no such directory here, and the Hugging Face hub did not give it "
            f"({said}); without network, copy the model here and give its directory"
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
    where, missing = _in_cache(name)
    return None if missing else where


def shards(index: Path) -> tuple[Path, ...]:
    """The files that an index of parameters names; they need not exist.

    Raises:
        ConfigError: it is no index, or leads out of its directory.
    """
    held = read_settings(index)
    named = held.get("weight_map") if isinstance(held, dict) else None
    if not (isinstance(named, dict) and named):
        raise ConfigError(f"{index}: no index of parameters: no weight_map in it; copy it again")
    for name in named.values():
        if not isinstance(name, str) or name in ("", "..") or Path(name).name != name:
            raise ConfigError(f"{index}: {name!r} is not in the model's own directory; refused")
    return tuple(index.parent / name for name in sorted(set(named.values())))


def _in_cache(name: str) -> tuple[Path | None, list[str]]:
    """Where a model lies in the hub's cache, None without its config, and the files it lacks.

    A preprocessor that was never asked for may exist, and say that the model wants normalised
    waveforms; the cache knows of files that do not exist.
    """
    from huggingface_hub import try_to_load_from_cache

    config, preprocessor, processor, *weights = (
        try_to_load_from_cache(name, file)
        for file in ("config.json", PREPROCESSOR, PROCESSOR, *WEIGHTS)
    )
    # transformers before 5 had no processor's settings, and never asked for them
    missing = [PREPROCESSOR] if preprocessor is None else []
    if processor is None and not isinstance(preprocessor, str):
        missing.append(PROCESSOR)
    found = next((Path(w) for w in weights if isinstance(w, str)), None)
    if found is None:
        missing.append(WEIGHTS[0])
    elif found.name.endswith(INDEX):
        missing += [path.name for path in shards(found) if not path.exists()]
    return Path(config).parent if isinstance(config, str) else None, missing


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
