"""The search in tables: the best of each arm, arms against each other in pairs, all trials."""

import statistics
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.search import kinds

RESAMPLES, SEED = 2000, 0


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """95 % of the means of resampled differences."""
    rng = np.random.default_rng(SEED)
    values = np.asarray(differences)
    means = values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def layout(lines: list[dict[str, Any]], space: dict[str, Any]) -> str:
    """Markdown of everything that is known; arms that were not tried are left out."""
    kind = kinds.of(space)
    first = kind.figures[0]
    scored = [line for line in lines if line[first] is not None]
    tried = {line["arm"] for line in lines}
    arms, rungs = [a for a in space["arms"] if a in tried], [r["epochs"] for r in space["rungs"]]
    said = [f"{kind.told(space)}; seed {space['seed']}.", ""]
    spread = "mean ± sd (seeds)" if space.get("seeds") else "best, median (trials)"
    head = [f"{e} epochs: {spread}" for e in rungs]
    said += [f"| arm | {' | '.join(head)} |", f"|---|{'---|' * len(rungs)}"]
    for arm in arms:
        cells = []
        for e in rungs:
            found = [x[first] for x in scored if x["arm"] == arm and x["epochs"] == e]
            pair = f"{min(found, default=0):.1f}, {statistics.median(found or [0]):.1f}"
            if space.get("seeds") and len(found) > 1:
                pair = f"{statistics.mean(found):.1f} ± {statistics.stdev(found):.1f}"
            cells.append(f"{pair} ({len(found)})" if found else "–")
        said.append(f"| {arm} | {' | '.join(cells)} |")
    paired = rungs[-1] if space.get("seeds") else rungs[0]  # later rungs keep the best alone
    by = {(x["arm"], x["trial"]): x[first] for x in scored if x["epochs"] == paired}
    pairs = []
    for k, one in enumerate(arms):
        for second in arms[k + 1 :]:
            d = [by[second, n] - by[a, n] for a, n in by if a == one and (second, n) in by]
            if len(d) > 1:
                low, high = interval(d)
                better = sum(x < 0 for x in d)
                pairs.append(
                    f"| {second} − {one} | {statistics.mean(d):+.1f} ({low:+.1f} to {high:+.1f}) "
                    f"| {better} of {len(d)} |"
                )
    if pairs:
        said += [
            "",
            f"{'Seeds' if space.get('seeds') else 'Trials'} of the same number, {paired} epochs:",
            "",
        ]
        said += ["| arms | mean difference (95 %) | better |", "|---|--:|--:|", *pairs]
    said += effects([x for x in scored if x["epochs"] == rungs[0]], arms, kind.fine)
    said += levers([x for x in scored if x["epochs"] == rungs[0]], kind.fine)
    shown = [first] + [k for k in kind.figures[1:] if any(x.get(k) is not None for x in lines)]
    names = [name if name in ("within", "across") else name.upper() for name in shown]
    said += ["", f"| trial | epochs | {' | '.join(names)} | keys |"]
    said += [f"|---|--:|{'--:|' * len(names)}---|"]
    for x in sorted(lines, key=lambda x: (arms.index(x["arm"]), x["trial"], x["epochs"])):
        rates = " | ".join("–" if x.get(k) is None else f"{x[k]:.1f}" for k in shown)
        keys = ", ".join(f"{k.partition('.')[2] or k} {v}" for k, v in x["keys"].items())
        said.append(f"| {x['tag']} | {x['epochs']} | {rates} | {keys} |")
    return "\n".join(said) + "\n"


def effects(lines: list[dict[str, Any]], arms: Sequence[str], figure: str = "cer") -> list[str]:
    """Lines of a table: what a setting that only one of two neighbouring arms has is worth.

    Trials of the same number share everything else, so their difference is that of the arms; here
    its mean over the trials that drew one value.

    Args:
        lines: of one rung.
        arms: in order; each is set beside the one before it.
        figure: which of a line's; of recognisers the CER: at the first rung WER is near 100 %.
    """
    by = {(x["arm"], x["trial"]): x for x in lines}
    rows = []
    for first, second in pairwise(arms):
        pairs = [(by[first, n], by[second, n]) for a, n in by if a == first and (second, n) in by]
        if len(pairs) < 2:
            continue
        own = {k for _, y in pairs for k in y["keys"]} - {k for x, _ in pairs for k in x["keys"]}
        for key in sorted(own):
            drew = [(y["keys"][key], y[figure] - x[figure]) for x, y in pairs if key in y["keys"]]
            for label, chosen in _classes([value for value, _ in drew]):
                d = [difference for value, difference in drew if chosen(value)]
                if len(d) < 2:
                    continue
                low, high = interval(d)
                rows.append(
                    f"| {second} − {first} | {key} {label} | {statistics.mean(d):+.1f} "
                    f"({low:+.1f} to {high:+.1f}) | {sum(x < 0 for x in d)} of {len(d)} |"
                )
    if not rows:
        return []
    head = ["", f"The same by the settings that only the second has, {figure.upper()}:", ""]
    head += ["| arms | setting | mean difference (95 %) | better |", "|---|---|--:|--:|"]
    return head + rows


def levers(lines: list[dict[str, Any]], figure: str = "cer") -> list[str]:
    """Lines of a table: how the trials that drew a value do beside all of their arm, on average.

    A trial differs in all that it drew: few trials tell a lever from another by chance alone.

    Args:
        lines: of one rung.
        figure: which of a line's.
    """
    of_arm: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        of_arm.setdefault(line["arm"], []).append(line)
    drew: dict[str, list[tuple[Any, float]]] = {}
    for found in of_arm.values():
        middle = statistics.mean(x[figure] for x in found)
        for key in {k for x in found for k in x["keys"]}:
            values = [x["keys"].get(key, "left out") for x in found]
            if len(set(map(str, values))) > 1:
                differences = (x[figure] - middle for x in found)
                drew.setdefault(key, []).extend(zip(values, differences, strict=True))
    rows = []
    for key in sorted(drew):
        for label, chosen in _classes([value for value, _ in drew[key]]):
            d = [difference for value, difference in drew[key] if chosen(value)]
            rows.append(f"| {key} {label} | {statistics.mean(d):+.1f} | {len(d)} |")
    if not rows:
        return []
    head = ["", f"Trials that drew a value, beside all of their arm, {figure.upper()}:", ""]
    return [*head, "| setting | mean difference | trials |", "|---|--:|--:|", *rows]


def _classes(values: Sequence[Any]) -> list[tuple[str, Callable[[Any], bool]]]:
    """Values that were drawn of few are classes; of many, those up to their median and the rest."""
    distinct = sorted(set(map(str, values)))  # a schedule is a mapping
    if len(distinct) < 2:
        return []
    if len(distinct) <= 5 or not all(isinstance(v, int | float) for v in values):
        return [(value, lambda v, value=value: str(v) == value) for value in distinct]
    middle = statistics.median(values)
    return [
        (f"up to {middle:.3g}", lambda v: v <= middle),
        (f"above {middle:.3g}", lambda v: v > middle),
    ]
