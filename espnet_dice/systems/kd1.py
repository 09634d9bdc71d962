"""Uncertainty-matching distillation as a system of ``espnet3``.

Its stages are those of ``egs2/TEMPLATE/kd1/kd.sh``, whose options the recipe's YAML holds: what was
made by the one is not made again by the other. Training is ESPnet2's, so that neither Lightning nor
Dask is needed.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from espnet3.contract.stages import StageSpec
from omegaconf import OmegaConf

from espnet_dice.io.errors import ConfigError, DiceError
from espnet_dice.io.processes import die_with


def _declared(*names: str) -> tuple[StageSpec, ...]:
    return tuple(StageSpec(name=name, config="training", log_dir="exp_dir") for name in names)


class KD1System:
    """The stages, by the names that ESPnet's own systems have where they have such a stage.

    Args:
        training_config: ``script``: kd.sh; ``recipe_dir``: where it works; ``exp_dir``: logs and
            experiments; ``options``: of the script, lists for several words.

    Raises:
        ConfigError: the script is not there.
    """

    stages: ClassVar[tuple[StageSpec, ...]] = _declared(
        "create_dataset",
        "train_tokenizer",
        "train_lm",
        "train_teachers",
        "train",
        "infer",
        "measure",
        "pack_model",
        "report",
    )

    def __init__(self, training_config: Any):
        self.training_config = training_config
        self._config = OmegaConf.to_container(training_config, resolve=True)
        self._default_log_dir = Path(self._config["exp_dir"])
        script = Path(self._config["recipe_dir"]) / self._config["script"]
        if not script.is_file():
            raise ConfigError(
                f"script: {script} is not there: kd1 runs in a checkout of espnet_dice"
            )
        self._script = script.resolve()

    def create_dataset(self) -> None:
        """Data directories and features."""
        self._run(1, 2)

    def train_tokenizer(self) -> None:
        """The token list."""
        self._run(3)

    def train_lm(self) -> None:
        """The language model."""
        self._run(4)

    def train_teachers(self) -> None:
        """Teachers, their error rates and their outputs."""
        self._run(5, 6)

    def train(self) -> None:
        """Students, and the averages of their checkpoints."""
        self._run(7, 8)

    def infer(self) -> None:
        """Decoding."""
        self._run(9)

    def measure(self) -> None:
        """Error rates."""
        self._run(10)

    def pack_model(self) -> None:
        """Exports that plain ESPnet loads."""
        self._run(11)

    def report(self) -> None:
        """The page to look at."""
        self._run(12)

    def _run(self, first: int, last: int | None = None) -> None:
        """Some stages of the script; what it says goes to the log of the stage.

        Raises:
            DiceError: it failed.
        """
        stages = ["--stage", str(first), "--stop_stage", str(last or first)]
        command = ["bash", str(self._script), *words(self._config), *stages]
        parent = os.getpid()
        running = subprocess.Popen(
            command,
            cwd=self._config["recipe_dir"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            text=True,
            errors="replace",
            preexec_fn=lambda: die_with(parent),
        )
        last_line = ""
        for line in running.stdout:
            last_line = line.rstrip()
            logging.info("%s", last_line)
        if running.wait():
            raise DiceError(f"{self._script.name}: {last_line.removeprefix('error: ')}")


def words(config: Mapping[str, Any]) -> list[str]:
    """The script's options as words of a command.

    Args:
        config: of the system, resolved.
    """
    options = {
        "python": sys.executable,
        "expdir": os.path.relpath(config["exp_dir"], config["recipe_dir"]),
        **(config.get("options") or {}),
    }
    return [word for key, value in options.items() for word in (f"--{key}", _text(value))]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return " ".join(map(_text, value)) if isinstance(value, list) else str(value)
