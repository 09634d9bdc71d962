"""The page: everything that was found, through templates that escape what a run puts in."""

import base64
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

TEMPLATES = Path(__file__).with_name("templates")


def render(values: dict[str, Any]) -> str:
    """The HTML.

    Args:
        values: what the templates name; strings are escaped, ``Markup`` is not.
    """
    style, script = (Markup((TEMPLATES / f).read_text("utf-8")) for f in ("style.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _environment().get_template("page.html").render(
        style=style,
        script=script,
        script_hash=Markup(f"sha256-{digest}"),
        p_value=p_value,
        **values,
    )  # fmt: skip


def p_value(p: float) -> str:
    """For people."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


@lru_cache(maxsize=1)
def _environment():
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # utterances by error
    return environment
