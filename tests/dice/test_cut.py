"""A narrow student cut from its teacher: exact where it can be, and a follower where it cannot."""

import logging

import numpy as np
import pytest
import torch

from espnet_dice.dice import cut, start
from espnet_dice.hubert.models import students
from espnet_dice.io.errors import ConfigError
from espnet_dice.results import dice_results
from espnet_dice.training.jobs import run_jobs
from tests.hubert import tiny, tiny_models
from tests.stages.tiny_dice import config, job


def tones(seed, seconds=2):
    """Two tones at a time, each for 50 ms: states that move."""
    rng = np.random.default_rng(seed)
    hertz = rng.uniform(100, 4000, size=(2, 20 * seconds)).repeat(800, 1)
    loud = rng.uniform(0.05, 0.5, size=(2, 20 * seconds)).repeat(800, 1)
    wave = (loud * np.sin(2 * np.pi * np.cumsum(hertz, 1) / 16000)).sum(0)
    return torch.from_numpy(wave + 0.003 * rng.standard_normal(len(wave))).float()


WAVES = [tones(seed) for seed in range(60)]
PAIRS = [(wave, wave) for wave in WAVES]
UNSEEN = torch.stack([tones(seed) for seed in range(90, 98)])
NARROW = {"hidden_size": 24, "intermediate_size": 32}


def build(seed=5, **conf):
    torch.manual_seed(seed)
    return students.build("hubert", {**tiny_models.MEL_BASE, **conf}).eval()


@pytest.fixture
def teacher():
    made = build(1)
    made.requires_grad_(False)
    for p in made.parameters():
        p += 0.05 * torch.randn_like(p)
    return made


def blocks(n):
    return [(k, k) for k in range(1, n + 1)]


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def test_a_regression_is_that_of_numpy():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 4)), rng.standard_normal((50, 3))
    found = cut._fitted(torch.nn.Linear(4, 3), torch.from_numpy(x), torch.from_numpy(y))
    apart = x - x.mean(0)
    ridge = cut.RIDGE * np.trace(apart.T @ apart) / 4
    rows = np.vstack([apart, np.sqrt(ridge) * np.eye(4)])
    wanted, *_ = np.linalg.lstsq(rows, np.vstack([y - y.mean(0), np.zeros((4, 3))]), rcond=None)
    np.testing.assert_allclose(found.weight, wanted.T, atol=1e-6)
    np.testing.assert_allclose(found.bias, y.mean(0) - x.mean(0) @ wanted, atol=1e-6)


def test_the_directions_are_the_strongest_and_the_mean_takes_the_weakest(teacher):
    hidden = [teacher(wave[None]) for wave in WAVES]
    p, energy = cut.directions(hidden, 24)
    states = torch.cat([x[0] for utterance in hidden for x in utterance]).double().numpy()
    _, singular, wanted = np.linalg.svd(states, full_matrices=False)
    assert energy == pytest.approx((singular[:24] ** 2).sum() / (singular**2).sum(), rel=1e-5)
    p = p.double().numpy()
    np.testing.assert_allclose(p.T @ p, np.eye(24), atol=1e-5)
    np.testing.assert_allclose(p @ p.T, wanted[:24].T @ wanted[:24], atol=1e-3)
    mean = p @ np.ones(24) / np.sqrt(24)
    assert abs(mean @ wanted[23]) == pytest.approx(1, abs=1e-3)


def test_what_loses_nothing_is_the_teacher_turned(teacher):
    """As wide, norms without gain and offset, no positions: a turn of the states is exact."""
    for name, p in teacher.named_parameters():
        if "layer_norm" in name and "feature_projection" not in name:
            p.fill_(float(name.endswith("weight")))
    conv = teacher.encoder.pos_conv_embed.conv
    conv.parametrizations.weight.original0.zero_()
    conv.bias.zero_()
    made = build()
    kept = cut.from_teacher(made, teacher, blocks(3), PAIRS)
    assert min(kept) > 0.9999
    p, _ = cut.directions([teacher(wave[None]) for wave in WAVES], 48)
    for ours, theirs in zip(made(UNSEEN), teacher(UNSEEN), strict=True):
        torch.testing.assert_close(ours, theirs @ p, atol=0.05, rtol=0)
    assert not made.training


