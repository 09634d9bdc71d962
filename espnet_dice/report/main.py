"""One self-contained page about an experiment directory, to open from disk or to mail.

    python -m espnet_dice.report exp

writes ``exp/report.html`` from what the stages left there: which student to ship, the systems with
intervals, what the uncertainty is worth, utterances to see and hear, training curves, and what it
was all made from. It needs neither ESPnet nor a network.
"""

import datetime
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_dice.io import options
from espnet_dice.io.atomic import write_text
from espnet_dice.io.errors import DataError, cli
from espnet_dice.io.progress import setup_logging
from espnet_dice.report import (
    figures,
    hubert,
    origin,
    page,
    recognisers,
    sentence,
    sound,
    statistics,
    training,
    utterances,
    verdict,
    worth,
)
from espnet_dice.report.charts import key_mark, styles
from espnet_dice.report.recognisers import Decoded, Recognisers, System
from espnet_dice.report.statistics import Interval
from espnet_dice.stages.results import read_json

NAME = "report.html"


@dataclass(frozen=True)
class Row:
    """A line of the table of systems."""

    system: System
    set: str
    lm: str | None
    wer: Interval
    cer: Interval
    sdi: list[int]
    parameters: int
    cpu: float
    ship: bool


@dataclass(frozen=True)
class Settings:
    """What a page shows.

    Attributes:
        data: directory of the data directories; None: ``data`` beside the experiments.
        utterances: how many are listed.
        megabytes: of sound.
        allow_pipes: run wav.scp entries that are shell commands.
        alignment: frame alignment, for the PNMI of labels.
    """

    data: Path | None = None
    utterances: int = utterances.LISTED
    megabytes: float = sound.MEGABYTES
    allow_pipes: bool = False
    alignment: Path | None = None


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
    students = hubert.read(exp, settings.alignment)
    runs = training.read_all(exp)
    if not found.decoded and students is None and not runs:
        raise DataError(f"{exp}: nothing was trained, decoded or probed there yet")
    place = exp.resolve().parent
    probed = [r.name for r in students.rows] if students else []
    look = styles([*found.systems, *probed, *(r.name for r in runs)])
    values: dict[str, Any] = {
        "title": f"{place.parent.name}/{place.name}",
        "what": _what(found, students),
        "marks": {name: key_mark(style) for name, style in look.items()},
        "asr": [], "dice": None, "worth": [], "cards": [], "tokens": None, "exports": [],
        "training": _training(runs, look),
        "origin": origin.read(exp),
        "date": datetime.date.today().isoformat(),
        "again": f"python -m espnet_dice.report {exp}",
    }  # fmt: skip
    if found.decoded:
        values |= _recognisers(found, settings, look)
    if students is not None:
        values |= _students(students, look)
    values["contents"] = _contents(values)
    return page.render(values)


def _what(found: Recognisers, students: hubert.Students | None) -> str:
    kinds = ["Distilled recognisers (uncertainty-matching KD)"] if found.decoded else []
    kinds += ["Small HuBERTs (DiceHuBERT)"] if students else []
    return " and ".join(kinds) or "Trainings"


def _contents(values: dict[str, Any]) -> list[tuple[str, str]]:
    every = [
        ("systems", "Systems", values["asr"] or values["dice"]),
        ("worth", "Uncertainty", values["worth"]),
        ("utterances", "Utterances", values["cards"]),
        ("tokens", "Tokens", values["tokens"]),
        ("training", "Training", values["training"]),
        ("origin", "Made from", True),
    ]
    return [(anchor, name) for anchor, name, there in every if there]


def _recognisers(found: Recognisers, settings: Settings, look: dict) -> dict[str, Any]:
    ruling = verdict.judge(found)
    rows = [_row(d, ruling) for d in found.decoded]
    rows.sort(key=lambda r: (r.set, r.system.is_teacher, r.wer.value))
    values: dict[str, Any] = {
        "verdict": ruling,
        "verdict_has_lm": any(r.lm for r in rows),
        "asr": rows,
        "asr_names": list(found.systems),
        "words": ", ".join(
            f"{int(next(d for d in found.decoded if d.set == s).words.units.sum())} on {s}"
            for s in found.sets
        ),
        "trade": [_trade(rows, s, look, n) for n, s in enumerate(found.sets)],
        "exports": _exports(found),
    }
    judged = worth.judge(found)
    answer = worth.answer(judged)
    if judged:
        values["worth"] = _worth(judged, look)
        values["bins"] = worth.BINS
        values["sentence"] = (
            sentence.sentence(answer, judged)
            if answer
            else "No student has a variance head here: only the entropy of the softmax is shown."
        )
    first = _first(found, ruling)
    shown = utterances.choose(found, first)
    listed = utterances.select(first, settings.utterances)
    heard = sound.excerpts(_audio(first, found, settings), listed, settings.megabytes,
                           settings.allow_pipes)  # fmt: skip
    tokens = utterances.tokens(found, first.set, listed)
    if tokens:
        pick = {d.system.name for d in shown}
        for system in tokens["systems"]:
            system["style"] = look[system["name"]].number
            system["shown"] = system["name"] in pick
    return values | {
        "cards": utterances.cards(shown, listed, heard),
        "cards_set": first.set,
        "cards_of": len(first.utterances),
        "cards_first": first.system.name,
        "tokens": tokens,
    }


