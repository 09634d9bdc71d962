"""What differs between two experiments: their configs, and their results with significance.

    python -m espnet_dice.compare exp/asr_student_seed0 exp/asr_student_tok_seed0
    python -m espnet_dice.compare exp ../kd1.before/exp

Two models, or two ``exp`` directories, of which the models of equal name are compared. Differences
of error rates are B minus A, tested by a paired bootstrap over the utterances that both decoded.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from espnet_dice.io import options
from espnet_dice.io.errors import DataError, cli
from espnet_dice.io.progress import setup_logging
from espnet_dice.results import recognisers, statistics
from espnet_dice.results.recognisers import Decoded, Recognisers, System
from espnet_dice.results.table import layout

NOTHING = "–"


def flat(config: Any, name: str = "") -> dict[str, Any]:
    """Nested mappings as ``a.b`` → value; lists stay whole."""
    if not isinstance(config, Mapping) or not config:
        return {name: config}
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{name}.{key}" if name else str(key))
    return found


def differing(a: System, b: System) -> list[tuple[str, Any, Any]]:
    """Settings and inputs that differ: key, value in A, value in B; :data:`NOTHING` is none."""
    one, other = (flat({k: s.record.get(k, {}) for k in ("settings", "inputs")}) for s in (a, b))
    keys = list(dict.fromkeys([*one, *other]))
    pairs = [(_short(k), one.get(k, NOTHING), other.get(k, NOTHING)) for k in keys]
    return [(k, x, y) for k, x, y in pairs if x != y]


def results(a: list[Decoded], b: list[Decoded]) -> list[list[str]]:
    """Lines of a table: set, LM, measure, A, B, B - A with its 95 % interval, p."""
    lines = []
    for one in a:
        same = [d for d in b if (d.set, d.lm) == (one.set, one.lm)]
        match = [d for d in same if d.directory.parent.name == one.directory.parent.name] or same
        if not match:
            continue
        other = match[0]
        common = [u for u in one.utterances if other.reference.get(u) == one.reference[u]]
        if not common:
            continue
        rows = [np.array([d.utterances.index(u) for u in common]) for d in (one, other)]
        for measure in ("words", "characters"):
            first, second = (getattr(d, measure) for d in (one, other))
            errors = [c.total[row] for c, row in zip((first, second), rows, strict=True)]
            units = first.units[rows[0]]
            found = statistics.paired(*errors, units)
            rates = [f"{100 * e.sum() / units.sum():.1f}" for e in errors]
            name = "WER %" if measure == "words" else "CER %"
            some = "" if len(common) == len(one.utterances) else f" ({len(common)} utterances)"
            lines.append([one.set + some, one.lm or NOTHING, name, *rates, *_difference(found)])
    return lines


def compare(a: Path, b: Path) -> str:
    """The comparison, as text.

    Raises:
        DataError: one of them is no experiment, or they have nothing in common.
    """
    pairs = _pairs(*(_load(path) for path in (a, b)), a, b)
    parts = [f"A: {a}\nB: {b}"]
    for (one, ones), (other, others) in pairs:
        title = one.name if one.name == other.name else f"{one.name} → {other.name}"
        changes = [[k, str(x), str(y)] for k, x, y in differing(one, other)]
        lines = results(ones, others)
        if not changes and len(pairs) > 1 and _same(one, other):
            parts.append(f"## {title}\n\nthe same model")
            continue
        said = layout([["differs", "A", "B"], *changes], left=3) if changes else "equal configs"
        head = ["set", "LM", "rate", "A", "B", "B - A", "95 %", "p", ""]
        table = layout([head, *lines], left=3) if lines else "no set was decoded by both"
        parts.append(f"## {title}\n\n{said}\n\n{table}")
    return "\n\n".join(parts)


def _load(path: Path) -> tuple[Recognisers, str | None]:
    """The experiments, and the name of the one that is meant, or None for all."""
    if not path.is_dir():
        raise DataError(f"{path}: no such directory: give exp/asr_<tag>, or an exp directory")
    one = path.resolve()
    if (one / "model.json").exists():
        return recognisers.read(one.parent), one.name.removeprefix("asr_")
    return recognisers.read(one), None


def _pairs(first: tuple, second: tuple, a: Path, b: Path) -> list:
    (one, name), (other, name_b) = first, second
    if (name is None) != (name_b is None):
        raise DataError(f"{a} and {b}: give two models, or two exp directories")
    for found, wanted, path in ((one, name, a), (other, name_b, b)):
        if not found.systems or (wanted is not None and wanted not in found.systems):
            raise DataError(f"{path}: no finished recogniser there: run kd1's stages 5 to 9 first")
    names = [(name, name_b)] if name else [(n, n) for n in one.systems if n in other.systems]
    if not names:
        raise DataError(f"{a} and {b} have no recogniser of the same name")

    def of(found: Recognisers, system: str) -> tuple[System, list[Decoded]]:
        return found.systems[system], [d for d in found.decoded if d.system.name == system]

    return [(of(one, n), of(other, m)) for n, m in names]


def _same(a: System, b: System) -> bool:
    return a.model["sha256"] == b.model["sha256"]


def _short(key: str) -> str:
    return key.removeprefix("settings.").removeprefix("config.")


def _difference(d: statistics.Difference) -> list[str]:
    interval = f"{100 * d.low:+.1f} … {100 * d.high:+.1f}"
    verdict = "differ" if d.is_significant else "no difference seen"
    return [f"{100 * d.value:+.1f}", interval, f"{d.p:.3f}", verdict]


def main(argv: list[str] | None = None) -> None:
    """Compare: a command."""
    parser = options.parser(__doc__)
    parser.add_argument("a", type=Path, metavar="EXP_A", help="exp/asr_<tag>, or an exp directory")
    parser.add_argument("b", type=Path, metavar="EXP_B", help="the same")
    args = parser.parse_args(argv)
    setup_logging()
    print(compare(args.a, args.b))


if __name__ == "__main__":
    cli(main)
