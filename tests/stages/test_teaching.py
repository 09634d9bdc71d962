import os
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_dice.stages import teaching

KD = Path(__file__).parents[2] / "egs2/TEMPLATE/kd1/kd.sh"
SETS = ["--student_train", "train", "--student_dev", "dev", "--student_tests", "test"]


def run(command, cwd):
    env = {**os.environ, "PYTHONPATH": str(cwd)}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("configs", "args", "printed"),
    [
        (["no.yaml", "ctc.yaml"], "", "true"),
        (["no.yaml", "on_ctc.yaml"], "", "true"),
        (["no.yaml", "off.yaml"], "", "false"),
        (["no.yaml"], "--model_conf kd_ctc=0.2", "true"),
        (["on_ctc.yaml"], "--max_epoch 2 --model_conf kd_ctc=0", "false"),
    ],
)
def test_command_tells_whether_ctc_outputs_are_read(
    tmp_path, monkeypatch, capsys, configs, args, printed
):
    monkeypatch.chdir(tmp_path)
    Path("no.yaml").write_text("model_conf: {kd_alpha: 0.5}  # kd_ctc: 0.5\n")
    Path("ctc.yaml").write_text("model_conf: {kd_ctc: 5.0e-1}\n")
    Path("on_ctc.yaml").write_text("base: ctc.yaml\nmodel_conf: {kd_alpha: 0.5}\n")
    Path("off.yaml").write_text("base: ctc.yaml\nmodel_conf: {kd_ctc: 0.0}\n")
    teaching.main([*configs, f"--args={args}"])
    assert capsys.readouterr().out == f"{printed}\n"


@pytest.mark.parametrize(
    ("students", "more", "ctc"),
    [
        ("conf/no.yaml conf/tok.yaml", [], "true"),
        ("conf/no.yaml", [], "false"),
        ("conf/no.yaml", ["--student_args", "--model_conf kd_ctc=0.5"], "true"),
        ("conf/no.yaml conf/tok.yaml", ["--teacher_ctc", "false"], "false"),
    ],
)
def test_stage_6_caches_ctc_outputs_if_a_student_reads_them(tmp_path, students, more, ctc):
    """With a Python that only answers about configs, has no torch, and notes what else is asked."""
    asked, python = tmp_path / "asked", tmp_path / "python"
    only = f'case "$2" in *.teaching) exec "{sys.executable}" "$@" ;; esac'
    python.write_text(f'#!/bin/sh\n{only}\necho "$@" >>"{asked}"\n')
    python.chmod(0o755)
    for package in ("espnet2", "torch"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/no.yaml").write_text("model_conf: {kd_alpha: 0.5}\n")
    (tmp_path / "conf/ctc.yaml").write_text("model_conf: {kd_ctc: 0.5}\n")
    (tmp_path / "conf/tok.yaml").write_text("base: ctc.yaml\n")
    options = ["--python", python, "--teachers", "t=train/dev", "--stage", "6", "--stop_stage", "6"]
    command = [KD, *SETS, *map(str, options), "--student_config", students, *more]
    done = run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    assert f" --ctc {ctc} " in asked.read_text()
    if ctc == "true":
        (tmp_path / "conf/no.yaml").unlink()
        done = run(command, tmp_path)
        assert done.returncode == 2 and "error: conf/no.yaml: no such config" in done.stderr
