"""The egs3 recipe: espnet3's launcher runs the stages, with the options of the egs2 recipe."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from espnet_dice.io.errors import ConfigError

ROOT = Path(__file__).parents[2]
EGS2, EGS3 = ROOT / "egs2/mini_synth/kd1", ROOT / "egs3/mini_synth/kd1"
CONFIG = EGS3 / "conf/training.yaml"
NEEDS = pytest.mark.skipif(
    importlib.util.find_spec("espnet3") is None, reason="espnet3 came with ESPnet 202611"
)
STAGES = {
    "create_dataset": (1, 2),
    "train_tokenizer": (3, 3),
    "train_lm": (4, 4),
    "train_teachers": (5, 6),
    "train": (7, 8),
    "infer": (9, 9),
    "measure": (10, 10),
    "pack_model": (11, 11),
    "report": (12, 12),
}


def run(*args, cwd, program=EGS3 / "run.py"):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(program), *map(str, args)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


def recipe(directory, script, options):
    """A recipe directory whose script is not kd.sh."""
    (directory / "script.sh").write_text(script)
    config = {"script": "script.sh", "options": options}
    (directory / "training.yaml").write_text(yaml.safe_dump(config))
    return "--training_config", directory / "training.yaml"


def defaults(text):
    """What --help says of each option, with the paths of both recipes alike."""
    said = dict(re.findall(r'^ *--(\w+) .*?\(default=[\'"](.*?)[\'"]\)', text, re.M | re.S))
    return {k: v.replace("../../../", "") for k, v in said.items()}


@NEEDS
def test_the_options_are_those_of_the_egs2_recipe():
    from espnet_dice.systems.kd1 import words

    options = yaml.safe_load(CONFIG.read_text())["options"]
    given = words({"recipe_dir": ".", "exp_dir": "./exp", "options": options})
    kd = [str(ROOT / "egs2/TEMPLATE/kd1/kd.sh"), *given, "--python", "python3", "--help"]
    ours = subprocess.run(kd, capture_output=True, text=True, check=True).stdout
    theirs = subprocess.run([EGS2 / "run.sh", "--help"], capture_output=True, text=True, check=True)
    found, wanted = defaults(ours), defaults(theirs.stdout)
    assert len(wanted) > 30 and wanted["train_set"] == "s_train_few"
    assert found == wanted


@NEEDS
def test_values_become_words():
    from espnet_dice.systems.kd1 import words

    options = {"a": True, "b": [1, "two words", False], "c": 0.5, "expdir": "other"}
    given = words({"recipe_dir": "/r", "exp_dir": "/r/exp", "options": options})
    said = dict(zip(given[::2], given[1::2], strict=True))
    assert said.pop("--python") == sys.executable
    assert said == {"--a": "true", "--b": "1 two words false", "--c": "0.5", "--expdir": "other"}


@NEEDS
def test_the_launcher_runs_stages_in_order_and_logs_them(tmp_path):
    from espnet3.contract.stages import check_stage_contract

    from espnet_dice.systems.kd1 import KD1System

    check_stage_contract(KD1System)
    assert [spec.name for spec in KD1System.stages] == list(STAGES)
    config = recipe(tmp_path, 'echo "said: $*"\npwd > here\n', {"seed": 7})
    done = run(*config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    for name, (first, last) in STAGES.items():
        log = (tmp_path / f"exp/{name}.log").read_text()
        (line,) = [x for x in log.splitlines() if "said: " in x]
        assert f"--expdir exp --seed 7 --stage {first} --stop_stage {last}" in line
    assert (tmp_path / "here").read_text().strip() == str(tmp_path)


@NEEDS
def test_a_stage_that_fails_is_one_error_and_the_last(tmp_path):
    script = 'echo going; echo "error: conf/x.yaml: no such config file" >&2; exit 2\n'
    config = recipe(tmp_path, script, {})
    done = run(*config, "--stages", "infer", "measure", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: script.sh: conf/x.yaml: no such config file"
    assert [f.name for f in (tmp_path / "exp").iterdir()] == ["infer.log"]


@NEEDS
def test_no_script(tmp_path):
    from omegaconf import OmegaConf

    from espnet_dice.systems.kd1 import KD1System

    config = {"recipe_dir": str(tmp_path), "exp_dir": "exp", "script": "kd.sh"}
    with pytest.raises(ConfigError, match=r"kd\.sh is not there: kd1 runs in a checkout"):
        KD1System(OmegaConf.create(config))


@pytest.mark.skipif(not NEEDS.args[0], reason="this ESPnet has espnet3")
def test_an_espnet_without_it(tmp_path):
    done = run("--training_config", CONFIG, cwd=tmp_path)
    assert done.returncode == 2
    assert "has no espnet3: egs3 recipes need ESPnet 202611" in done.stderr.splitlines()[-1]
