"""HuBERT students: probes, labels, exports, and which student to ship."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from espnet_dice.io.json_files import read_json
from espnet_dice.results import abx, dice_results
from espnet_dice.results.abx import Abx
from espnet_dice.results.dice_results import LESS_IS_BETTER, MEASURES, Row, measure


@dataclass(frozen=True)
class Labels:
    """A label store of the training set.

    Attributes:
        name: of the labels, and the set.
        meta: ``store.json``, of one codebook.
        agreement: purity and PNMI with phones, or None where there was no alignment of them.
    """

    name: str
    meta: Mapping[str, Any]
    agreement: Mapping[str, float] | None


@dataclass(frozen=True)
class Selection:
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
        teachers: of its systems the first, and those that labels were made from.
        tasks: task → heading.
        probes: task → what its figures stand on.
        labels: label stores.
        exports: system → ``export.json``.
        abx: systems whose frames were asked to tell phones apart.
    """

    rows: list[Row]
    teachers: set[str]
    tasks: dict[str, str]
    probes: Mapping[str, Mapping[str, Any]]
    labels: list[Labels]
    exports: dict[str, Mapping[str, Any]]
    abx: list[Abx]


def read(exp: Path) -> Students | None:
    """Read the results; None where there is no probe table.

    Args:
        exp: such as ``egs2/mini_synth/dice1/exp``.
    """
    found = dice_results.read(exp)
    if found is None:
        return None
    rows, probes = found
    stores = sorted(exp.glob("labels/*/*/store.json"))
    labels = [one for path in stores for one in _labels(path.parent)]
    taught = {Path(str(label.meta.get("source"))).name for label in labels}
    teachers = {r.system for r in rows if f"dice_{r.system}" in taught} | {rows[0].system}
    exports = {r.system: read_json(exp / f"dice_{r.system}/export/export.json") for r in rows}
    tasks = {t: measure(t, probes[t].get("made_from") or {}) for t in MEASURES if t in probes}
    shown = {name: report for name, report in exports.items() if report}
    return Students(rows, teachers, tasks, probes, labels, shown, abx.read(exp, rows))


def select(found: Students) -> Selection | None:
    """The selection; None where there is no student, or no task that all have."""
    students = _families([r for r in found.rows if r.system not in found.teachers])
    tasks = [t for t in found.tasks if all(t in r.means for r in students)]
    if not students or not tasks:
        return None
    ranks = {t: _ranks({r.system: r.means[t] for r in students}, LESS_IS_BETTER[t]) for t in tasks}
    mean = {r.system: sum(ranks[t][r.system] for t in tasks) / len(tasks) for r in students}
    order = sorted(students, key=lambda r: (mean[r.system], r.parameters, r.system))
    ship = order[0]
    firsts = [found.tasks[t] for t in tasks if ranks[t][ship.system] == 1]
    teacher = next((r for r in found.rows if r.system in found.teachers), None)
    return Selection(
        ship, firsts, teacher, [(r, mean[r.system]) for r in order[1:]], mean[ship.system]
    )


def _families(rows: Sequence[Row]) -> list[Row]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.family, []).append(row)
    merged = []
    for members in groups.values():
        tasks = [t for t in members[0].means if all(t in r.means for r in members)]
        scores = {t: {r.seed or 0: r.means[t] for r in members} for t in tasks}
        merged.append(replace(members[0], scores=scores))
    return merged


def _ranks(scores: Mapping[str, float], less: bool) -> dict[str, int]:
    """1 for the best; equal scores share the better rank."""
    better: Sequence[float] = sorted(scores.values(), reverse=not less)
    return {name: better.index(score) + 1 for name, score in scores.items()}


def _labels(directory: Path) -> list[Labels]:
    """Of each codebook."""
    from espnet_dice.labels import label_report, store

    metas = store.each(read_json(directory / store.META))
    agreements = label_report.measured(directory) or [None] * len(metas)
    name = f"{directory.parent.name}/{directory.name}"
    return [Labels(name, *one) for one in zip(metas, agreements, strict=True)]
