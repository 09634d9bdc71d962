"""The cards of exported models: what the stages left on disk, in words.

The export stage writes them, those of all exports with the results that are there.
"""

import importlib.metadata
import logging
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import espnet_dice
from espnet_dice.export.cards import asr_card, hubert_card
from espnet_dice.export.cards.card import NAME, code
from espnet_dice.hubert import upstreams
from espnet_dice.io import fingerprint
from espnet_dice.io.atomic import write_text
from espnet_dice.io.errors import DiceError
from espnet_dice.io.json_files import read_json
from espnet_dice.records import experiment, frontend, of_espnet
from espnet_dice.records.config_base import read_trained
from espnet_dice.results.table import JSON

EXPORT, HF, REPORT = "export", "hf", "export.json"


def write(system: experiment.Experiment, directory: Path) -> None:
    """Write the card of an exported model.

    Args:
        system: the experiment, ``exp/asr_<tag>`` or ``exp/dice_<tag>``.
        directory: its export, perhaps not yet in its place; holds ``export.json``.
    """
    report = read_json(directory / REPORT)
    hub = directory / HF
    card = _recogniser(system, report) if system.task == "asr" else _student(system, report)
    write_text((hub if hub.is_dir() else directory) / NAME, card)


def _recogniser(system: experiment.Experiment, report: Mapping[str, Any]) -> str:
    config = read_trained(system.config)
    features = frontend.of_training(config) or frontend.of_sound(config, system.config)
    found = read_json(system.directory.parent / JSON)
    rows = [row for row in found if _of(row, system)] if isinstance(found, list) else []
    training = _training(system, report.get("parameters", 0))
    return asr_card.make(system.name, training, config, features, report, rows, made_with())


def _student(system: experiment.Experiment, report: Mapping[str, Any]) -> str:
    config = read_trained(system.config)
    labels = Path(config["labels"]) / "store.json" if config.get("labels") else None
    row, probes = _probed(system)
    return hubert_card.make(
        system.name,
        _training(system, report.get("parameters", 0)),
        config,
        labels and read_json(labels),
        report,
        row,
        probes,
        made_with(),
    )


def refresh(exp: Path) -> int:
    """Write the cards of all exported models again, with the results that are there now.

    Returns:
        How many.
    """
    n = 0
    for directory in sorted(
        path for kind in ("asr", "dice") for path in exp.glob(f"{kind}_*/{EXPORT}")
    ):
        try:
            system = of_espnet.load(directory.parent)
        except DiceError as err:
            logging.warning("%s; its card stays as it is", err)
            continue
        record = fingerprint.read(directory) or {}
        if system.sha256 != record.get("inputs", {}).get("model"):
            logging.warning("%s is of an older model: export again", directory)
            continue
        write(system, directory)
        n += 1
    return n


def made_with() -> str:
    """:func:`versions`, for a card."""
    return ", ".join(map(code, versions())) + "."


def versions() -> list[str]:
    """This package's version, with its commit where it is a git checkout, ESPnet's and torch's."""
    commit = _commit(Path(espnet_dice.__file__).parents[1])
    ours = f"espnet_dice {espnet_dice.__version__}" + (f", commit {commit}" if commit else "")
    return [ours, *(f"{name} {importlib.metadata.version(name)}" for name in ("espnet", "torch"))]


def _commit(root: Path) -> str | None:
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _training(system: experiment.Experiment, exported: int) -> dict[str, str]:
    """What all models' cards say of their training."""
    epochs = f"{system.max_epoch}, seed {system.seed}"
    if len(system.averaged) > 1:
        epochs += f"; the average of {len(system.averaged)} checkpoints"
    facts = {"parameters": f"{(system.parameters or exported) / 1e6:.2f} M"}
    if system.train_set:
        facts["trained on"] = f"{code(system.train_set)}, validated on {code(system.valid_set)}"
    return {**facts, "epochs": epochs}


def _of(row: Mapping[str, Any], system: experiment.Experiment) -> bool:
    """Whether a line of the results is about this model as it is now."""
    if row["system"] != system.name.removeprefix("asr_"):
        return False
    meta = read_json(system.directory / row["decode"] / row["set"] / "meta.json") or {}
    return experiment.is_current(system.directory, meta.get("model"))


def _probed(system: experiment.Experiment) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The student's line of the results, if they are of the model that is there now."""
    path = system.directory.parent / JSON
    found = read_json(path)
    if not isinstance(found, dict):  # of recognisers
        return None, {}
    name = system.name.removeprefix("dice_")
    rows = [r for r in found["systems"] if r["system"] == name]
    rows = [r for r in rows if upstreams.is_current(str(system.directory), r["model"])]
    return (rows[0] if rows else None), found["probes"]
