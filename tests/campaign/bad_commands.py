"""Options of the recipes' scripts that are wrong."""

import subprocess
import sys
from pathlib import Path

from tests.campaign.catalogue import Command, case

AREA = "Options of recipes"
ROOT = Path(__file__).parents[2]
KD = ("--train_set", "a", "--valid_set", "b", "--test_sets", "c")
DICE = ("--train_set", "a", "--valid_set", "b", "--test_sets", "c")


def shell(argv: list[str]) -> int:
    """A stage script; its words go to our stderr, its exit code is ours."""
    script = ROOT / "egs2" / "TEMPLATE" / argv[0]
    environment = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", str(script), *argv[1:]], capture_output=True, text=True, env=environment
    )
    sys.stderr.write(done.stderr)
    return done.returncode


def kd(*more: str) -> Command:
    """kd.sh with its sets."""
    return shell, ["kd1/kd.sh", *KD, *more]


def dice(*more: str) -> Command:
    """dice.sh with its sets."""
    return shell, ["dice1/dice.sh", *DICE, *more]


@case(AREA, "an option that does not exist", "unknown option --stages", "--help")
def unknown() -> Command:
    return kd("--stages", "3")


@case(AREA, "an option without its value", "--stage needs a value", "--help")
def no_value() -> Command:
    return kd("--stage")


@case(AREA, "a word that is no option", "unexpected argument 'stage'", "--name value")
def word() -> Command:
    return kd("stage", "3")


@case(AREA, "a stage that is no number", "--stage must be a whole number", "'three'")
def stage() -> Command:
    return kd("--stage", "three")


@case(AREA, "a switch that is neither true nor false", "--use_lm must be true or false", "'maybe'")
def switch() -> Command:
    return kd("--use_lm", "maybe")


@case(AREA, "no sets", "--train_set is empty", "run.sh names the sets")
def no_sets() -> Command:
    return shell, ["kd1/kd.sh"]


@case(AREA, "a mode of teachers that does not exist", "--teacher_mode", "cached or online")
def mode() -> Command:
    return kd("--teacher_mode", "offline")


@case(AREA, "three iterations", "--iterations must be 1 or 2", "'3'")
def iterations() -> Command:
    return dice("--iterations", "3")


@case(AREA, "a seed that is no number", "--seeds", "'one'")
def seeds() -> Command:
    return kd("--seeds", "0 one")


@case(AREA, "a seed that is no number, of a student", "--seeds", "'x'")
def dice_seeds() -> Command:
    return dice("--seeds", "x")


@case(AREA, "a Python without ESPnet", "is not a Python with ESPnet", "--python")
def python() -> Command:
    return kd("--python", "/usr/bin/false")
