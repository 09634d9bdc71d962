"""A student that starts from its teacher: what fits is the teacher's, bit by bit."""

import logging

import pytest
import torch

from espnet_dice.dice import start
from espnet_dice.hubert import frozen
from espnet_dice.hubert.formats import teacher_files
from espnet_dice.hubert.models import students
from espnet_dice.io.errors import ConfigError
from espnet_dice.training.jobs import run_jobs
from tests.hubert import tiny, tiny_models
from tests.stages.tiny_dice import config, job

WAVE = torch.from_numpy(tiny.speech(9000))[None]


@pytest.fixture(scope="module")
def hubert(tmp_path_factory):
    root = tmp_path_factory.mktemp("start") / "hubert"
    tiny_models.save(root)
    return frozen.load(root)


def student(**conf):
    torch.manual_seed(5)
    return students.build("hubert", {**tiny_models.BASE, **conf}).eval()


def test_a_student_of_the_teachers_size_is_the_teacher(hubert):
    made = student()
    assert start.from_teacher(made, hubert.model) == len(made.state_dict())
    for ours, theirs in zip(made(WAVE), hubert.model(WAVE), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("layers", "taken"), [(None, (1, 2)), ([1, 3], (1, 3)), ([3, 1], (3, 1))])
def test_blocks_of_a_shallow_student(hubert, caplog, layers, taken):
    made = student(num_hidden_layers=2)
    with caplog.at_level(logging.INFO):
        copied = start.from_teacher(made, hubert.model, layers, "T")
    assert f"{copied} of {len(made.state_dict())} tensors are T's" in caplog.text
    own, theirs = made.state_dict(), hubert.model.state_dict()
    for n, t in enumerate(taken):
        block = {k: v for k, v in own.items() if k.startswith(f"encoder.layers.{n}.")}
        assert len(block) == 16
        for name, value in block.items():
            wanted = theirs[name.replace(f"layers.{n}.", f"layers.{t - 1}.")]
            assert torch.equal(value, wanted)
    assert torch.equal(made(WAVE)[0], hubert.model(WAVE)[0])


def test_a_narrow_student_has_the_convolutions_alone(hubert):
    made, fresh = student(hidden_size=24, num_attention_heads=2), None
    fresh = student(hidden_size=24, num_attention_heads=2)
    convolutions = [k for k in made.state_dict() if k.startswith("feature_extractor.")]
    assert start.from_teacher(made, hubert.model) == len(convolutions)
    for name, value in made.state_dict().items():
        wanted = hubert.model if name in convolutions else fresh
        assert torch.equal(value, wanted.state_dict()[name])


def test_a_block_is_copied_whole_or_not_at_all(hubert):
    """Attention would fit, the inner layer does not."""
    made, fresh = student(intermediate_size=96), student(intermediate_size=96)
    start.from_teacher(made, hubert.model)
    for name, value in made.state_dict().items():
        if name.startswith("encoder.layers."):
            assert torch.equal(value, fresh.state_dict()[name])
    with pytest.raises(ConfigError, match="block 1 as block 1: its shapes are not those of T"):
        start.from_teacher(made, hubert.model, [1, 2, 3], "T")


@pytest.mark.parametrize("layers", [[0, 2], [1], [1, 4], [1, 2.0]])
def test_blocks_that_do_not_exist_are_refused(hubert, layers):
    with pytest.raises(ConfigError, match="one block of T, from 1 to 3, for each of the student's"):
        start.from_teacher(student(num_hidden_layers=2), hubert.model, layers, "T")


def test_nothing_that_fits_is_said(hubert):
    other = student(hidden_size=24, num_attention_heads=2, conv_dim=[8] * 7)
    with pytest.raises(ConfigError, match="nothing of T fits the student"):
        start.from_teacher(other, hubert.model, source="T")


def test_a_training_starts_from_its_teacher_and_needs_it_no_more(
    trained_dice, tmp_path, monkeypatch
):
    for name in ("dump", "labels"):
        (tmp_path / name).symlink_to(trained_dice / name)
    monkeypatch.chdir(tmp_path)
    source = str(trained_dice / "exp/dice_teacher")
    still = {"optim_conf": {"lr": 0.0}, "model_conf": {"final_dim": 8, "init": "teacher"}}
    made = job("same", config(epochs=1, **still), source=source)
    assert made.inputs["teacher"] == teacher_files.key_of(source)
    assert run_jobs([made]) == 1
    ours, theirs = (frozen.load(s)(WAVE) for s in ("exp/dice_same", source))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
    assert "tensors are" in (tmp_path / "exp/dice_same/train.log").read_text()
    with pytest.raises(ConfigError, match="init needs --teacher"):
        job("same", config(epochs=1, **still))
    with pytest.raises(ConfigError, match="init must be teacher, pca or null, not 'xavier'"):
        tiny.model(init="xavier")
