"""What a training did, epoch by epoch, from ESPnet's ``train.log``; nothing is unpickled."""

import re
from dataclasses import dataclass, field
from pathlib import Path

LOG = "train.log"
_RESULTS = re.compile(
    r"\b(\d+)epoch results: \[train\] (.*?), \[valid\] (.*?)(?:, \[att_plot\].*)?$"
)
_STAT = re.compile(r"(\w+)=([-+]?(?:\d[\d.]*(?:e[-+]?\d+)?|nan|inf))")
_TIME = re.compile(r"\btime=([^=]*?)(?:, \w+=|$)")
_SPAN = re.compile(r"([\d.]+) (week|day|hour|minute|second)s?")
_SECONDS = {"week": 604800, "day": 86400, "hour": 3600, "minute": 60, "second": 1}


@dataclass(frozen=True)
class Training:
    """One run.

    Attributes:
        name: of the experiment, without ``asr_``, ``lm_`` or ``dice_``.
        kind: ``asr``, ``lm`` or ``dice``.
        epochs: numbers, ascending.
        train, valid: statistic → its value in each epoch, NaN where it is missing.
        seconds: of each epoch, training and validation.
    """

    name: str
    kind: str
    epochs: list[int] = field(default_factory=list)
    train: dict[str, list[float]] = field(default_factory=dict)
    valid: dict[str, list[float]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)


def read(log: Path, name: str, kind: str) -> Training:
    """Read a log; of an epoch that was begun again after a kill the last result counts."""
    found: dict[int, tuple[dict, dict, float]] = {}
    with open(log, encoding="utf-8", errors="replace") as f:
        for line in f:
            if "epoch results: " in line and (match := _RESULTS.search(line.rstrip("\n"))):
                seconds = sum(_seconds(part) for part in match.groups()[1:])
                found[int(match[1])] = (_stats(match[2]), _stats(match[3]), seconds)
    epochs = sorted(found)

    def series(part: int) -> dict[str, list[float]]:
        names = dict.fromkeys(n for e in epochs for n in found[e][part])
        return {n: [found[e][part].get(n, float("nan")) for e in epochs] for n in names}

    return Training(name, kind, epochs, series(0), series(1), [found[e][2] for e in epochs])


def read_all(exp: Path) -> list[Training]:
    """Every run below ``exp`` whose log has an epoch."""
    found = []
    for log in sorted(exp.glob(f"*_*/{LOG}")):
        kind, _, name = log.parent.name.partition("_")
        if kind in ("asr", "lm", "dice"):
            training = read(log, name, kind)
            if training.epochs:
                found.append(training)
    return found


def _stats(text: str) -> dict[str, float]:
    return {k: float(v) for k, v in _STAT.findall(text) if k not in ("time", "total_count")}


def _seconds(text: str) -> float:
    """``time=1 minute and 3.2 seconds`` as 63.2."""
    match = _TIME.search(text)
    spans = _SPAN.findall(match[1]) if match else ()
    return sum(float(n) * _SECONDS[unit] for n, unit in spans)
