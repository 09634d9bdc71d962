"""What a signal ends: a command with all that it started, cleanly, with the exit code of shells."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_dice.io import processes
from espnet_dice.io.errors import describe_memory, describe_os_error
from tests.waiting import gone, wait_for

ROOT = Path(__file__).parents[2]
COMMAND = """if 1:
    import os, sys, time
    from pathlib import Path
    from espnet_dice.io.errors import cli
    def main():
        here = Path(sys.argv[1])
        try:
            (here / "pid").write_text(str(os.getpid()))
            for _ in range(600):
                time.sleep(0.1)  # one long sleep misses a signal that comes just before it
        finally:
            (here / "cleaned").touch()
    cli(main)
"""


def start(command, **env):
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        stderr=subprocess.PIPE,
        text=True,
        # as a shell starts it, also where the tests run under nohup
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [
        (signal.SIGTERM, 143, "ended by SIGTERM: run the same command again to go on\n"),
        (signal.SIGHUP, 129, "ended by SIGHUP: run the same command again to go on\n"),
        (signal.SIGINT, 130, "interrupted: run the same command again to go on\n"),
    ],
)
def test_a_command_cleans_up_and_says_how_it_ended(tmp_path, number, code, says):
    command = start([sys.executable, "-c", COMMAND, str(tmp_path)])
    wait_for(tmp_path / "pid")
    command.send_signal(number)
    assert command.communicate()[1] == says
    assert command.returncode == code
    assert (tmp_path / "cleaned").exists()


@pytest.mark.parametrize("tied", [True, False])
def test_a_command_of_a_recipe_ends_with_its_shell(tmp_path, tied):
    # two commands, so that the shell does not become the first
    script = [f'"{sys.executable}" -c "$0" "{tmp_path}"; true', COMMAND]
    shell = start(["bash", "-c", *script], **({processes.TIED: "true"} if tied else {}))
    pid = wait_for(tmp_path / "pid")
    shell.kill()
    shell.wait()
    shell.stderr.close()
    if tied:
        assert gone(pid) and (tmp_path / "cleaned").exists()
    else:
        assert not gone(pid, 0.5)
        os.kill(pid, signal.SIGKILL)


def test_what_a_command_started_is_ended_with_it(tmp_path):
    script = f"sleep 60 & echo $! > {tmp_path}/pid; wait"
    parent = os.fork()
    if parent == 0:
        with processes.raising_when_ended():
            try:
                processes.run(["bash", "-c", script])
            except processes.Ended as err:
                os._exit(err.number)
        os._exit(1)
    child = wait_for(tmp_path / "pid")
    os.kill(parent, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(parent, 0)[1]) == signal.SIGTERM
    assert gone(child)
    assert processes.run(["bash", "-c", "exit 7"]) == 7


def limited(run):
    """What ``run`` raises where it gets 100 MB more than this process has; in a forked child."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        status = Path("/proc/self/statm").read_text().split()[0]
        limit = int(status) * os.sysconf("SC_PAGE_SIZE") + 100_000_000
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        try:
            run()
            said = "nothing"
        except OSError as err:
            said = describe_os_error(err)
        except Exception as err:
            said = describe_memory(err) or repr(err)
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as f:
        return f.read()


def test_out_of_memory_says_what_to_lower():
    import mmap

    import numpy as np
    import torch

    for run in (
        lambda: np.zeros(10**9).fill(1),
        lambda: torch.zeros(10**9).fill_(1),
        lambda: bytearray(10**9),
        lambda: mmap.mmap(-1, 10**9),
    ):
        said = limited(run)
        assert said.startswith("out of memory"), said
        assert "a lower --nj" in said and "batch_bins" in said
    assert describe_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None


@pytest.mark.parametrize(
    ("end", "code", "says"),
    [
        ("pass", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('wrong')", 1, "wrong\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
    ],
)
def test_a_process_ends_without_taking_python_apart(end, code, says):
    """As gloo's threads need it: what holds tensors is not asked to let them go."""
    script = f"""if 1:
        import atexit, sys
        from espnet_dice.io.processes import without_finalization
        class Tensor:
            def __del__(self):
                print("taken apart")
        held = Tensor()
        atexit.register(print, "exit handler")
        with without_finalization():
            {end}
    """
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == code
    assert done.stdout == "exit handler\n"  # flushed, though it is a pipe
    assert done.stderr.endswith(says) and bool(done.stderr) == bool(says)
