"""Every case of the catalogue, and the committed table."""

import functools
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.campaign import catalogue

CASES = catalogue.load()


@functools.cache
def outcome(number: int) -> catalogue.Outcome:
    with tempfile.TemporaryDirectory() as tmp:
        return catalogue.run(CASES[number], Path(tmp))


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{c.area}: {c.wrong}" for c in CASES])
def test_case(number):
    said = outcome(number)
    assert said.code == 2, said.message
    assert "Traceback" not in said.message and "usage:" not in said.message
    for words in CASES[number].says:
        assert words in said.message
    assert not said.left


def test_the_table_is_what_the_cases_say():
    rows = [(one, outcome(number)) for number, one in enumerate(CASES)]
    assert len(rows) >= 60
    committed = catalogue.TABLE.read_text(encoding="utf-8")
    assert catalogue.table(rows) == committed, "run: python -m tests.campaign.catalogue"


def test_every_case_says_where_and_what_to_do():
    assert [c.wrong for c in CASES if len(c.says) < 2] == []
    assert len({(c.area, c.wrong) for c in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("module", "argv"),
    [
        ("stages.data", ["--data_dir", "nowhere"]),
        ("stages.tokens", ["--out", "tok", "nowhere/text"]),
        ("stages.config", ["nowhere.yaml"]),
        ("stages.score", ["--exp", "nowhere"]),
        ("transcribe", ["nowhere", "a.wav"]),
    ],
)
def test_a_real_process_ends_with_2_and_no_traceback(module, argv, tmp_path):
    root = Path(catalogue.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", f"espnet_dice.{module}", *argv],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "error: " in done.stderr and "nowhere" in done.stderr
    assert "Traceback" not in done.stderr and not any(tmp_path.iterdir())
