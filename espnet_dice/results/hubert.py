"""HuBERT students: probes, labels, exports, and which student to ship."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from espnet_dice.io.errors import DataError
from espnet_dice.io.json_files import read_json
from espnet_dice.results.dice_results import LESS_IS_BETTER, MEASURES, measure
from espnet_dice.results.table import JSON


@dataclass(frozen=True)
class Row:
    """A system of the probe table.

    Attributes:
        name, loss, labels, parameters, seed, cpu: as in ``results.json``.
        is_teacher: whether labels were made from it, or it is the first of the table.
        scores: task → mean over the heads' seeds, in %.
    """

    name: str
    loss: str
    labels: str
    parameters: int
    seed: int | None
    cpu: float | None
    is_teacher: bool
    scores: dict[str, float]

    @property
    def family(self) -> str:
        """The name without the seed."""
        return self.name if self.seed is None else self.name.removesuffix(f"_seed{self.seed}")


@dataclass(frozen=True)
class Labels:
    """A label store of the training set.

    Attributes:
        name: of the labels, and the set.
        meta: ``store.json``.
        agreement: purity and PNMI with an alignment, or None where none was given.
    """

    name: str
    meta: Mapping[str, Any]
    agreement: Mapping[str, float] | None


@dataclass(frozen=True)
class Verdict:
    """Which student to ship.

    Attributes:
        ship: the student whose mean rank over the probes is best, of equal ones the smallest; the
            seeds of a configuration are one student, by their mean.
        firsts: tasks in which it is the best student.
        teacher: the first teacher.
        others: the other students, best first, with their mean ranks.
        rank: of ``ship``.
    """

    ship: Row
    firsts: list[str]
    teacher: Row | None
    others: list[tuple[Row, float]]
    rank: float


@dataclass(frozen=True)
class Students:
    """All of an experiment directory.

    Attributes:
        rows: the probe table, in its order.
        tasks: task → heading.
        probes: task → what its figures stand on.
        labels: label stores.
        exports: system → ``export.json``.
    """

    rows: list[Row]
    tasks: dict[str, str]
    probes: Mapping[str, Mapping[str, Any]]
    labels: list[Labels]
    exports: dict[str, Mapping[str, Any]]


def read(exp: Path, alignment: Path | None = None) -> Students | None:
    """Read the results; None where there is no probe table.

    Args:
        exp: such as ``egs2/mini_synth/dice1/exp``.
        alignment: frame alignment of the training set, for PNMI; see ``stages.label_report``.
    """
    found = read_json(exp / JSON)
    if not isinstance(found, dict) or not found.get("systems"):
        return None
    labels = [_labels(path.parent, alignment) for path in sorted(exp.glob("labels/*/*/store.json"))]
    taught = {Path(str(label.meta.get("source"))).name for label in labels}
    rows = []
    for n, s in enumerate(found["systems"]):
        scores = {task: sum(v.values()) / len(v) for task, v in s["scores"].items() if v}
        is_teacher = n == 0 or f"dice_{s['system']}" in taught
        values = (s[k] for k in ("loss", "labels", "parameters", "seed", "cpu_s_per_audio_s"))
        rows.append(Row(s["system"], *values, is_teacher, scores))
    exports = {r.name: read_json(exp / f"dice_{r.name}/export/export.json") for r in rows}
    tasks = {
        t: measure(t, found["probes"][t].get("made_from") or {})
        for t in MEASURES
        if t in found["probes"]
    }
    shown = {name: report for name, report in exports.items() if report}
    return Students(rows, tasks, found["probes"], labels, shown)


def judge(found: Students) -> Verdict | None:
    """The verdict; None where there is no student, or no task that all have."""
    students = _families([r for r in found.rows if not r.is_teacher])
    tasks = [t for t in found.tasks if all(t in r.scores for r in students)]
    if not students or not tasks:
        return None
    ranks = {t: _ranks({r.name: r.scores[t] for r in students}, LESS_IS_BETTER[t]) for t in tasks}
    mean = {r.name: sum(ranks[t][r.name] for t in tasks) / len(tasks) for r in students}
    order = sorted(students, key=lambda r: (mean[r.name], r.parameters, r.name))
    ship = order[0]
    firsts = [found.tasks[t] for t in tasks if ranks[t][ship.name] == 1]
    teacher = next((r for r in found.rows if r.is_teacher), None)
    return Verdict(ship, firsts, teacher, [(r, mean[r.name]) for r in order[1:]], mean[ship.name])


def _families(rows: Sequence[Row]) -> list[Row]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.family, []).append(row)
    merged = []
    for members in groups.values():
        tasks = [t for t in members[0].scores if all(t in r.scores for r in members)]
        scores = {t: sum(r.scores[t] for r in members) / len(members) for t in tasks}
        merged.append(replace(members[0], scores=scores))
    return merged


def _ranks(scores: Mapping[str, float], less: bool) -> dict[str, int]:
    """1 for the best; equal scores share the better rank."""
    better: Sequence[float] = sorted(scores.values(), reverse=not less)
    return {name: better.index(score) + 1 for name, score in scores.items()}


def _labels(directory: Path, alignment: Path | None) -> Labels:
    agreement = None
    if alignment is not None:
        from espnet_dice.labels import store
        from espnet_dice.labels.label_report import compare

        reader = store.Reader(directory)
        if any(utt in reader for utt in _aligned(alignment)):  # else it is of another set
            agreement = compare(reader, alignment)
    name = f"{directory.parent.name}/{directory.name}"
    return Labels(name, read_json(directory / "store.json"), agreement)


def _aligned(alignment: Path) -> list[str]:
    try:
        with open(alignment, encoding="utf-8") as f:
            return [line.split(maxsplit=1)[0] for line in f if line.strip()]
    except FileNotFoundError:
        raise DataError(f"{alignment}: no such alignment") from None
