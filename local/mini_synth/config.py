"""The corpus's settings: the defaults of ``mini_synth.yaml``, a user's file over them, single keys."""

from pathlib import Path
from typing import Any

import yaml

from espnet_dice.io.errors import ConfigError

DEFAULTS = Path(__file__).with_name("mini_synth.yaml")
FREE = ("domains", "sets", "words", "noise", "train", "dev")  # mappings whose keys a user may add


def load_yaml(path: str | Path) -> dict:
    """A YAML file that holds a mapping."""
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as err:
        raise ConfigError(f"{path}: not YAML: {err}") from err
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: holds no settings; see {DEFAULTS.name} for the keys")
    return found


def lay_over(below: dict, above: dict) -> dict:
    """``above`` over ``below``: mappings merged key by key, everything else replaced."""
    out = dict(below)
    for key, value in above.items():
        old = out.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        out[key] = lay_over(old, value) if both else value
    return out


def set_key(config: dict, assignment: str) -> dict:
    """``config`` with one ``dotted.key=value`` (YAML value) laid over it."""
    key, eq, value = assignment.partition("=")
    if not eq:
        raise ConfigError(f"--set {assignment}: write KEY=VALUE")
    above: Any = yaml.safe_load(value)
    for part in reversed(key.split(".")):
        above = {part: above}
    return lay_over(config, above)


def load(path: str | Path | None = None, assignments: list[str] | None = None) -> dict:
    """The settings with every ``like`` and every set's domain filled in.

    Returns:
        The settings; ``sets[name]`` holds all keys of its domain, overridden by its own.

    Raises:
        ConfigError: a key that does not exist, or a value that cannot be.
    """
    defaults = load_yaml(DEFAULTS)
    config = lay_over(defaults, load_yaml(path)) if path else defaults
    for assignment in assignments or []:
        config = set_key(config, assignment)
    _no_unknown(config, defaults, "", ("confusable", *defaults))
    # Classes of words and kinds of noise are replaced as a whole, not mixed with the other domain's.
    domains = {name: _domain(config, name) for name in config["domains"]}
    config["domains"] = domains
    known = {*domains["a"], "domain", "utterances", "voices", "own_variants"}
    for name, own in config["sets"].items():
        for key in own:
            if key not in known:
                raise ConfigError(f"sets.{name}.{key}: no such key; there are {sorted(known)}")
        if own.get("domain") not in domains:
            raise ConfigError(f"sets.{name}.domain: {own.get('domain')}: one of {list(domains)}")
        config["sets"][name] = {"own_variants": False, **domains[own["domain"]], **own}
        _check_set(name, config["sets"][name])
    return config


def _domain(config: dict, name: str, depth: int = 0) -> dict:
    own = dict(config["domains"][name])
    base = own.pop("like", None)
    if base is not None:
        if base not in config["domains"] or depth > 8:
            raise ConfigError(f"domains.{name}.like: {base} is no other domain")
        own = {**_domain(config, base, depth + 1), **own}
    known = set(config["domains"]["a"])
    for key in own:
        if key not in known:
            raise ConfigError(f"domains.{name}.{key}: no such key; there are {sorted(known)}")
    return own


def _no_unknown(config: dict, defaults: dict, where: str, known: tuple) -> None:
    for key in config:
        if key not in known:
            raise ConfigError(f"{where}{key}: no such key; there are {sorted(known)}")


def _check_set(name: str, s: dict) -> None:
    if s["utterances"] < 1 or s["voices"] < 1:
        raise ConfigError(f"sets.{name}: utterances and voices must be at least 1")
    for key in ("rate", "pitch", "range", "pad", "level_db", "snr_db", "words_per_utterance"):
        if len(s[key]) != 2 or s[key][0] > s[key][1]:
            raise ConfigError(f"sets.{name}: {key} must be [least, most], not {s[key]}")
    if not 0 <= s["transcript_errors"] <= 1:
        raise ConfigError(f"sets.{name}.transcript_errors: {s['transcript_errors']}: a share, 0–1")
    if set(s["noise"]) - {"none", "white", "pink", "babble"}:
        raise ConfigError(f"sets.{name}.noise: {list(s['noise'])}: none, white, pink or babble")
    if s["transcript_errors"] > 0 and not name.endswith("_train"):
        raise ConfigError(f"sets.{name}.transcript_errors: only sets named *_train may have them")
