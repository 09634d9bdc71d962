"""A recipe whose script is ended, alone, leaves nothing working; its lock says who holds it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import gone, wait_for

ROOT = Path(__file__).parents[2]
SETS = {
    "kd1/kd.sh": ["--train_set", "train", "--valid_set", "dev", "--test_sets", "test"],
    "dice1/dice.sh": ["--train_set", "train", "--valid_set", "dev", "--test_sets", "test"],
}
WORKS = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from espnet_dice.io.errors import cli
def main():
    open("pid", "w").write(str(os.getpid()))
    time.sleep(100)
cli(main)
"""


def command(script, *more):
    options = ["--python", sys.executable, "--stop_stage", "1", *more]
    return [str(ROOT / "egs2/TEMPLATE" / script), *SETS[script], *options]


def start(cwd, line, above=()):
    return subprocess.Popen(
        [*above, *line],
        cwd=cwd,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": ""},
    )


def again(cwd, script):
    return subprocess.run(command(script), cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("script", SETS)
def test_nothing_works_on(tmp_path, script, number):
    (tmp_path / "works.py").write_text(WORKS)
    # as dicekd.sh and the run.sh at the top start a recipe: from a script that waits for it
    line = [*command(script, "--local_data", "$PYTHON works.py; true")]
    above = ["bash", "-c", 'setpriv --pdeathsig TERM -- "$@"; true', "above"]
    shell = start(tmp_path, line, above if number == signal.SIGTERM else ())
    works = wait_for(tmp_path / "pid")
    shell.send_signal(number)
    assert shell.wait() == -number
    assert gone(works)
    # and the directory is free: the next run comes to see that there are no data
    assert "train: no such data directory" in again(tmp_path, script).stderr


def test_who_holds_the_directory_of_a_killed_run(tmp_path):
    script = "kd1/kd.sh"
    stays = "trap '' TERM; echo $BASHPID > pid.new; mv pid.new pid; while :; do sleep 1; done"
    shell = start(tmp_path, command(script, "--local_data", stays))
    left = wait_for(tmp_path / "pid")
    try:
        shell.kill()
        shell.wait()
        done = again(tmp_path, script)
        assert done.returncode == 2
        assert f"was killed (process {shell.pid} since " in done.stderr
        still = re.search(r"still work: ([\d ]+)\.", done.stderr)
        assert str(left) in still[1].split()  # beside its sleep, in the order of their names
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
    assert gone(left)
    assert "another run" not in again(tmp_path, script).stderr


def test_ctrl_c_ends_the_script_though_its_command_succeeds(tmp_path):
    calm = "trap 'exit 0' INT; echo $BASHPID > pid.new; mv pid.new pid; while :; do sleep 0.1; done"
    shell = subprocess.Popen(
        command("dice1/dice.sh", "--local_data", calm),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # whoever runs this in the background ignores it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(tmp_path / "pid")
    os.killpg(shell.pid, signal.SIGINT)
    said = shell.communicate()[1]
    assert shell.returncode == 130
    assert "no such data directory" not in said
