"""The probes of all systems as one table."""

import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from espnet_dice.hubert import upstreams
from espnet_dice.io.atomic import write_text
from espnet_dice.io.errors import DataError
from espnet_dice.io.json_files import read_json, write_json
from espnet_dice.probes.result import OUT, RUN, SPEED
from espnet_dice.records.config_base import read_trained
from espnet_dice.results.table import JSON, MARKDOWN, layout

MEASURES = {"char": "CER %", "sid": "SID acc %", "kws": "KWS EER %"}
LESS_IS_BETTER = {"char": True, "sid": False, "kws": True}


@dataclass(frozen=True)
class Row:
    """One system.

    Attributes:
        system: its name.
        loss, labels: what it was trained with; empty where that is not known.
        parameters: without the head of the pre-training.
        seed: of its training, or None.
        cpu_s_per_audio_s: one thread; all systems of the table were measured in one run.
        scores: task → probe seed → score in %.
        model: key of the model that was probed.
        intervals: task → 95 % interval of the score over test utterances; of several heads the
            mean of theirs.
    """

    system: str
    loss: str
    labels: str
    parameters: int
    seed: int | None
    cpu_s_per_audio_s: float | None
    scores: dict[str, dict[int, float]] = field(default_factory=dict)
    model: str = ""
    intervals: dict[str, list[float]] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """The name without the seed of the training."""
        return self.system if self.seed is None else self.system.removesuffix(f"_seed{self.seed}")

    @property
    def means(self) -> dict[str, float]:
        """Task → mean over the seeds of the heads."""
        return means(self.scores)


def means(scores: Mapping[str, Mapping[Any, float]]) -> dict[str, float]:
    """Task → mean of its scores over the seeds of the heads."""
    return {task: statistics.mean(found.values()) for task, found in scores.items() if found}


def collect(exp: Path) -> tuple[list[Row], dict[str, dict[str, Any]]]:
    """The rows, and for each task one of its records, which holds what all have in common.

    Raises:
        DataError: nothing was probed.
    """
    run = read_json(exp / OUT / RUN)
    if run is None:
        raise DataError(f"nothing was probed below {exp}: run stage 6 first")
    rows, records = [], {}
    for name, source in run["systems"].items():
        found = [read_json(exp / OUT / name / file) for file in run["results"][name]]
        keys = list(run["results"][name].values())
        whole = [r and r["key"] for r in found] == keys and all("low" in r for r in found)
        model = found[0]["made_from"]["inputs"]["upstream"] if whole else ""
        if not (whole and upstreams.is_current(source, model)):
            logging.warning("%s: not probed, or trained again since: left out; run stage 6", name)
            continue
        scores: dict[str, dict[int, float]] = {}
        ends: dict[str, list[list[float]]] = {}
        for record in found:
            scores.setdefault(record["task"], {})[record["seed"]] = record["score"]
            ends.setdefault(record["task"], []).append([record["low"], record["high"]])
            records[record["task"]] = record
        intervals = {t: [statistics.mean(e) for e in zip(*v, strict=True)] for t, v in ends.items()}
        speed = (read_json(exp / OUT / name / SPEED) or {}).get("cpu_s_per_audio_s")
        loss, labels, seed = trained_with(Path(source))
        rows.append(
            Row(name, loss, labels, found[0]["parameters"], seed, speed, scores, model, intervals)
        )
    if not rows:
        raise DataError(f"no probe below {exp} belongs to the models that are there: run stage 6")
    return rows, records


def read(exp: Path) -> tuple[list[Row], Mapping[str, Mapping[str, Any]]] | None:
    """Rows and probes of a ``results.json`` of DiceHuBERT; None where there is no such file."""
    found = read_json(exp / JSON)
    if not isinstance(found, dict) or not found.get("systems"):
        return None
    return [Row(**row) for row in found["systems"]], found["probes"]


def trained_with(source: Path) -> tuple[str, str, int | None]:
    """Losses, name of the labels and seed of an experiment of ours; empty for other models.

    What a training began with, if not with fresh parameters, is told with the losses.
    """
    model = read_json(source / "model.json")
    if model is None:
        return "", "", None
    config = read_trained(source / "config.yaml")
    losses = config.get("loss") or []
    labels = Path(config["labels"]).parent.name if config.get("labels") else ""
    init = (config.get("model_conf") or {}).get("init")
    said = " + ".join(map(_loss, losses)) + (f", init {init}" if init else "")
    return said, labels, model.get("seed")


def weight_of(entry: Mapping[str, Any]) -> str:
    """A loss's weight, or the ends of its schedule, ``1→0``; empty for 1."""
    weight = entry.get("weight", 1)
    if isinstance(weight, dict):
        return f"({weight['start']:g}→{weight['end']:g})"
    return "" if weight == 1 else f"{weight:g}"


def _loss(entry: Mapping[str, Any]) -> str:
    """``hard``, ``soft τ=5``, ``0.1·feature``."""
    weight = weight_of(entry)
    name = (f"{weight}·" if weight else "") + entry["name"].removeprefix("dice_")
    tau = (entry.get("conf") or {}).get("tau")
    return name if tau is None else f"{name} τ={tau:g}"


