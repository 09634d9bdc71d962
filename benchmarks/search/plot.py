"""Curves of a search over seeds: a figure over updates, and over CPU seconds, as one SVG.

    python benchmarks/search/plot.py benchmarks/search/dice_libri20_curves.yaml trials.jsonl \\
        --updates 271 --out curves.svg

A line is the mean over an arm's seeds, its band goes from the least to the most. CPU seconds are
those of training alone, of a rung and all before it; an arm that has none is not drawn over them.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.search import kinds


def curves(
    lines: list[dict[str, Any]], figure: str, updates: int
) -> dict[str, dict[str, list[float]]]:
    """Arm → ``updates``, ``cpu_s``, ``mean``, ``least``, ``most``, a value a rung each.

    Args:
        lines: of ``trials.jsonl``.
        figure: which of a line's.
        updates: of an epoch.
    """
    found: dict[str, dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        if line.get(figure) is not None:
            found[line["arm"]][line["epochs"]].append(line)
    drawn: dict[str, dict[str, list[float]]] = {}
    for arm, rungs in found.items():
        one = drawn[arm] = {k: [] for k in ("updates", "cpu_s", "mean", "least", "most")}
        spent = 0.0
        for epochs, seeds in sorted(rungs.items()):
            values = [line[figure] for line in seeds]
            known = [line["cpu_s"] for line in seeds if "cpu_s" in line]
            spent += sum(known) / len(known) if known else float("nan")
            one["updates"].append(epochs * updates)
            one["cpu_s"].append(spent)
            one["mean"].append(sum(values) / len(values))
            one["least"].append(min(values))
            one["most"].append(max(values))
    return drawn


def draw(drawn: dict[str, dict[str, list[float]]], said: str, out: Path) -> None:
    """Write the SVG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "espnet_dice"  # the same bytes each time
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for axis, over in zip(axes, ("updates", "cpu_s"), strict=True):
        for arm, one in drawn.items():
            (line,) = axis.plot(one[over], one["mean"], marker="o", markersize=3, label=arm)
            axis.fill_between(
                one[over], one["least"], one["most"], color=line.get_color(), alpha=0.15, lw=0
            )
        axis.set(xscale="log", xlabel={"cpu_s": "CPU seconds"}.get(over, over))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(said)
    axes[1].legend(fontsize=8)
    figure.savefig(out, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    """The command."""
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("space", type=Path, help="YAML of the search")
    p.add_argument("trials", type=Path, help="its trials.jsonl")
    p.add_argument("--updates", type=int, required=True, help="updates of an epoch")
    p.add_argument("--out", type=Path, required=True, help="SVG")
    a = p.parse_args()
    space = yaml.safe_load(a.space.read_text(encoding="utf-8"))
    kind = kinds.of(space)
    lines = [json.loads(line) for line in a.trials.read_text(encoding="utf-8").splitlines()]
    first = kind.figures[0]
    draw(curves(lines, first, a.updates), f"{first.upper()} % on {space['dev']}", a.out)


if __name__ == "__main__":
    main()
