"""What every path shares: turns, quartiles, goals, rows of the table."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

RATE = 16000


@dataclass(frozen=True)
class Goal:
    """A figure to reach: ``sign`` is ≥, ≤ or <."""

    sign: str
    value: float

    def met(self, figure: float) -> bool:
        """Does a figure reach it?"""
        return {"≥": figure >= self.value, "≤": figure <= self.value, "<": figure < self.value}[
            self.sign
        ]

    def __str__(self) -> str:
        return f"{self.sign} {self.value:g}"


GOALS = {
    "pitch": Goal("≥", 3),  # times Kaldi's speed
    "kmeans": Goal("≥", 8),  # times MiniBatchKMeans
    "kmeans inertia": Goal("≤", 1.002),
    "kmeans faiss": Goal("≥", 1),
    "kmeans faiss inertia": Goal("<", 1),
    "labelling": Goal("≥", 4),  # times dump → argmin
    "labelling features": Goal("≤", 0),  # bytes
    "labelling forward": Goal("≥", 0.95),  # of the throughput of the forward alone
    "precision": Goal("≥", 1.7),  # times the forward in float32
    "precision same": Goal("≥", 0.98),  # labels
    "store bytes": Goal("≤", 0.1),  # of float16
    "store kl": Goal("≤", 1e-3),  # nats
    "store read": Goal("<", 0.03),  # of a step
    "student step": Goal("≥", 1.5),  # times ESPnet's
    "student step gpu": Goal("≥", 2),
    "student step mel": Goal("≥", 2.5),  # times the full stem's
    "kd 1": Goal("≤", 1.05),  # of a plain step
    "kd 2": Goal("≤", 1.07),
    "decoding": Goal("≥", 3),  # times asr_inference
    "decoding recipe": Goal("≥", 4),  # the same, ESPnet imported
    "inference torch": Goal("≥", 4),  # times the teacher
    "inference int8": Goal("≥", 8),
    "inference mel torch": Goal("≥", 5),
    "inference mel int8": Goal("≥", 12),
    "start-up": Goal("<", 2),  # CPU s
    "imports of a run": Goal("<", 0.1),  # of its time
}


@dataclass
class Cost:
    """Seconds of one call: of CPU (on a GPU: of the device, by its events) and of the clock."""

    cpu_s: float
    wall_s: float


@dataclass
class Row:
    """A line of the table.

    Attributes:
        what: measured thing.
        beside: what it is compared with.
        unit: of ``figure``, such as "times faster".
        figure: lower quartile, median and upper quartile over the turns.
        goal: key of :data:`GOALS`, or None: for comparison.
        ours, theirs: medians of the costs, where there are two.
    """

    what: str
    beside: str
    unit: str
    figure: tuple[float, float, float] | None
    goal: str | None = None
    ours: Cost | None = None
    theirs: Cost | None = None

    @property
    def met(self) -> str:
        """yes, no, or nothing where there is no goal or no figure."""
        if self.goal is None or self.figure is None:
            return ""
        return "yes" if GOALS[self.goal].met(self.figure[1]) else "**no**"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def of(cls, d: dict[str, Any]) -> "Row":
        """From JSON."""
        costs = {k: Cost(**d[k]) if d[k] else None for k in ("ours", "theirs")}
        figure = tuple(d["figure"]) if d["figure"] is not None else None
        return cls(**{**d, **costs, "figure": figure})


def cost_of(call: Callable[[], Any]) -> Cost:
    """CPU and wall seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


def alternate(
    calls: dict[str, Callable[[], Any]],
    turns: int,
    warm: int = 1,
    cost: Callable[[Callable[[], Any]], Cost] = cost_of,
) -> dict[str, list[Cost]]:
    """Let calls take turns, so that a noisy machine slows all alike.

    Args:
        calls: by name; one may return its own :class:`Cost`, of another process.
        turns: that count.
        warm: turns before them.
        cost: what measures a call.
    """
    spent: dict[str, list[Cost]] = {name: [] for name in calls}
    for turn in range(warm + turns):
        for name, call in calls.items():
            own: list[Any] = []
            took = cost(lambda call=call, own=own: own.append(call()))
            if turn >= warm:
                spent[name].append(own[0] if isinstance(own[0], Cost) else took)
    return spent


def quartiles(values: Any) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    low, mid, high = np.percentile(np.asarray(values, float), [25, 50, 75])
    return float(low), float(mid), float(high)


def median(costs: list[Cost]) -> Cost:
    """Of each kind of seconds."""
    return Cost(*(float(np.median([getattr(c, k) for c in costs])) for k in ("cpu_s", "wall_s")))


def ratio(over: list[Cost], under: list[Cost], kind: str = "cpu_s") -> tuple[float, float, float]:
    """Quartiles of the ratio turn by turn."""
    pairs = zip(over, under, strict=True)
    return quartiles([getattr(a, kind) / getattr(b, kind) for a, b in pairs])


def faster(
    spent: dict[str, list[Cost]], ours: str, theirs: str, goal: str | None = None, **names: str
) -> Row:
    """A row: how many times faster ours is, in CPU seconds.

    Args:
        spent: of :func:`alternate`.
        ours, theirs: names in it.
        goal: key of :data:`GOALS`.
        names: ``what`` and ``beside`` where the names in ``spent`` are not to be shown.
    """
    return Row(
        names.get("what", ours),
        names.get("beside", theirs),
        "times faster",
        ratio(spent[theirs], spent[ours]),
        goal,
        median(spent[ours]),
        median(spent[theirs]),
    )


def fixed(value: float) -> tuple[float, float, float]:
    """A figure without spread."""
    return value, value, value


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = [
        "| measured | CPU s (wall s) | beside | CPU s (wall s) | figure (quartiles) | goal | met |",
        "|---|--:|---|--:|--:|--:|---|",
    ]
    for r in rows:
        goal = str(GOALS[r.goal]) if r.goal else ""
        cells = [r.what, _seconds(r.ours), r.beside, _seconds(r.theirs), _figure(r), goal, r.met]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _seconds(cost: Cost | None) -> str:
    return f"{cost.cpu_s:.3g} ({cost.wall_s:.3g})" if cost else ""


def _figure(row: Row) -> str:
    if row.figure is None:
        return "not measured"
    low, mid, high = row.figure
    spread = "" if low == high else f" ({low:.3g}–{high:.3g})"
    return f"{mid:.3g}{spread} {row.unit}"
