import os
import subprocess
from pathlib import Path

import pytest

from espnet_dice.kd.distillation_options import DistillationOptions
from espnet_dice.records.configs import model_conf
from tests.stages import stub_python

KD = Path(__file__).parents[2] / "egs2/TEMPLATE/kd1/kd.sh"
SETS = ["--train_set", "train", "--valid_set", "dev", "--test_sets", "test"]


def run(command, cwd):
    env = {**os.environ, "PYTHONPATH": str(cwd)}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("configs", "args", "reads"),
    [
        (["no.yaml", "ctc.yaml"], "", True),
        (["no.yaml", "on_ctc.yaml"], "", True),
        (["no.yaml", "off.yaml"], "", False),
        (["no.yaml"], "--model_conf kd_ctc=0.2", True),
        (["on_ctc.yaml"], "--max_epoch 2 --model_conf kd_ctc=0", False),
    ],
)
def test_whether_students_read_ctc_outputs(tmp_path, monkeypatch, configs, args, reads):
    monkeypatch.chdir(tmp_path)
    Path("no.yaml").write_text("model_conf: {kd_alpha: 0.5}  # kd_ctc: 0.5\n")
    Path("ctc.yaml").write_text("model_conf: {kd_ctc: 5.0e-1}\n")
    Path("on_ctc.yaml").write_text("base: ctc.yaml\nmodel_conf: {kd_alpha: 0.5}\n")
    Path("off.yaml").write_text("base: ctc.yaml\nmodel_conf: {kd_ctc: 0.0}\n")
    confs = [model_conf(Path(config), args) for config in configs]
    assert any(map(DistillationOptions.reads_ctc, confs)) == reads


def test_teachers_on_features_teach_students_on_waves(tmp_path):
    """Stages 2 to 7 with a Python that notes what it is asked, and does nothing."""
    python = stub_python.write(tmp_path)
    options = ["--python", python, "--teachers", "t=a/b", "--stage", "2", "--stop_stage", "7"]
    types = ["--feats_type", "raw", "--teacher_feats_type", "fbank", "--use_lm", "false"]
    done = run([KD, *SETS, *map(str, options), *types], tmp_path)
    assert done.returncode == 0, done.stderr
    said = stub_python.started(tmp_path)

    def last(words, option):  # argparse takes the last
        return words[len(words) - words[::-1].index(option)]

    def stage(name):
        return [words for module, words in said if module == name]

    features = {
        last(w, "--feats_type"): sorted(w[w.index("--data_dir") + 1 : w.index("--out_dir")])
        for w in stage("features")
    }
    assert features == {
        "fbank": ["data/a", "data/b", "data/dev", "data/test", "data/train"],
        "raw": ["data/dev", "data/test", "data/train"],
    }
    teachers, students = stage("train")
    assert last(teachers, "--dump") == "dump/fbank" and last(students, "--dump") == "dump/raw"
    assert last(students, "--teacher_dump") == "dump/fbank"
    assert last(stage("teacher_outputs")[0], "--dump") == "dump/fbank"
    assert "dump/fbank/test" in stage("decode")[0]
    assert "dump/fbank/a/text" in stage("tokens")[0]
