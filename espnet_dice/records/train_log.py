"""What a training did, epoch by epoch, from ESPnet's ``train.log``; nothing is unpickled."""

import re
from dataclasses import dataclass, field
from pathlib import Path

LOG = "train.log"
_STARTED = re.compile(r"\b(\d+)/\d+epoch started")
_BATCH = re.compile(r"\b\d+epoch:train:\d+-(\d+)batch: ")
_RESULTS = re.compile(
    r"\b(\d+)epoch results: \[train\] (.*?), \[valid\] (.*?)(?:, \[att_plot\].*)?$"
)
_STAT = re.compile(r"(\w+)=([-+]?(?:\d[\d.]*(?:e[-+]?\d+)?|nan|inf))")
_TIME = re.compile(r"\btime=([^=]*?)(?:, \w+=|$)")
_SPAN = re.compile(r"([\d.]+) (week|day|hour|minute|second)s?")
_SECONDS = {"week": 604800, "day": 86400, "hour": 3600, "minute": 60, "second": 1}
_SKIPPED = "Skipping updating the model"


def started(line: str) -> int | None:
    """The epoch that a line says has begun."""
    match = _STARTED.search(line) if "epoch started" in line else None
    return int(match[1]) if match else None


def batch(line: str) -> int | None:
    """The batch that a line says training has come to."""
    match = _BATCH.search(line) if "batch: " in line else None
    return int(match[1]) if match else None


@dataclass(frozen=True)
class Epoch:
    """What a line says of an epoch that has ended.

    Attributes:
        number: of the epoch.
        train, valid: statistic → value.
        seconds: training and validation.
        updates: batches that training has seen in all.
    """

    number: int
    train: dict[str, float]
    valid: dict[str, float]
    seconds: float
    updates: int

    @classmethod
    def of(cls, line: str) -> "Epoch | None":
        """Read a line; None where it says something else."""
        match = _RESULTS.search(line.rstrip("\n")) if "epoch results: " in line else None
        if match is None:
            return None
        train, valid = (dict(_STAT.findall(part)) for part in match.groups()[1:])
        updates = int(train.pop("total_count", 0))
        seconds = sum(_seconds(part) for part in match.groups()[1:])
        return cls(int(match[1]), _floats(train), _floats(valid), seconds, updates)


def updates(log: Path) -> tuple[int, int]:
    """Updates of a whole training, and how many ESPnet left out for their gradient."""
    done = skipped = 0
    with open(log, encoding="utf-8", errors="replace") as f:
        for line in f:
            skipped += _SKIPPED in line
            if epoch := Epoch.of(line):
                done = epoch.updates
    return done, skipped


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
    found: dict[int, Epoch] = {}
    with open(log, encoding="utf-8", errors="replace") as f:
        for line in f:
            if epoch := Epoch.of(line):
                found[epoch.number] = epoch
    epochs = [found[number] for number in sorted(found)]

    def series(parts: list[dict[str, float]]) -> dict[str, list[float]]:
        names = dict.fromkeys(n for part in parts for n in part)
        return {n: [part.get(n, float("nan")) for part in parts] for n in names}

    return Training(
        name,
        kind,
        [epoch.number for epoch in epochs],
        series([epoch.train for epoch in epochs]),
        series([epoch.valid for epoch in epochs]),
        [epoch.seconds for epoch in epochs],
    )


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


def _floats(stats: dict[str, str]) -> dict[str, float]:
    return {k: float(v) for k, v in stats.items() if k not in ("time", "total_count")}


def _seconds(text: str) -> float:
    """``time=1 minute and 3.2 seconds`` as 63.2."""
    match = _TIME.search(text)
    spans = _SPAN.findall(match[1]) if match else ()
    return sum(float(n) * _SECONDS[unit] for n, unit in spans)
