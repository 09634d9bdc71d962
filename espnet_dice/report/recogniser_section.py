"""The page's sections about recognisers: table, chart, uncertainty, utterances."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_dice.records.experiment import of_recipe
from espnet_dice.report import exports, figures, sound, summary, utterances
from espnet_dice.report.charts import Style
from espnet_dice.results import arms, model_selection, uncertainty_eval
from espnet_dice.results.recognisers import Decoded, Recognisers


@dataclass(frozen=True)
class Settings:
    """What a page shows.

    Attributes:
        data: directory of the data directories; None: ``data`` beside the experiments.
        utterances: how many are listed.
        megabytes: of sound.
        allow_pipes: run wav.scp entries that are shell commands.
    """

    data: Path | None = None
    utterances: int = utterances.LISTED
    megabytes: float = sound.MEGABYTES
    allow_pipes: bool = False


def section(found: Recognisers, settings: Settings, styles: dict[str, Style]) -> dict[str, Any]:
    """What the templates need of recognisers.

    Args:
        found: the experiment.
        settings: what to show.
        styles: name of a system → its style.
    """
    selection = model_selection.select(found)
    rows = sorted(found.decoded, key=lambda d: (d.set, d.system.is_teacher, d.wer.value))
    ship = selection and (selection.ship.system.name, selection.ship.lm)
    values: dict[str, Any] = {
        "selection": selection,
        "selection_has_lm": any(r.lm for r in rows),
        "asr": [(d, ship == (d.system.name, d.lm)) for d in rows],
        "asr_names": list(found.systems),
        "words": ", ".join(
            f"{int(next(d for d in found.decoded if d.set == s).words.units.sum())} on {s}"
            for s in found.sets
        ),
        "trade": [_trade(rows, s, styles, n) for n, s in enumerate(found.sets)],
        "arms": [(one.title, arms.cells(one.arms)) for one in arms.compared(found)],
        "arms_note": arms.NOTE,
        "exports": exports.of_recognisers(found),
    }
    evaluations = uncertainty_eval.evaluate(found)
    answer = uncertainty_eval.answer(evaluations)
    if evaluations:
        values["uncertainty"] = _evaluation(evaluations, styles)
        values["bins"] = uncertainty_eval.BINS
        values["summary"] = (
            summary.summary(answer, evaluations)
            if answer
            else "No student has a variance head here: only the entropy of the softmax is shown."
        )
    first = _first(found, selection)
    shown = utterances.choose(found, first)
    listed = utterances.select(first, settings.utterances)
    heard = sound.excerpts(_audio(first, found, settings), listed, settings.megabytes,
                           settings.allow_pipes)  # fmt: skip
    tokens = utterances.tokens(found, first.set, listed)
    if tokens:
        pick = {d.system.name for d in shown}
        for system in tokens["systems"]:
            system["style"] = styles[system["name"]].number
            system["shown"] = system["name"] in pick
    return values | {
        "cards": utterances.cards(shown, listed, heard),
        "cards_set": first.set,
        "cards_of": len(first.utterances),
        "cards_first": first.system.name,
        "tokens": tokens,
    }


def _first(found: Recognisers, selection: model_selection.Selection | None) -> Decoded:
    """The result whose utterances are listed: of what is shipped, on the first set."""
    name = found.sets[0]
    for d in found.decoded:
        ship = selection and (selection.ship.system, selection.ship.lm)
        if d.set == name and ship in (None, (d.system, d.lm)):
            return d
    return next(d for d in found.decoded if d.set == name)


def _trade(rows: list[Decoded], name: str, styles: dict, n: int) -> figures.Chart:
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
    chart = figures.trade(points, styles, f"WER % on {name}", f"trade{n}")
    return figures.Chart(chart.title + hollow, chart.svg)


def _evaluation(
    evaluations: list[uncertainty_eval.Evaluation], styles: dict
) -> list[dict[str, Any]]:
    made = []
    for n, name in enumerate(dict.fromkeys(w.set for w in evaluations)):
        rows = [w for w in evaluations if w.set == name]
        snr = rows[0].snr
        title = name if snr is None else f"{name.rpartition('_snr')[0]}, white noise at {snr:g} dB"
        charts = [
            figures.reliability(rows, styles, f"reliable{n}"),
            *figures.coverage(rows, styles, f"coverage{n}"),
        ]
        made.append({"title": title, "rows": rows, "charts": charts})
    return made


def _audio(first: Decoded, found: Recognisers, settings: Settings) -> list[Path]:
    dump = of_recipe(found.exp, first.meta["reference"]).parent
    return [dump, (settings.data or of_recipe(found.exp, "data")) / first.set]
