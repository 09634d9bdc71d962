import os
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_dice.kd import teaching

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


def test_teachers_on_features_teach_students_on_waves(tmp_path):
    """Stages 2 to 7 with a Python that notes what it is asked, and does nothing."""
    asked, python = tmp_path / "asked", tmp_path / "python"
    answer = 'case "$2" in *.teaching) echo false ;; esac'
    python.write_text(f'#!/bin/sh\n{answer}\necho "$@" >>"{asked}"\n')
    python.chmod(0o755)
    options = ["--python", python, "--teachers", "t=a/b", "--stage", "2", "--stop_stage", "7"]
    types = ["--feats_type", "raw", "--teacher_feats_type", "fbank", "--use_lm", "false"]
    done = run([KD, *SETS, *map(str, options), *types], tmp_path)
    assert done.returncode == 0, done.stderr
    said = [line.split() for line in asked.read_text().splitlines()]
    said = [words for words in said if words[0] == "-m"]

    def last(words, option):  # argparse takes the last
        return words[len(words) - words[::-1].index(option)]

    def stage(name):
        return [words for words in said if words[1] == f"espnet_dice.stages.{name}"]

    features = {
        last(w, "--feats_type"): w[w.index("--sets") + 1 : w.index("--nj")] for w in said[:2]
    }
    assert features == {
        "fbank": ["train", "dev", "test", "a", "b"],
        "raw": ["train", "dev", "test"],
    }
    teachers, students = stage("train")
    assert last(teachers, "--dump") == "dump/fbank" and last(students, "--dump") == "dump/raw"
    assert last(students, "--teacher_dump") == "dump/fbank"
    assert last(stage("teacher_outputs")[0], "--dump") == "dump/fbank"
    assert "dump/fbank/test" in stage("decode")[0]
    assert "dump/fbank/a/text" in stage("tokens")[0]
