"""The corpus's settings: ``mini_synth.yaml``, a user's file over it, single keys over that."""

import re
from pathlib import Path
from typing import Any

import yaml

from espnet_dice.io.errors import ConfigError

DEFAULTS = Path(__file__).with_name("mini_synth.yaml")
NOISES = ("none", "white", "pink", "babble")
RANGES = ("rate", "pitch", "range", "pad", "level_db", "snr_db", "words_per_utterance")


def load_yaml(path: str | Path) -> dict:
    """A YAML file that holds a mapping."""
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as err:
        raise ConfigError(f"{path}: not YAML: {err}") from err
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: holds no settings; see {DEFAULTS.name} for the keys")
    return found


def lay_over(below: dict, above: dict, replaced: tuple[str, ...] = ("noise",)) -> dict:
    """``above`` over ``below``: mappings merged key by key, all else and ``replaced`` replaced."""
    out = dict(below)
    for key, value in above.items():
        old = out.get(key)
        both = isinstance(old, dict) and isinstance(value, dict) and key not in replaced
        out[key] = lay_over(old, value, replaced) if both else value
    return out


def set_key(config: dict, assignment: str) -> dict:
    """``config`` with one ``dotted.key=value`` (YAML value) laid over it."""
    key, eq, value = assignment.partition("=")
    if not eq:
        raise ConfigError(f"--set {assignment}: write KEY=VALUE")
    try:
        above: Any = yaml.safe_load(value)
    except yaml.YAMLError as err:
        raise ConfigError(f"--set {assignment}: the value is not YAML") from err
    for part in reversed(key.split(".")):
        above = {part: above}
    return lay_over(config, above)


def load(path: str | Path | None = None, assignments: list[str] | None = None) -> dict:
    """The settings with every ``like`` and every set's domain filled in.

    Args:
        path: YAML file laid over the defaults; None: the defaults alone.
        assignments: ``dotted.key=value``, laid over that in turn.

    Returns:
        The settings; ``sets[name]`` holds all keys of its domain, overridden by its own.

    Raises:
        ConfigError: a key that does not exist, or a value that cannot be.
    """
    defaults = load_yaml(DEFAULTS)
    config = lay_over(defaults, load_yaml(path)) if path else defaults
    for assignment in assignments or []:
        config = set_key(config, assignment)
    _known("", config, defaults)
    known = defaults["domains"]["a"]
    domains = {name: _domain(config["domains"], name, known) for name in config["domains"]}
    sets = {}
    for name, own in config["sets"].items():
        if own.get("domain") not in domains:
            raise ConfigError(f"sets.{name}.domain: {own.get('domain')}: one of {list(domains)}")
        at = f"sets.{name}."
        _known(at, own, (*known, "domain", "utterances", "voices", "own_variants"))
        sets[name] = lay_over({"own_variants": False, **domains[own["domain"]]}, own)
        _check_set(at, name, sets[name], known)
    for split, amounts in config["lm_text"].items():
        _known(f"lm_text.{split}.", amounts, domains)
    _known("lm_text.", config["lm_text"], ("train", "dev"))
    return {**config, "domains": domains, "sets": sets}


def _domain(all_domains: dict, name: str, known: dict, depth: int = 0) -> dict:
    own = dict(all_domains[name])
    base = own.pop("like", None)
    _known(f"domains.{name}.", own, known)
    if base is None:
        missing = sorted(set(known) - set(own))
        if missing:
            raise ConfigError(f"domains.{name}: {missing} missing (or say `like: a`)")
        return own
    if base not in all_domains or depth > len(all_domains):
        raise ConfigError(f"domains.{name}.like: {base} is no other domain")
    return lay_over(
        _domain(all_domains, base, known, depth + 1), own, ("noise", "words", "company")
    )


def _known(at: str, found: dict, known) -> None:
    for key in found:
        if key not in known:
            raise ConfigError(f"{at}{key}: no such key; there are {', '.join(sorted(known))}")


def _check_set(at: str, name: str, s: dict, known: dict) -> None:
    for key in ("utterances", "voices"):
        if not isinstance(s.get(key), int) or s[key] < 1:
            raise ConfigError(f"{at}{key}: {s.get(key)}: must be a whole number from 1")
    for key in RANGES:
        _check_range(at + key, s[key])
    _known(at + "reverb.", s["reverb"], known["reverb"])
    for key in ("t60", "direct_db"):
        _check_range(f"{at}reverb.{key}", s["reverb"][key])
    _known(at + "noise.", s["noise"], NOISES)
    if not s["noise"] or min(s["noise"].values()) < 0 or sum(s["noise"].values()) <= 0:
        raise ConfigError(f"{at}noise: {s['noise']}: give shares, e.g. {{white: 1}}")
    for key, value in (
        ("transcript_errors", s["transcript_errors"]),
        ("reverb.probability", s["reverb"]["probability"]),
    ):
        if not 0 <= value <= 1:
            raise ConfigError(f"{at}{key}: {value}: must be a share, 0–1")
    if s["transcript_errors"] > 0 and not name.endswith("_train"):
        raise ConfigError(f"{at}transcript_errors: only sets named *_train may have them")
    classes = {c: words.split() for c, words in s["words"].items()}
    for word, company in s["company"].items():
        _known(f"{at}company.", {word: 0}, {w for words in classes.values() for w in words})
        _known(f"{at}company.{word}.", company, classes)
        for c, kept in company.items():
            _known(f"{at}company.{word}.{c}.", dict.fromkeys(kept.split()), classes[c])
    for words in (*s["words"].values(), *s["patterns"]):
        if not re.fullmatch(r"(?:[^\W\d_]|[' ])+", str(words)):
            raise ConfigError(f"{at}words, patterns: {words}: letters, ' and spaces only")


def _check_range(at: str, value) -> None:
    if not isinstance(value, list) or len(value) != 2 or value[0] > value[1]:
        raise ConfigError(f"{at}: {value}: must be [least, most]")
