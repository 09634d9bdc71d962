import re

import pytest

from espnet_dice.io.errors import DataError
from espnet_dice.stages import curves
from tests.checks.test_checks import FALLING, write_log


@pytest.fixture
def exps(tmp_path):
    """Two runs of a student, one with two seeds, and a model without accuracy."""
    write_log(tmp_path / "1/asr_x_seed0", FALLING, valid=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    write_log(tmp_path / "1/asr_x_seed1", FALLING, valid=[0.2, 0.2, 0.3, 0.4, 0.5, 0.8])
    write_log(tmp_path / "2/asr_x_seed0", [4.0, *FALLING[1:]], valid=[0.3, 0.2, 0.3, 0.4, 0.5, 0.7])
    write_log(tmp_path / "1/dice_y", [1.0, 0.5, float("nan")], stat="masked")
    return [tmp_path / "1", tmp_path / "2"]


def test_a_row_is_a_configuration(exps, capsys):
    curves.main(["--exp", *map(str, exps)])
    rows = [re.split(r" *\| *", line)[1:-1] for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["system", "runs", "", *(f"epoch {e}" for e in (1, 2, 5, 6))]
    assert rows[2] == ["asr_x", "3", "train loss", "3–4", "2.5", "1.9", "1.8"]
    assert rows[3] == ["asr_x", "3", "valid acc", "0.1–0.3", "0.2", "0.5", "0.6–0.8"]
    # it ends in epoch 3, and has no accuracy
    assert rows[4] == ["dice_y", "1", "train loss", "1", "0.5", "– (3)", ""]
    assert rows[5][2:] == ["valid loss", "1", "0.5", "– (3)", ""]


def test_the_picture_is_the_same_each_time(exps, tmp_path):
    for name in ("one.svg", "two.svg"):
        curves.plot(curves.collect(exps), tmp_path / name)
    one, two = ((tmp_path / name).read_bytes() for name in ("one.svg", "two.svg"))
    assert one == two and b">asr_x<" in one and b">dice_y<" in one and b"date" not in one


def test_nothing_was_trained(tmp_path):
    with pytest.raises(DataError, match="no train.log with a finished epoch"):
        curves.collect([tmp_path])


def test_a_loss_that_was_never_a_number_leaves_the_picture_to_the_others(exps, tmp_path, capsys):
    write_log(tmp_path / "1/asr_broken_seed0", [float("nan")] * 3)
    curves.main(["--exp", str(tmp_path / "1"), "--plot", str(tmp_path / "x.svg")])
    assert (
        "asr_broken" in capsys.readouterr().out and b">asr_x<" in (tmp_path / "x.svg").read_bytes()
    )
