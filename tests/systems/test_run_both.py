"""``./run.sh`` at the top: two recipes side by side, here scripts that pretend to be them."""

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.waiting import gone, wait_for

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """#!/usr/bin/env bash
echo "$*" >> {trace}
case "$*" in *--stop_stage*) exit 0 ;; esac
echo "working" >&2
{work}
echo "table of {name}"
"""


@pytest.fixture
def tree(tmp_path):
    """A copy of run.sh whose recipes do nothing; call it to say what they do instead."""
    shutil.copy(ROOT / "run.sh", tmp_path)
    script(tmp_path / "local/setup_env.sh", "#!/bin/sh\necho /nowhere\n")

    def recipes(**work):
        for name in ("kd1", "dice1"):
            told = {"name": name, "trace": tmp_path / f"{name}.trace", "work": work.get(name, "")}
            script(tmp_path / f"egs2/mini_synth/{name}/run.sh", RECIPE.format(**told))
        return tmp_path

    return recipes


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def run(tree, *args):
    return subprocess.run(
        [tree / "run.sh", *args], capture_output=True, text=True, timeout=60, check=False
    )


def test_both_run_at_once_and_their_tables_come_last(tree):
    here = tree(kd1="while [ ! -e ../../../met ]; do sleep 0.05; done", dice1="touch ../../../met")
    for recipe in ("kd1", "dice1"):  # as the recipes do
        path = here / f"egs2/mini_synth/{recipe}/run.sh"
        path.write_text(path.read_text().replace("echo", 'cd "$(dirname "$0")"; echo', 1))
    done = run(here)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "table of kd1\n\ntable of dice1\n"
    assert sorted(done.stderr.split("\n")) == ["", "dice1: working", "kd1:   working"]
    assert (here / "kd1.trace").read_text() == "--stop_stage 1\n\n"  # dice1 takes its corpus
    assert (here / "dice1.trace").read_text() == "\n"


def test_one_that_fails_lets_the_other_end_and_is_named(tree):
    done = run(tree(kd1="exit 3", dice1="sleep 0.3"))
    assert done.returncode == 3
    assert done.stdout == "\ntable of dice1\n"
    assert "error: not done: kd1, see above; ./run.sh goes on from there" in done.stderr


def test_options_are_of_one_recipe(tree):
    here = tree()
    assert run(here, "dice1", "--stage", "3").stdout == "table of dice1\n"
    assert run(here, "--nj", "1").stdout == "table of kd1\n"
    assert (here / "dice1.trace").read_text() == "--stage 3\n"
    assert (here / "kd1.trace").read_text() == "--nj 1\n"


@pytest.mark.parametrize("sent, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_both(tree, sent, code):
    pids = "echo $$ > ../../../$(basename $PWD).pid; exec sleep 60"
    here = tree(kd1=f'cd "$(dirname "$0")"; {pids}', dice1=f'cd "$(dirname "$0")"; {pids}')
    shell = subprocess.Popen([here / "run.sh"], stderr=subprocess.DEVNULL)
    started = [wait_for(here / f"{name}.pid") for name in ("kd1", "dice1")]
    shell.send_signal(sent)
    assert shell.wait(30) == code
    for pid in started:
        assert gone(pid)
