"""The page's sections about HuBERT students: probe table, charts, exports."""

from typing import Any

from espnet_dice.report import exports, figures
from espnet_dice.report.charts import Style
from espnet_dice.results import hubert


def section(found: hubert.Students, styles: dict[str, Style]) -> dict[str, Any]:
    """What the templates need of HuBERT students.

    Args:
        found: the experiment.
        styles: name of a system → its style.
    """
    charts = []
    for n, (task, head) in enumerate(found.tasks.items()):
        points = []
        for r in found.rows:
            cpu = r.cpu_s_per_audio_s
            if task in r.means and cpu is not None:
                score = r.means[task]
                points.append(figures.Point(r.system, cpu, score, score, score, r.parameters))
                points += [
                    figures.Point(r.system, e["seconds"], score, score, score, r.parameters, False)
                    for e in exports.onnx(r.system, found.exports.get(r.system) or {})
                    if e["seconds"] is not None
                ]
        if points:
            charts.append(figures.trade(points, styles, head, f"probe{n}"))
    files = [e for name, report in found.exports.items() for e in exports.onnx(name, report)]
    seeds = {len([r for r in found.rows if r.family == one.family]) for one in found.rows}
    return {
        "exports": files,
        "dice": {
            "students": found,
            "selection": hubert.select(found),
            "heads": [(head, 1) for head in found.tasks.values()],
            "names": [r.system for r in found.rows],
            "trade": charts,
            "single": seeds == {1},
        },
    }
