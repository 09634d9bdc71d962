"""What an experiment was made from: configs, seeds, data, machine, commands."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from espnet_dice.export import cards
from espnet_dice.io import fingerprint
from espnet_dice.io.json_files import read_json
from espnet_dice.records.experiment import of_recipe


@dataclass(frozen=True)
class Model:
    """A trained model.

    Attributes:
        name: of its directory.
        seed, epochs: of its training, epochs as asked for.
        minutes: it took.
        sha256: of its parameters.
        config: flat, as YAML.
        inputs: name → fingerprint of what it was trained on.
    """

    name: str
    seed: int
    epochs: int
    minutes: float
    sha256: str
    config: str
    inputs: dict[str, str]


@dataclass(frozen=True)
class Origin:
    """All of it.

    Attributes:
        versions: of the code that wrote the page: name and version.
        machine: the machine that wrote the page, in words.
        command: how the recipe was last started, or None.
        models: all that are finished.
        data: directory → fingerprint of the data sets.
    """

    versions: list[str]
    machine: str
    command: str | None
    models: list[Model]
    data: dict[str, str]


def read(exp: Path) -> Origin:
    """Read it from the records of the stages."""
    models = []
    for directory in sorted(exp.glob("*_*/")):
        model, record = read_json(directory / "model.json"), fingerprint.read(directory)
        if model and record and record.get("done"):
            models.append(_model(directory.name, model, record))
    data = {}
    dump = of_recipe(exp, "dump")
    for path in sorted(dump.glob(f"*/*/{fingerprint.NAME}")):
        record = fingerprint.read(path.parent) or {}
        data[str(path.parent.relative_to(dump.parent))] = record["key"]
    return Origin(cards.versions(), machine(), _command(of_recipe(exp, "log/.lock")), models, data)


def _model(name: str, model: dict[str, Any], record: dict[str, Any]) -> Model:
    settings = record["settings"]
    config = settings.get("config", settings)
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    return Model(
        name,
        model["seed"],
        model["max_epoch"],
        model.get("seconds", 0.0) / 60,
        model["sha256"],
        text,
        record["inputs"],
    )


def machine() -> str:
    """Processor, cores, memory and system of this machine; no name of it."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{cpu}, {cores} cores, {memory:.0f} GiB, {system}"


def _command(lock: Path) -> str | None:
    """The recipe's last command, from the lock that it leaves."""
    try:
        held = lock.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return held.partition(": ")[2] or None