def table(rows: Sequence[Row], records: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table, one line a system."""
    tasks = [task for task in MEASURES if task in records]
    head = ["system", "loss", "labels", "M param", *(_heading(records[t]) for t in tasks)]
    lines = [[*head, "CPU-s/audio-s", "seed"]]
    for row in rows:
        cells = [row.system, row.loss or "–", row.labels or "–", f"{row.parameters / 1e6:.2f}"]
        cells += [_score(row, task) for task in tasks]
        cells += [_number(row.cpu_s_per_audio_s, ".4f"), _number(row.seed, "d")]
        lines.append(cells)
    return layout(lines, left=3)


def spread(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Mean, standard deviation (n - 1) and range of each family of systems, task by task.

    Over the seeds of the training, each the mean over its heads; where there is one training only,
    over the seeds of the heads. A family with one figure is left out.
    """
    families: dict[str, list[Row]] = {}
    for row in rows:
        families.setdefault(row.family, []).append(row)
    found = []
    for family, members in families.items():
        for task in MEASURES:
            per_training = [list(r.scores[task].values()) for r in members if task in r.scores]
            over = "trainings" if len(per_training) > 1 else "heads"
            values = [statistics.mean(v) for v in per_training]
            values = values if len(values) > 1 else [x for v in per_training for x in v]
            if len(values) > 1:
                figures = {
                    "mean": statistics.mean(values),
                    "sd": statistics.stdev(values),
                    "min": min(values),
                    "max": max(values),
                }
                found.append({"system": family, "task": task, "n": len(values), "over": over})
                found[-1] |= figures
    return found


def spread_table(rows: Sequence[Row], records: Mapping[str, Mapping[str, Any]]) -> str:
    """The spread as Markdown, ``mean ± sd (min–max)``; empty where nothing was repeated."""
    entries = spread(rows)
    tasks = [task for task in MEASURES if any(e["task"] == task for e in entries)]
    by = {(e["system"], e["task"]): e for e in entries}
    lines = [["system", "over", *(_heading(records[task]) for task in tasks)]]
    for system in dict.fromkeys(e["system"] for e in entries):
        mine = [by.get((system, task)) for task in tasks]
        first = next(e for e in mine if e)
        cells = [
            f"{e['mean']:.1f} ± {e['sd']:.1f} ({e['min']:.1f}–{e['max']:.1f})" if e else "–"
            for e in mine
        ]
        lines.append([system, f"{first['n']} {first['over']}", *cells])
    return layout(lines, left=2) if len(lines) > 1 else ""


def measure(task: str, settings: Mapping[str, Any]) -> str:
    """Heading of a task's scores.

    Args:
        task: of :data:`MEASURES`.
        settings: of the probe.
    """
    return "PER %" if task == "char" and settings.get("phones") else MEASURES[task]


def _heading(record: Mapping[str, Any]) -> str:
    return measure(record["task"], record["made_from"]["settings"])


def _number(value: float | None, how: str) -> str:
    return "–" if value is None else format(value, how)


def _score(row: Row, task: str) -> str:
    """``38.5 (36.4–40.7)``, where the interval is known."""
    score = _number(row.means.get(task), ".1f")
    return (
        score
        if task not in row.intervals
        else "{} ({:.1f}–{:.1f})".format(score, *row.intervals[task])
    )


def notes(records: Mapping[str, Mapping[str, Any]]) -> str:
    """What the figures stand on: one line a probe."""
    lines = []
    for task in (t for t in MEASURES if t in records):
        r = records[task]
        lines.append(
            f"- {_heading(r)}: {r['about']}. Without any features {r['floor']:.1f}; "
            f"{r['train']} training, {r['dev']} dev and {r['test']} test utterances."
        )
    return "\n".join(lines)


def write(
    rows: Sequence[Row],
    records: Mapping[str, Mapping[str, Any]],
    exp: Path,
    sections: Sequence[str] = (),
) -> None:
    """Write ``RESULTS.md``, with further sections at its end, and ``results.json``."""
    said = (
        "Frozen models, a learned weighted sum of their layers, light heads: a stand-in for "
        "SUPERB, whose figures these are not. In brackets: 95 % by the bootstrap over test "
        "utterances. Parameters without the head of the pre-training; "
        "CPU-seconds of one thread, all systems in turn."
    )
    parts = ["# Results", table(rows, records), said, notes(records)]
    over = spread_table(rows, records)
    if over:
        parts += ["## Over seeds", over, "Mean ± standard deviation (least–most)."]
    write_text(exp / MARKDOWN, "\n\n".join([*parts, *sections]) + "\n")
    common = ("about", "floor", "train", "dev", "test", "made_from")
    record = {
        "systems": [asdict(row) for row in rows],
        "spread": spread(rows),
        "probes": {task: {k: r[k] for k in common} for task, r in records.items()},
    }
    for probe in record["probes"].values():
        probe["made_from"] = probe["made_from"]["settings"]
    write_json(exp / JSON, record)
