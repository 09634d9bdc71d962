"""What commands cost before they work: ``--help``, and stages that import no ESPnet.

Bound by imports. ``import espnet2.tasks.asr`` reads thousands of files; data, features, labels and
scoring need none of it, and torch only where a model runs. The share of a whole run is read from
its log (``--run_log``, what ``./run.sh`` printed): from each "loading ESPnet" to the next line.
"""

import datetime
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import used
from benchmarks.measure import Cost, Row, fixed, median, quartiles

COMMANDS = ["data", "features", "labels", "score", "decode", "train", "dice_results"]
IMPORTS = {
    "data": "import espnet_dice.stages.data",
    "features": "import espnet_dice.stages.features, espnet_dice.features.pitch",
    "labels": "import espnet_dice.stages.labels",
    "scoring": "import espnet_dice.stages.score",
}
ESPNET = ["-m", "espnet2.bin.asr_train", "--help"]


def spent(command: list[str], turns: int) -> list[Cost]:
    """CPU and wall seconds of a Python command."""
    took = [used.run([sys.executable, *command]) for _ in range(turns)]
    return [Cost(t.cpu_s, t.wall_s) for t in took]


def rows(options: Any) -> Iterator[Row]:
    """Each command beside ESPnet's help."""
    turns = min(2, options.turns)
    theirs = median(spent(ESPNET, 1))
    beside = "asr_train --help"
    yield Row(
        "an empty Python",
        beside,
        "CPU s",
        _cpu(own := spent(["-c", ""], turns)),
        None,
        median(own),
        theirs,
    )
    for name in COMMANDS:
        command = ["-m", f"espnet_dice.stages.{name}", "--help"]
        own = spent(command, turns)
        yield Row(f"{name} --help", beside, "CPU s", _cpu(own), "start-up", median(own), theirs)
    for name, code in IMPORTS.items():
        own = spent(["-c", code], turns)
        yield Row(f"{name}: imports", beside, "CPU s", _cpu(own), "start-up", median(own), theirs)
    if options.run_log:
        loading, total = loading_of(Path(options.run_log).read_text(encoding="utf-8"))
        what = f"imports of ESPnet in a run of {total / 60:.0f} min: {loading:.0f} s"
        yield Row(what, "the run", "of its time", fixed(loading / total), "imports of a run")


def loading_of(log: str) -> tuple[float, float]:
    """Seconds in which a run's log says that ESPnet is loaded, and those of the whole log.

    Recipes that run side by side have their name before each line; their seconds add up.
    """
    loading = total = 0.0
    lines = re.findall(r"^(?:(\w+): +)?(?:\S+T)?(\d\d:\d\d:\d\d) (.*)$", log, re.M)
    day = datetime.timedelta(days=1)
    for recipe in {recipe for recipe, _, _ in lines}:
        own = [(_clock(time), text) for name, time, text in lines if name == recipe]
        for (before, text), (after, _) in itertools.pairwise(own):
            gap = ((after - before) % day).total_seconds()
            total += gap
            loading += gap if "loading ESPnet" in text else 0.0
    return loading, total


def _clock(time: str) -> datetime.timedelta:
    hours, minutes, seconds = map(int, time.split(":"))
    return datetime.timedelta(hours=hours, minutes=minutes, seconds=seconds)


def _cpu(costs: list[Cost]) -> tuple[float, float, float]:
    return quartiles([c.cpu_s for c in costs])
