import io
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from espnet_dice.stages import driver
from espnet_dice.work import preload

ROOT = Path(__file__).parents[2]
COMMON = ROOT / "egs2/TEMPLATE/common.sh"
START = (
    "from espnet_dice.stages import driver; driver.COMMANDS['do'] = 'tests.stages.commands'; "
    "driver.main()"
)
SCRIPT = """
set -euo pipefail
root={root}; stage=1; stop_stage=9
. {common}
export PYTHONPATH={root}
py=({python}/python)
"""
# the interpreter of the script: "-m espnet_dice.stages.driver" becomes one that knows "do"
PYTHON = """#!/bin/sh
shift 2
exec {python} -c "{start}" "$@"
"""


@pytest.fixture
def script(tmp_path):
    """Runs lines of shell behind common.sh."""
    (tmp_path / "python").write_text(PYTHON.format(python=sys.executable, start=START))
    (tmp_path / "python").chmod(0o755)
    head = SCRIPT.format(root=ROOT, common=COMMON, python=tmp_path)

    def start(lines):
        return subprocess.Popen(
            ["bash", "-c", head + lines], text=True, start_new_session=True, cwd=tmp_path,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return start


def test_commands_are_read():
    parts = (b"2", b"7", b"tokens", b"a b\n\xff", b"1", b"1", b"score")
    stream = io.BytesIO(b"".join(part + b"\0" for part in parts))
    assert driver.read_command(stream) == (7, ["tokens", "a b\n\udcff"])
    assert driver.read_command(stream) == (1, ["score"])
    assert driver.read_command(stream) is None


def test_words_codes_and_output(script):
    run = script(
        "run do say 'a  b' '' é; run_silently do say unseen; run do say c | cat\n"
        "code=0; run do three || code=$?; echo ${code}\n"
        "run do refuse || code=$?; echo ${code}; run do break || code=$?; echo ${code}\n"
        "run do die || code=$?; echo ${code}; run do say on\nrun do refuse\necho never\n"
    )
    out, err = run.communicate(timeout=60)
    lines = out.splitlines()
    pid = lines[0].rpartition(" ")[2]
    assert lines == [f"a  b  é {pid}", f"c {pid}", "3", "2", "1", "137", f"on {pid}"]
    assert "error: conf/a.yaml: wrong" in err and "ValueError: a fault" in err
    assert run.returncode == 2  # set -e


def test_a_help_and_a_command_that_is_none(script):
    run = script(
        "run tokens --help; run tokens --out x --no_such || echo $?; run no_such || echo $?"
    )
    out, err = run.communicate(timeout=60)
    assert "--token" in out or "--type" in out
    assert out.splitlines()[-2:] == ["2", "1"]
    assert "unrecognized arguments: --no_such" in err and "no_such'" in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_signal_ends_the_script_and_its_command(script, number, code):
    run = script("run do sleep; run do say on")
    assert run.stdout.readline() == "asleep\n"
    if number == signal.SIGINT:
        os.killpg(run.pid, number)  # as a terminal does
    else:
        os.kill(run.pid, number)
    out, err = run.communicate(timeout=60)  # ends when nobody holds its output any more
    assert (run.returncode, out) == (code, "")
    assert "run the same command again to go on" in err


def test_a_driver_that_is_killed(script):
    run = script('run do say a; kill -9 "${driver_pid}"; run do say b')
    out, err = run.communicate(timeout=60)
    assert run.returncode == 2 and len(out.splitlines()) == 1
    assert "error: do: the process that runs the stages was killed" in err


def test_espnet_is_imported_when_a_command_asks_once(monkeypatch, capfd):
    monkeypatch.setitem(driver.COMMANDS, "do", "tests.stages.commands")
    monkeypatch.delitem(sys.modules, preload.ESPNET, raising=False)
    loaded = []

    def load():
        loaded.append(1)
        monkeypatch.setitem(sys.modules, preload.ESPNET, types.ModuleType("espnet"))

    monkeypatch.setattr(driver, "_load", load)
    assert driver.run(["do", "say", "a"], 1) == 0 and not loaded
    assert driver.run(["do", "need"], 1) == 0
    assert driver.run(["do", "need"], 1) == 0
    assert loaded == [1]
    assert capfd.readouterr().out.count("found True") == 2
    monkeypatch.delitem(sys.modules, preload.ESPNET)
    assert driver.run(["do", "need"], 1, loads=False) == 0
    assert loaded == [1] and "found False" in capfd.readouterr().out


def test_ctrl_c_while_espnet_is_imported_ends_the_stage(monkeypatch, capfd):
    monkeypatch.setitem(driver.COMMANDS, "do", "tests.stages.commands")
    monkeypatch.delitem(sys.modules, preload.ESPNET, raising=False)
    monkeypatch.setattr(driver, "_load", lambda: os.kill(os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as the driver has it
    try:
        assert driver.run(["do", "need"], 1) == 130
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    out, err = capfd.readouterr()
    assert "found" not in out and "interrupted: run the same command again" in err


def test_with_gpus_every_command_imports_it_itself(script):
    """The import starts CUDA, which does not survive a fork."""
    out, _ = script("ngpu=1; run do need").communicate(timeout=60)
    assert out == "found False\n"


def test_asking_elsewhere_does_nothing(monkeypatch):
    monkeypatch.delitem(sys.modules, preload.ESPNET, raising=False)
    preload.ask()


def test_what_a_driver_loads_starts_no_thread(tmp_path):
    """A fork has the thread that forked, and locks as the others left them."""
    code = (
        "from espnet_dice.stages import driver; from espnet_dice.work import preload\n"
        "import os; driver._load(); assert preload.is_there()\n"
        "print(len(os.listdir('/proc/self/task')))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "1\n", done.stderr
