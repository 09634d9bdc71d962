"""Charts by matplotlib, as SVG that takes its colours and its font from the page.

Colours are written as placeholders and replaced by CSS variables, so that one drawing serves light
and dark; lines also differ in dashes and marks, so that colour is not needed.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

COLOURS = 8
DASHES = ("-", "--", ":", "-.")
MARKS = "osD^vPX*"
INK, FAINT = "#a1b2f0", "#a1b2f1"
_SERIES = "#a1b2c{}"
_SIZE = (3.7, 2.6)  # inches: 8 pt are as large as the text around on a phone
_HEAD = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_POINTS = re.compile(r' (?:width|height)="[\d.]+pt"')
_ID = re.compile(r'(\bid="|url\(#|href="#)')


@dataclass(frozen=True)
class Style:
    """How a series looks in every chart.

    Attributes:
        number: from 0; the first eight have different colours and marks.
    """

    number: int

    @property
    def colour(self) -> str:
        """For matplotlib."""
        return _SERIES.format(self.number % COLOURS)

    @property
    def dashes(self) -> str:
        """For matplotlib."""
        return DASHES[self.number % len(DASHES)]

    @property
    def mark(self) -> str:
        """For matplotlib."""
        return MARKS[self.number % len(MARKS)]

    @property
    def line(self) -> dict[str, Any]:
        """Keywords of a line."""
        return {"color": self.colour, "linestyle": self.dashes, "linewidth": 1.3}


def assign_styles(names: Sequence[str]) -> dict[str, Style]:
    """A style for each name, in order."""
    return {name: Style(n) for n, name in enumerate(dict.fromkeys(names))}


def draw(paint: Callable[[Any], None], name: str, label: str) -> Markup:
    """A chart.

    Args:
        paint: draws into matplotlib's axes.
        name: different for each chart of a page; ids inside begin with it.
        label: what is to be seen, for those who do not see it.

    Returns:
        An ``svg`` element.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_settings()):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.add_subplot()
        axes.grid(True)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        paint(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return _clean(out.getvalue(), name, label)


def _clean(svg: str, name: str, label: str) -> Markup:
    svg = _METADATA.sub("", _HEAD.sub("", svg))
    svg = _POINTS.sub("", svg, count=2)  # as wide as there is room
    svg = _ID.sub(lambda m: f"{m[1]}{name}-", svg)
    svg = svg.replace(INK, "var(--ink)").replace(FAINT, "var(--line)")
    for n in range(COLOURS):
        svg = svg.replace(_SERIES.format(n), f"var(--c{n})")
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
    return Markup(svg)  # matplotlib escapes the text in it


def key_mark(style: Style) -> Markup:
    """The sample of a series in a key: a piece of its line with its mark."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_settings()):
        figure = Figure(figsize=(0.42, 0.16))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.plot([0, 2], [0, 0], **style.line)
        axes.plot([1], [0], style.mark, color=style.colour, markersize=5)
        axes.set_xlim(-0.1, 2.1)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return _clean(out.getvalue(), f"k{style.number}", "")


def _settings() -> Mapping[str, Any]:
    """Without the user's own matplotlibrc, which would show in the page."""
    import matplotlib

    return {
        **matplotlib.rcParamsDefault,
        "backend": "svg",
        "svg.fonttype": "none",
        "svg.hashsalt": "espnet_dice",
        "text.parse_math": False,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "font.size": 8,
        "axes.labelsize": 8,
        "axes.titlesize": 8.5,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": FAINT,
        "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": FAINT,
        "grid.linewidth": 0.6,
    }