def _row(d: Decoded, ruling: verdict.Verdict | None) -> Row:
    ship = ruling is not None and (ruling.ship.system, ruling.ship.lm) == (d.system, d.lm)
    words, characters = d.words, d.characters
    return Row(
        d.system,
        d.set,
        d.lm,
        statistics.rate(words.total, words.units),
        statistics.rate(characters.total, characters.units),
        words.errors.sum(axis=0).tolist(),
        d.meta["parameters"],
        d.meta["cpu_s_per_audio_s"],
        ship,
    )


def _first(found: Recognisers, ruling: verdict.Verdict | None) -> Decoded:
    """The result whose utterances are listed: of what is shipped, on the first set."""
    name = found.sets[0]
    for d in found.decoded:
        ship = ruling and (ruling.ship.system, ruling.ship.lm)
        if d.set == name and ship in (None, (d.system, d.lm)):
            return d
    return next(d for d in found.decoded if d.set == name)


def _trade(rows: list[Row], name: str, look: dict, n: int) -> figures.Chart:
    points = [
        figures.Point(
            r.system.name,
            r.cpu,
            100 * r.wer.value,
            100 * r.wer.low,
            100 * r.wer.high,
            r.parameters,
            r.lm is None,
        )
        for r in rows
        if r.set == name
    ]
    hollow = "; hollow: with a language model" if any(r.lm for r in rows) else ""
    chart = figures.trade(points, look, f"WER % on {name}", f"trade{n}")
    return figures.Chart(chart.title + hollow, chart.svg)


def _exports(found: Recognisers) -> list[dict[str, Any]]:
    made = []
    for s in found.systems.values():
        directory = s.directory / "export"
        report = read_json(directory / "export.json")
        if report is None:
            continue
        if (directory / "model.pth").exists():
            size = (directory / "model.pth").stat().st_size
            said = f"{report['largest_difference']:.1g} at most"
            made.append({"system": s.name, "file": "model.pth", "bytes": size, "seconds": None,
                         "difference": said})  # fmt: skip
        made += _onnx(s.name, report)
    return made


def _onnx(system: str, report: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "system": system,
            "file": file,
            "bytes": e["bytes"],
            "seconds": e.get("seconds_per_audio_second"),
            "difference": f"{100 * e['relative_error']:.2g} % of its outputs",
        }
        for file, e in (report.get("onnx") or {}).items()
        if "bytes" in e
    ]


def _worth(judged: list[worth.Worth], look: dict) -> list[dict[str, Any]]:
    made = []
    for n, name in enumerate(dict.fromkeys(w.set for w in judged)):
        rows = [w for w in judged if w.set == name]
        snr = rows[0].snr
        title = name if snr is None else f"{name.rpartition('_snr')[0]}, white noise at {snr:g} dB"
        charts = [
            figures.reliability(rows, look, f"reliable{n}"),
            *figures.coverage(rows, look, f"coverage{n}"),
        ]
        made.append({"title": title, "rows": rows, "charts": charts})
    return made


def _audio(first: Decoded, found: Recognisers, settings: Settings) -> list[Path]:
    root = found.exp.resolve().parent
    dump = (root / first.meta["reference"]).parent
    return [dump, (settings.data or root / "data") / first.set]


def _training(runs: list[training.Training], look: dict) -> list[dict[str, Any]]:
    titles = {"asr": "Recognisers", "lm": "Language models", "dice": "HuBERTs"}
    made = []
    for kind, title in titles.items():
        some = [r for r in runs if r.kind == kind]
        if some:
            charts = figures.training(some, look, f"run{kind}")
            made.append({"title": title, "charts": charts, "names": [r.name for r in some]})
    return made


def _students(found: hubert.Students, look: dict) -> dict[str, Any]:
    charts = []
    for n, (task, head) in enumerate(found.tasks.items()):
        points = []
        for r in found.rows:
            if task in r.scores and r.cpu is not None:
                score = r.scores[task]
                points.append(figures.Point(r.name, r.cpu, score, score, score, r.parameters))
                points += [
                    figures.Point(r.name, e["seconds"], score, score, score, r.parameters, False)
                    for e in _onnx(r.name, found.exports.get(r.name) or {})
                    if e["seconds"] is not None
                ]
        if points:
            charts.append(figures.trade(points, look, head, f"probe{n}"))
    exports = [e for name, report in found.exports.items() for e in _onnx(name, report)]
    seeds = {len([r for r in found.rows if r.family == one.family]) for one in found.rows}
    return {
        "exports": exports,
        "dice": {
            "students": found,
            "verdict": hubert.judge(found),
            "heads": [(head, 1) for head in found.tasks.values()],
            "names": [r.name for r in found.rows],
            "trade": charts,
            "single": seeds == {1},
        },
    }


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
        "--alignment", type=Path, default=None, help="of frames, for PNMI of labels"
    )
    parser.add_argument(
        "--allow_pipes", type=options.true_false, default=False, metavar="BOOL",
        help="run wav.scp entries that are shell commands",
    )  # fmt: skip
    args = parser.parse_args(argv)
    setup_logging()
    settings = Settings(args.data, args.utterances, args.audio_mb, args.allow_pipes, args.alignment)
    out = args.out or args.exp / NAME
    html = make(args.exp, settings)
    write_text(out, html)
    logging.info("%s: %.1f MB", out, len(html.encode()) / 1e6)
    print(out)


if __name__ == "__main__":
    cli(main)
