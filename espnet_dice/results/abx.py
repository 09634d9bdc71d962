"""Triphone ABX of the systems of an experiment directory, as ``stages/abx`` left it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_dice.io.json_files import read_json
from espnet_dice.results.dice_results import Row
from espnet_dice.results.table import layout

OUT = "abx"


@dataclass(frozen=True)
class Abx:
    """A system's best layer.

    Attributes:
        system: its name.
        layer: of :func:`best`.
        layers: how many were scored.
        within, across: errors in %, of speakers alike and of different ones; 50 is chance.
        cells: mode → cells that were scored.
        utterances: that they are from.
    """

    system: str
    layer: int
    layers: int
    within: float
    across: float
    cells: Mapping[str, int]
    utterances: int


def best(layers: Mapping[str, Mapping[str, float]]) -> int:
    """The layer with the lowest mean of both errors; the lowest of equal ones.

    Args:
        layers: number as text → errors.
    """
    return min(map(int, layers), key=lambda n: (sum(layers[str(n)].values()), n))


def read(exp: Path, rows: Sequence[Row]) -> list[Abx]:
    """What was scored, best first; scores of other models than those that were probed left out.

    Args:
        exp: has ``abx/<system>.json``.
        rows: the probe table.
    """
    probed = {row.system: row.model for row in rows if row.model}
    found = []
    for path in sorted((exp / OUT).glob("*.json")):
        record = read_json(path)
        if not record or not record.get("layers"):
            continue
        name, key = record["system"], record["made_from"]["inputs"]["upstream"]
        if probed.get(name, key) != key:
            logging.warning("%s belongs to another model than its probes: left out", path)
            continue
        layer = best(record["layers"])
        errors = record["layers"][str(layer)]
        about = {k: record[k] for k in ("cells", "utterances")}
        found.append(Abx(name, layer, len(record["layers"]), **errors, **about))
    return sorted(found, key=lambda one: (one.within + one.across, one.system))


def section(found: Sequence[Abx]) -> str:
    """The systems' best layers as Markdown; empty where nothing was scored."""
    if not found:
        return ""
    lines = [["system", "best layer", "within %", "across %"]]
    for one in found:
        layer = str(one.layer) if one.layers > 1 else "–"
        lines.append([one.system, layer, f"{one.within:.1f}", f"{one.across:.1f}"])
    cells = found[0].cells
    said = (
        "How often a phone is nearer to another than to its like, in the same context: of one "
        f"speaker ({cells['within']} cells), and of two ({cells['across']}); 50 is chance. Layer 0 "
        f"is the input of block 1. {found[0].utterances} utterances."
    )
    return "\n\n".join(["## Triphone ABX", layout(lines, left=1), said])