@pytest.mark.parametrize(
    ("conf", "pairs"),
    [
        (NARROW, blocks(3)),
        ({**NARROW, "conv_dim": [8, 20]}, blocks(3)),
        ({**NARROW, "num_hidden_layers": 2}, [(1, 1), (2, 3)]),
        ({**NARROW, "mel_norm": "corpus"}, blocks(3)),
    ],
)
def test_a_narrow_student_follows_on_speech_that_it_has_not_heard(conf, pairs, caplog):
    norm = {"mel_norm": conf["mel_norm"]} if "mel_norm" in conf else {}
    teacher, made, fresh = build(1, **norm), build(**conf), build(**conf)
    stem = teacher.feature_extractor
    if stem.norm == "corpus":
        mels = torch.cat([stem.log_mel(wave[None])[0] for wave in WAVES])
        stem.mean.copy_(mels.mean(0))
        stem.variance.copy_(mels.var(0))
        stem.learned.fill_(len(mels))
    p, _ = cut.directions([teacher(wave[None]) for wave in WAVES], 24)
    with caplog.at_level(logging.INFO):
        kept = cut.from_teacher(made, teacher, pairs, PAIRS)
    assert "24 of the teacher's 48 directions" in caplog.text
    wanted = [teacher(UNSEEN)[t] @ p for t in (0, *(t for _, t in pairs))]
    for ours, without, theirs, seen in zip(made(UNSEEN), fresh(UNSEEN), wanted, kept, strict=True):
        share = cut._share(ours.flatten(0, 1), theirs.flatten(0, 1))
        assert share > 0.5 and seen > share - 0.05
        assert cut._share(without.flatten(0, 1), theirs.flatten(0, 1)) < 0.1


def test_a_stem_of_the_teachers_shape_is_the_teachers():
    teacher = build(1, stem="full", **tiny_models.STEM)
    made = build(stem="full", **tiny_models.STEM, **NARROW)
    cut.check(made, teacher, "T")
    cut.from_teacher(made, teacher, blocks(3), PAIRS)
    for name, value in made.feature_extractor.state_dict().items():
        assert torch.equal(value, teacher.feature_extractor.state_dict()[name])


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({}, "the student is 48 wide, T 48: it cuts narrower students"),
        ({"hidden_size": 24, "num_attention_heads": 2}, "2 attention heads, T 4: give it as many"),
        ({**NARROW, "conv_dim": [24, 32]}, "24 channels in convolution 1, T has 16"),
        ({**NARROW, "mel_norm": "none"}, "or both have stem: mel and the same mel_norm"),
        ({**NARROW, "do_stable_layer_norm": True}, "the student is no HuBERT with norms behind"),
    ],
)
def test_what_cannot_be_cut_is_said(teacher, conf, said):
    with pytest.raises(ConfigError, match=said):
        cut.check(build(**conf), teacher, "T")


def test_blocks_are_gone_through_once(tmp_path):
    root = tmp_path / "hubert"
    tiny_models.save(root)
    for layers in ([3, 1], [2, 2]):
        made = students.build("hubert", {**tiny_models.BASE, **NARROW, "num_hidden_layers": 2})
        with pytest.raises(ConfigError, match="init_layers: pca goes through .* once"):
            start.begin("pca", made, str(root), layers, False, lambda frames: WAVES)


def test_a_training_begins_with_the_cut_student(trained_dice, tmp_path, monkeypatch):
    for name in ("dump", "labels"):
        (tmp_path / name).symlink_to(trained_dice / name)
    monkeypatch.chdir(tmp_path)
    source = str(trained_dice / "exp/dice_teacher")
    still = {"optim_conf": {"lr": 0.0}, "model_conf": {"final_dim": 8, "init": "pca"}}
    still["student_conf"] = {**tiny.STUDENT, "hidden_size": 8}
    out = tmp_path / "exp/dice_cut"
    with torch.enable_grad():
        assert run_jobs([job("cut", config(epochs=1, **still), source=source)]) == 1
        assert (out / "train.log").read_text().count("directions have") == 1
        before = torch.load(out / "latest.pth")
        # what goes on has begun already
        assert run_jobs([job("cut", config(epochs=2, **still), source=source)]) == 1
    assert (out / "train.log").read_text().count("directions have") == 1
    after = torch.load(out / "latest.pth")
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert dice_results.trained_with(tmp_path / "exp/dice_cut")[0] == "hard, init pca"
