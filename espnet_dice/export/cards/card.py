"""A model card: README.md with front matter that the Hugging Face hub reads, from a template.

Names of sets, tags and teachers are the user's: :func:`code` shows them literally, so that none can
become markup, and huggingface_hub writes the front matter.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from espnet_dice.io.errors import ConfigError
from espnet_dice.io.json_files import read_json

NAME = "README.md"
UNKNOWN = "unknown – ask whoever made it"
NOT_SAID = "unknown – ask whoever trained it"
HUB = ("library_name", "pipeline_tag", "tags", "base_model", "language", "datasets")
"""What front matter has of every card."""
Scores = Sequence[Mapping[str, Any]]
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z]+)?")
NO_LANGUAGE = "noinfo"
"""What ``asr.sh`` says where nothing is known."""
TEMPLATES = Path(__file__).with_name("templates")


def code(text: Any) -> str:
    """Inline code: no character in it is markup, not even in a table."""
    plain = re.sub(r"[\x00-\x1f\x7f`]+", " ", str(text)).strip()
    return f"`{plain}`".replace("|", "\\|") if plain else "–"


def about(lang: str | None = None, dataset: str | None = None) -> dict[str, str]:
    """What cards say of the speech that models learnt from, as far as it is told.

    Args:
        lang: code of its language, such as ``en``; ``noinfo``: not told.
        dataset: its name on the Hugging Face hub.

    Raises:
        ConfigError: it is no code of a language.
    """
    if lang and lang != NO_LANGUAGE and not LANGUAGE.fullmatch(lang):
        raise ConfigError(f"--lang {lang}: give a code of two or three letters, such as en")
    told = {"language": None if lang == NO_LANGUAGE else lang, "dataset": dataset}
    return {key: value for key, value in told.items() if value}


def on_hub(source: str) -> bool:
    """Whether a model is named as on the Hugging Face hub, and is no directory here."""
    return HUB_NAME.fullmatch(source) is not None and not Path(source).exists()


def named(source: str) -> str:
    """A model's name without the directory that it lies in here."""
    return source if on_hub(source) else Path(source).name


def origin_of(source: str) -> str | None:
    """The name on the hub of a model, or of what its directory was fetched from; None: not told."""
    if on_hub(source):
        return source
    config = read_json(Path(source) / "config.json") if Path(source).is_dir() else None
    said = (config or {}).get("_name_or_path")
    return said if isinstance(said, str) and on_hub(said) else None


def measured_on(processor: Mapping[str, Any]) -> str:
    """A processor (see :func:`processor.describe`) in Markdown."""
    features = ", ".join(map(code, processor["features"]))
    return code(processor["machine"]) + (f" with {features}" if features else "")


def render(template: str, name: str, made: str, scores: Scores = (), **values: Any) -> str:
    """The text of README.md. Imports huggingface_hub.

    Args:
        template: of :data:`TEMPLATES`, without its ending.
        name: of the model.
        made: versions, Markdown.
        scores: one mapping each with ``task``, ``set``, ``metric``, ``name`` and ``value``.
        values: of ``ModelCardData``, those that :data:`HUB` names; the others of the template.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    results = [
        EvalResult(
            task_type=score["task"],
            dataset_type=score["set"],
            dataset_name=score["set"],
            metric_type=score["metric"],
            metric_name=score["name"],
            metric_value=score["value"],
        )
        for score in scores
    ]
    front = ModelCardData(
        license="unknown",  # for the model's owner to say
        model_name=name if results else None,
        eval_results=results or None,
        **{key: values.pop(key, None) for key in HUB},
    )
    page = TEMPLATES / f"{template}.md"
    card = ModelCard.from_template(front, str(page), name=name, made=made, code=code, **values)
    return f"{card}\n"


def licence_of(source: str | Path) -> str | None:
    """The licence that a model's own card or config names; None where neither does.

    Args:
        source: a directory; or a name on the Hugging Face hub, of which the local cache is asked.
    """
    directory = Path(source)
    if not directory.exists():
        cached = _cached_card(str(source))
        return None if cached is None else _licence_in(cached)
    if not directory.is_dir():
        directory = directory.parent
    return _licence_in(directory / NAME) or _licence_in(directory / "config.json")


def _cached_card(name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, NAME)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def _licence_in(path: Path) -> str | None:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    if path.name == NAME:
        found = re.match(r"\s*---[ \t]*\r?\n(.*?)\r?\n---", text, re.DOTALL)
        text = found[1] if found else ""
    try:
        values = yaml.safe_load(text)  # JSON is YAML
    except yaml.YAMLError:
        return None
    if not isinstance(values, dict):
        return None
    licence = values.get("license_name") or values.get("license")
    return str(licence) if licence and licence != "unknown" else None
