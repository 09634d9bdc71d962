"""The export stage on experiments that a training would leave."""

import json

import pytest
import torch
import yaml

from espnet_dice.hubert import frozen
from espnet_dice.hubert.models import students
from espnet_dice.io.errors import ConfigError, DiceError, StaleError
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.records import experiment
from espnet_dice.stages import export
from tests.hubert.tiny_models import BASE, noise

CONV = {"hidden_size": 16, "num_hidden_layers": 1, "kernel_size": 3, "conv_dim": [8] * 7}


def trained(directory, name="hubert", conf=BASE, seed=0):
    """What training leaves, without training."""
    torch.manual_seed(seed)
    directory.mkdir(exist_ok=True)
    config = {"student": name, "student_conf": conf, "collate_fn_conf": {}}
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    state = students.build(name, conf).state_dict()
    torch.save({f"student.{k}": v for k, v in state.items()}, directory / "ave.pth")
    experiment.write(directory, task="dice", model="ave.pth", parameters=1, seed=0, max_epoch=1)
    Fingerprint("train_dice", {"seed": seed}, {}).finish(directory)
    return directory


def test_a_student_for_transformers(tmp_path):
    system = trained(tmp_path / "dice_a")
    assert export.export([system], onnx=False) == 1
    report = json.loads((system / "export/export.json").read_text())
    assert report["hf"]["largest_difference"] <= 1e-4 and "onnx" not in report
    assert (report["layers"], report["dim"]) == (3, 48)
    wave = noise(4000)
    mine, exported = frozen.load(system), frozen.load(system / "export/hf")
    assert torch.equal(mine.hidden([wave])[0][3], exported.hidden([wave])[0][3])
    assert export.export([system], onnx=False) == 0
    trained(system, seed=1)
    assert export.export([system], onnx=False) == 1


def test_onnx_that_cannot_be(tmp_path, monkeypatch):
    monkeypatch.setattr("espnet_dice.export.onnx.missing_for_onnx", lambda: ["onnxruntime"])
    system = trained(tmp_path / "dice_a")
    with pytest.raises(ConfigError, match=r"--onnx true needs onnxruntime: pip install"):
        export.export([system], onnx=True)
    assert export.export([system]) == 1
    assert not (system / "export/model.onnx").exists()


def test_nothing_is_left_of_an_export_that_fails(tmp_path, monkeypatch):
    system = trained(tmp_path / "dice_a")
    monkeypatch.setattr("espnet_dice.export.hf.TOLERANCE", -1.0)
    with pytest.raises(DiceError, match="computes something else"):
        export.export([system], onnx=False)
    assert not (system / "export").exists() and not list(system.glob(".export*"))
    (system / "ave.pth").write_bytes(b"")
    with pytest.raises(StaleError, match="not the file that was trained"):
        export.export([system], onnx=False)
