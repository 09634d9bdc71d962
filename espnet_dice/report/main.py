"""One self-contained page about an experiment directory, to open from disk or to mail.

    python -m espnet_dice.report exp

writes ``exp/report.html`` from what the stages left there: which student to ship, the systems with
intervals, what the uncertainty is worth, utterances to see and hear, training curves, and what it
was all made from. It needs neither ESPnet nor a network.
"""

import datetime
import logging
from pathlib import Path
from typing import Any

from espnet_dice.checks import checks
from espnet_dice.io import options
from espnet_dice.io.atomic import write_text
from espnet_dice.io.errors import DataError, cli
from espnet_dice.io.progress import setup_logging
from espnet_dice.records import train_log as training
from espnet_dice.report import (
    figures,
    hubert_section,
    page,
    provenance,
    recogniser_section,
    sound,
    utterances,
)
from espnet_dice.report.charts import Style, assign_styles, key_mark
from espnet_dice.report.recogniser_section import Settings
from espnet_dice.results import hubert, recognisers
from espnet_dice.results.recognisers import Recognisers

NAME = "report.html"


def make(exp: Path, settings: Settings | None = None) -> str:
    """The page, as HTML.

    Args:
        exp: experiment directory of a recipe.
        settings: what to show.

    Raises:
        DataError: there is nothing to report.
    """
    settings = settings or Settings()
    if not exp.is_dir():
        raise DataError(f"{exp}: no such directory: give the exp directory of a recipe")
    found = recognisers.read(exp)
    students = hubert.read(exp)
    runs = training.read_all(exp)
    if not found.decoded and students is None and not runs:
        raise DataError(f"{exp}: nothing was trained, decoded or probed there yet")
    place = exp.resolve().parent
    probed = [r.system for r in students.rows] if students else []
    styles = assign_styles([*found.systems, *probed, *(r.name for r in runs)])
    values: dict[str, Any] = {
        "title": f"{place.parent.name}/{place.name}",
        "what": _what(found, students),
        "marks": {name: key_mark(style) for name, style in styles.items()},
        "asr": [], "dice": None, "uncertainty": [], "cards": [], "tokens": None, "exports": [],
        "training": _training(runs, styles),
        "warnings": checks.find(exp, settings.data, read=found),
        "provenance": provenance.read(exp),
        "date": datetime.date.today().isoformat(),
        "again": f"python -m espnet_dice.report {exp}",
    }  # fmt: skip
    if found.decoded:
        values |= recogniser_section.section(found, settings, styles)
    if students is not None:
        values |= hubert_section.section(students, styles)
    values["contents"] = _contents(values)
    return page.render(values)


def _what(found: Recognisers, students: hubert.Students | None) -> str:
    kinds = ["Distilled recognisers (uncertainty-matching KD)"] if found.decoded else []
    kinds += ["Small HuBERTs (DiceHuBERT)"] if students else []
    return " and ".join(kinds) or "Trainings"


def _contents(values: dict[str, Any]) -> list[tuple[str, str]]:
    every = [
        ("systems", "Systems", values["asr"] or values["dice"]),
        ("uncertainty", "Uncertainty", values["uncertainty"]),
        ("utterances", "Utterances", values["cards"]),
        ("tokens", "Tokens", values["tokens"]),
        ("training", "Training", values["training"]),
        ("provenance", "Made from", True),
    ]
    return [(anchor, name) for anchor, name, there in every if there]


def _training(runs: list[training.Training], styles: dict[str, Style]) -> list[dict[str, Any]]:
    titles = {"asr": "Recognisers", "lm": "Language models", "dice": "HuBERTs"}
    made = []
    for kind, title in titles.items():
        some = [r for r in runs if r.kind == kind]
        if some:
            charts = figures.training(some, styles, f"run{kind}")
            made.append({"title": title, "charts": charts, "names": [r.name for r in some]})
    return made


def main(argv: list[str] | None = None) -> None:
    """Write the page: a command."""
    parser = options.parser(__doc__)
    parser.add_argument("exp", type=Path, metavar="EXP_DIR", help="a recipe's exp directory")
    parser.add_argument(
        "--out", type=Path, default=None, help="the page; default EXP_DIR/report.html"
    )
    parser.add_argument("--data", type=Path, default=None, help="data directories, for the sound")
    parser.add_argument(
        "--utterances", type=int, default=utterances.LISTED, help="how many to list"
    )
    parser.add_argument("--audio_mb", type=float, default=sound.MEGABYTES, help="sound at most, MB")
    parser.add_argument(
        "--allow_pipes", type=options.true_false, default=False, metavar="BOOL",
        help="run wav.scp entries that are shell commands",
    )  # fmt: skip
    args = parser.parse_args(argv)
    setup_logging()
    settings = Settings(args.data, args.utterances, args.audio_mb, args.allow_pipes)
    out = args.out or args.exp / NAME
    html = make(args.exp, settings)
    write_text(out, html)
    logging.info("%s: %.1f MB", out, len(html.encode()) / 1e6)
    print(out)


if __name__ == "__main__":
    cli(main)
