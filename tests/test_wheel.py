"""The wheel: a recipe's stages, configs and data preparation are in it, nothing else is asked."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from espnet_dice.records.configs import read_config
from espnet_dice.start.corpus import CONFIGS

REPO = Path(__file__).resolve().parent.parent
PARTS = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The unpacked wheel of this checkout, built without a network."""
    pytest.importorskip("setuptools")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PARTS:
        shutil.copy(REPO / name, source)
    for name in ("espnet_dice", "egs2/TEMPLATE", "conf", "local"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPO / name, source / name, ignore=ignored)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "-w", str(out)]
    pip = [sys.executable, "-m", "pip", "wheel", *options, str(source)]
    done = subprocess.run(pip, capture_output=True, text=True, cwd=source)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("espnet_dice-*.whl")
    with zipfile.ZipFile(built) as f:  # modes are lost: nothing may depend on them
        f.extractall(out / "unpacked")
    return out / "unpacked"


def run(command, wheel, cwd):
    """A command that sees this wheel, and no checkout."""
    env = {**os.environ, "PYTHONPATH": str(wheel), "PYTHON": sys.executable}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


def test_what_is_inside(wheel):
    inside = wheel / "espnet_dice/recipes"
    for folder in ("egs2/TEMPLATE", "conf", "local"):
        ours = {
            p.relative_to(REPO) for p in (REPO / folder).rglob("*")
            if p.is_file() and "__pycache__" not in p.parts and p.name != "setup_env.sh"
        }  # fmt: skip
        held = {p.relative_to(inside) for p in (inside / folder).rglob("*") if p.is_file()}
        assert held == ours
        assert all((inside / p).read_bytes() == (REPO / p).read_bytes() for p in ours)
    assert (wheel / "espnet_dice/py.typed").exists()
    scripts = next(wheel.glob("*.dist-info")) / "entry_points.txt"
    assert "espnet-dice = espnet_dice.__main__:command" in scripts.read_text()


@pytest.mark.parametrize("recipe", ["kd1", "dice1"])
def test_a_recipe_outside_of_any_checkout(wheel, tmp_path, recipe):
    command = [sys.executable, "-m", "espnet_dice", "init", recipe, "--corpus", "mine", "there"]
    done = run(command, wheel, tmp_path)
    assert done.returncode == 0, done.stderr
    there = tmp_path / "there"
    names = {"run.sh", "path.sh", "cmd.sh", "README.md", "local/data.sh"}
    names |= {f"conf/{name}.yaml" for name in CONFIGS[recipe]}
    assert {str(p.relative_to(there)) for p in there.rglob("*") if p.is_file()} == names
    for name in ("run.sh", "path.sh", "README.md"):
        assert not re.search("@[A-Z]+@", (there / name).read_text())
    for name, ours in CONFIGS[recipe].items():
        assert read_config(there / f"conf/{name}.yaml") == read_config(REPO / f"conf/{ours}.yaml")
    asked = run([there / "run.sh", "--help"], wheel, tmp_path)
    assert asked.returncode == 0, asked.stderr
    (tmp_path / "empty").mkdir()
    done = run([*command[:-1], "."], wheel, tmp_path / "empty")  # the current directory is filled
    assert done.returncode == 0, done.stderr
    filled = {str(p.relative_to(tmp_path / "empty")) for p in (tmp_path / "empty").rglob("*")}
    assert {name for name in filled if (tmp_path / "empty" / name).is_file()} == names
    assert '(default="bash local/data.sh")' in asked.stdout.replace("'", '"')
    begun = run([there / "run.sh", "--stop_stage", "1"], wheel, tmp_path)
    assert begun.returncode == 2
    assert "data/train/wav.scp: missing; write it in local/data.sh" in begun.stderr
    again = run(command, wheel, tmp_path)
    assert again.returncode == 2 and "error: there is there: choose a directory" in again.stderr


def test_commands_are_handed_over(wheel, tmp_path):
    for name in ("transcribe", "extract", "report", "compare", "checks", "export", "config"):
        done = run([sys.executable, "-m", "espnet_dice", name, "--help"], wheel, tmp_path)
        assert done.returncode == 0 and f"usage: espnet-dice {name} " in done.stdout, done.stderr
    done = run([sys.executable, "-m", "espnet_dice", "trancribe"], wheel, tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: espnet-dice trancribe: no such command; there are init")


def test_help_imports_nothing_of_ours_that_is_slow(wheel, tmp_path):
    code = (
        "import sys; sys.argv = ['x', '--help']; import espnet_dice.__main__ as m; m.main(); "
        "assert not {'numpy', 'torch', 'espnet2', 'yaml'} & sys.modules.keys()"
    )
    done = run([sys.executable, "-c", code], wheel, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Small speech models by distillation")


def test_doctor_says_what_is_there(wheel, tmp_path):
    done = run([sys.executable, "-m", "espnet_dice", "doctor"], wheel, tmp_path)
    said = {line.split()[1]: line.split()[0] for line in done.stdout.splitlines()}
    assert {"Python", "torch", "sox", "sph2pipe", "sclite", "Chromium", "disk"} <= said.keys()
    assert done.returncode == int("fault" in said.values()), done.stdout
