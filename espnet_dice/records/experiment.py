"""A trained model's directory, as the later stages see it: ``model.json`` and what it points to."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from espnet_dice.io.errors import ConfigError, StaleError
from espnet_dice.io.fingerprint import digest_files, key_of
from espnet_dice.io.json_files import read_json, write_json

NAME = "model.json"


@dataclass(frozen=True)
class Experiment:
    """What training left in ``directory``.

    Attributes:
        directory: ``exp/asr_<tag>``, ``exp/lm_<tag>`` or ``exp/dice_<tag>``.
        key: the directory's fingerprint.
        task: ``asr``, ``lm`` or ``dice``.
        model: name of the parameter file inside the directory (the averaged model).
        sha256: of that file.
        parameters: how many the model has.
        seed: of the training.
        max_epoch: epochs asked for.
        averaged: epochs in the average, best first, each with its validation score.
        train_set, valid_set: names of the sets.
        seconds: wall-clock time of the training, over all its runs.
        role: ``teacher`` or ``student`` of a recipe; empty where nobody said.
    """

    directory: Path
    key: str
    task: str
    model: str
    sha256: str
    parameters: int
    seed: int
    max_epoch: int
    averaged: list[tuple[int, float]] = field(default_factory=list)
    train_set: str = ""
    valid_set: str = ""
    seconds: float = 0.0
    role: str = ""

    @property
    def name(self) -> str:
        """Name of the directory, e.g. ``asr_tiny_train``."""
        return self.directory.name

    @property
    def config(self) -> Path:
        """ESPnet's ``config.yaml``."""
        return self.directory / "config.yaml"

    @property
    def model_file(self) -> Path:
        """The averaged parameters."""
        return self.directory / self.model


def directory_of(exp: Path, kind: str, tag: str) -> Path:
    """Where a model goes, ``exp/<kind>_<tag>``.

    Raises:
        ConfigError: the tag would lead elsewhere.
    """
    if not tag or "/" in tag:
        raise ConfigError(f"the tag {tag!r} names a directory: letters, digits and ._=- only")
    return exp / f"{kind}_{tag}"


def of_recipe(exp: Path, path: str | Path) -> Path:
    """A path of a record, which starts at the recipe's directory.

    That is the one that ``exp`` lies in or, where the path is not there, the current one: with
    ``--expdir`` elsewhere.
    """
    beside = exp.resolve().parent / path
    return Path(path) if not beside.exists() and Path(path).exists() else beside


def write(directory: Path, **values) -> None:
    """Write ``model.json``; the digest of the parameter file is added here."""
    values["sha256"] = digest_files([directory / values["model"]])
    write_json(directory / NAME, values)


def load(directory: str | Path, made_by: str = "the training stage") -> Experiment:
    """Read a finished experiment.

    Raises:
        StaleError: it is missing or unfinished, or its parameter file is not what was trained.
    """
    directory = Path(directory)
    key = key_of(directory, made_by)
    try:
        values = json.loads((directory / NAME).read_text(encoding="utf-8"))
        experiment = Experiment(directory=directory, key=key, **values)
        if Path(experiment.model).name != experiment.model:
            raise ValueError("a model lies in its own directory")
    except (FileNotFoundError, ValueError, TypeError):
        raise StaleError(
            f"{directory / NAME} is missing or damaged: remove {directory}, run {made_by} again"
        ) from None
    if not experiment.model_file.exists():
        raise StaleError(f"{experiment.model_file} is missing: run {made_by} again")
    if digest_files([experiment.model_file]) != experiment.sha256:
        raise StaleError(
            f"{experiment.model_file} is not the file that was trained: "
            f"remove {directory}, run {made_by} again"
        )
    return experiment


def is_current(directory: Path, sha256: str | None) -> bool:
    """Whether what was made from parameters with this digest belongs to the present model.

    Args:
        directory: of the experiment.
        sha256: of the parameter file that a result, a cache or an export names.
    """
    model = read_json(directory / NAME)
    return model is not None and model["sha256"] == sha256


def summary(directory: str | Path, score: str = "") -> str:
    """One line about a trained model: size, which checkpoints were averaged, their scores.

    Args:
        directory: of the experiment.
        score: what the scores are, for the line.
    """
    e = load(directory)
    epochs = ", ".join(f"{epoch} ({value:.3f})" for epoch, value in e.averaged)
    what = f" ({score})" if score else ""
    return f"{e.name}: {e.parameters / 1e6:.2f} M parameters; averaged epochs{what}: {epochs}"
