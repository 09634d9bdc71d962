"""``benchmarks/gpu.py`` on a device that is not there: what is right, and what is not, is told."""

import sys

import pytest
import torch

from benchmarks import gpu
from espnet_dice.dice import losses
from tests.devices.accelerator import DEVICE, Accelerator


@pytest.fixture
def made():
    return gpu.dice([{"name": "dice_hard"}], "mel"), gpu.dice_batch(False, 0.5, 2)


def test_losses_there_are_those_of_the_cpu(made):
    with Accelerator():
        assert gpu.compared("hard", *made, DEVICE.type).right


def test_a_loss_that_is_another_one_there_is_told(made, monkeypatch):
    plain = losses.hard
    monkeypatch.setattr(
        losses, "hard", lambda x, ids: plain(x, ids) * (1.01 if x.device == DEVICE else 1)
    )
    with Accelerator():
        assert gpu.compared("hard", *made, DEVICE.type).right is False


def test_labels_there_are_those_of_the_cpu():
    with Accelerator():
        found = list(gpu.labelling(DEVICE.type, 600))
    assert [check.name for check in found] == ["k-means", "hard labels", "records"]
    assert all(check.right for check in found), found


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_way_out_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit):
        gpu.main()
    assert "--device cpu" in capsys.readouterr().err
