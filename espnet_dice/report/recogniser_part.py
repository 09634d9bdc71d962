"""The page's parts about recognisers: table, chart, worth of the uncertainty, utterances."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_dice.report import exports, figures, sentence, sound, utterances
from espnet_dice.report.charts import Style
from espnet_dice.results import verdict, worth
from espnet_dice.results.recognisers import Decoded, Recognisers


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


def part(found: Recognisers, settings: Settings, look: dict[str, Style]) -> dict[str, Any]:
    """What the templates need of recognisers.

    Args:
        found: the experiment.
        settings: what to show.
        look: name of a system → its style.
    """
    ruling = verdict.judge(found)
    rows = sorted(found.decoded, key=lambda d: (d.set, d.system.is_teacher, d.wer.value))
    ship = ruling and (ruling.ship.system.name, ruling.ship.lm)
    values: dict[str, Any] = {
        "verdict": ruling,
        "verdict_has_lm": any(r.lm for r in rows),
        "asr": [(d, ship == (d.system.name, d.lm)) for d in rows],
        "asr_names": list(found.systems),
        "words": ", ".join(
            f"{int(next(d for d in found.decoded if d.set == s).words.units.sum())} on {s}"
            for s in found.sets
        ),
        "trade": [_trade(rows, s, look, n) for n, s in enumerate(found.sets)],
        "exports": exports.of_recognisers(found),
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


def _first(found: Recognisers, ruling: verdict.Verdict | None) -> Decoded:
    """The result whose utterances are listed: of what is shipped, on the first set."""
    name = found.sets[0]
    for d in found.decoded:
        ship = ruling and (ruling.ship.system, ruling.ship.lm)
        if d.set == name and ship in (None, (d.system, d.lm)):
            return d
    return next(d for d in found.decoded if d.set == name)


def _trade(rows: list[Decoded], name: str, look: dict, n: int) -> figures.Chart:
    points = [
        figures.Point(
            r.system.name,
            r.meta["cpu_s_per_audio_s"],
            100 * r.wer.value,
            100 * r.wer.low,
            100 * r.wer.high,
            r.meta["parameters"],
            r.lm is None,
        )
        for r in rows
        if r.set == name
    ]
    hollow = "; hollow: with a language model" if any(r.lm for r in rows) else ""
    chart = figures.trade(points, look, f"WER % on {name}", f"trade{n}")
    return figures.Chart(chart.title + hollow, chart.svg)


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
