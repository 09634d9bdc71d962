"""A model card: README.md with front matter that the Hugging Face hub reads, from plain facts.

Names of sets, tags and teachers are the user's: :func:`code` shows them literally, so that none can
become markup, and the front matter is written by a YAML library.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import yaml

NAME = "README.md"
UNKNOWN = "unknown – ask whoever made it"
NOT_SAID = "unknown – ask whoever trained it"
PAGE = Template(
    """---
$front
---

# $title

$about

$facts

## Results

$results

## Use

$use

## Made with

$made
"""
)


@dataclass(frozen=True)
class Card:
    """What a card says.

    Attributes:
        name: of the model.
        about: one sentence, Markdown.
        library, pipeline: ``library_name`` and ``pipeline_tag`` of the hub.
        tags: of the hub.
        facts: what → value, Markdown, one line each.
        results: Markdown; empty where nothing was measured.
        use: Markdown.
        made: Markdown.
        base_model: name on the hub of the model that this one learned from.
        scores: one mapping each with ``task``, ``set``, ``metric``, ``name`` and ``value``.
    """

    name: str
    about: str
    library: str
    pipeline: str
    tags: Sequence[str]
    facts: Mapping[str, str]
    results: str
    use: str
    made: str
    base_model: str | None = None
    scores: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


def code(text: Any) -> str:
    """Inline code: no character in it is markup, not even in a table."""
    plain = re.sub(r"[\x00-\x1f\x7f`]+", " ", str(text)).strip()
    return f"`{plain}`".replace("|", "\\|") if plain else "–"


def measured_on(processor: Mapping[str, Any]) -> str:
    """A processor (see :func:`processor.describe`) in Markdown."""
    features = ", ".join(map(code, processor["features"]))
    return code(processor["machine"]) + (f" with {features}" if features else "")


def render(card: Card) -> str:
    """The text of README.md. Imports huggingface_hub."""
    rows = "\n".join(f"| {what} | {value} |" for what, value in card.facts.items())
    return PAGE.substitute(
        front=front_matter(card),
        title=code(card.name),
        about=card.about,
        facts=f"| | |\n|---|---|\n{rows}",
        results=card.results or "Not measured yet: the recipe's last stages fill this in.",
        use=card.use,
        made=card.made,
    )


def front_matter(card: Card) -> str:
    """YAML as the hub reads it; the licence is for the model's owner to say."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type=score["task"],
            dataset_type=score["set"],
            dataset_name=score["set"],
            metric_type=score["metric"],
            metric_name=score["name"],
            metric_value=score["value"],
        )
        for score in card.scores
    ]
    data = ModelCardData(
        license="unknown",
        library_name=card.library,
        pipeline_tag=card.pipeline,
        tags=list(card.tags),
        base_model=card.base_model,
        model_name=card.name if results else None,
        eval_results=results or None,
    )
    return data.to_yaml().strip()


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
