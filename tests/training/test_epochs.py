"""What a kill leaves undone after an epoch is done when the training goes on."""

import shutil

import pytest
import torch
import yaml

from espnet_dice.training import epochs, trainer
from tests.campaign import same


@pytest.fixture
def out(recipe, tmp_path):
    """A copy of a finished training of two epochs, of which the second is the better one."""
    copied = shutil.copytree(recipe.plain, tmp_path / "out", symlinks=True)
    assert str((copied / "valid.acc.best.pth").readlink()) == "2epoch.pth"
    return copied


def test_links_and_epochs_are_those_of_an_undisturbed_training(out):
    made = same.describe(out)
    for name in ("latest.pth", "valid.acc.best.pth"):
        (out / name).unlink()
        (out / name).symlink_to("1epoch.pth")
    (out / "2epoch.pth").unlink()
    trainer.repair(out)
    assert same.describe(out) == made
    (out / "latest.pth").unlink()
    trainer.repair(out)
    assert same.describe(out) == made


def test_epochs_that_are_not_among_the_best_go(out):
    config = yaml.safe_load((out / "config.yaml").read_text())
    (out / "config.yaml").write_text(yaml.safe_dump(config | {"keep_nbest_models": [1]}))
    trainer.repair(out)
    assert {p.name for p in out.glob("*epoch.pth")} == {"2epoch.pth"}


def test_what_is_needed_and_lost_is_told(out):
    states = torch.load(out / trainer.CHECKPOINT, map_location="cpu", weights_only=False)
    assert epochs.finish(out, states["reporter"]) == []
    (out / "1epoch.pth").unlink()
    assert epochs.finish(out, states["reporter"]) == [out / "1epoch.pth"]
    trainer.repair(out)
    assert not (out / trainer.CHECKPOINT).exists()
