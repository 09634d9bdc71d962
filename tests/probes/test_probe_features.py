"""What is kept of a model: every frame of every layer, exactly; or its mean."""

import os

import numpy as np
import pytest
import torch

from espnet_dice.hubert.models.frames import n_frames
from espnet_dice.hubert.upstreams import SPECTRAL, Spectral
from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.probes.probe_features import Features, Frames, Scale, middle, stacked
from espnet_dice.probes.probe_speed import cpu_seconds
from tests.probes.probing import Told, utterance, wave

WORDS = ["AB CD", "A", "ABC DEF GHI", "FACE", "BAD CAB"]
UTTS = [utterance(f"u{i}", WORDS[i % 5], f"s{i % 3}") for i in range(12)]


def features(tmp_path, whole=UTTS, pooled=(), crop_s=0.0, limit=1e9, told=None):
    told = told or Told(UTTS)
    samples = {utt.id: len(wave(utt)) for utt in whole}
    made = Features(told, told.read, samples, whole, pooled, UTTS[:8], crop_s, tmp_path, limit)
    return made, told


def expected(told, utts=UTTS[:8]):
    """Mean and deviation of each dimension over the frames of all ``utts``, in float64."""
    parts = []
    for utt in utts:
        told.read(utt)
        parts.append(np.stack([x.numpy() for x in told.states(wave(utt))]))
    every = np.concatenate(parts, 1).astype(np.float64)
    return every.mean(1, keepdims=True), every.std(1, keepdims=True)


def test_frames_and_means_of_every_layer(tmp_path):
    made, told = features(tmp_path, pooled=UTTS[4:])
    assert [utt for utt, _ in told.heard[8:]] == [utt.id for utt in UTTS]  # each once
    mean, deviation = expected(Told(UTTS))
    for utt in UTTS:
        told.read(utt)
        want = (np.stack([x.numpy() for x in told.states(wave(utt))]) - mean) / deviation
        np.testing.assert_allclose(made.frames[utt.id], want, atol=4e-3)
        if utt in UTTS[4:]:
            np.testing.assert_allclose(made.means[utt.id], want.mean(1), atol=1e-5)
    assert set(made.means) == {utt.id for utt in UTTS[4:]} and made.shape == (3, 24)


def test_a_pooled_utterance_is_cut_before_it_is_heard(tmp_path):
    made, told = features(tmp_path, whole=UTTS[:3], pooled=UTTS[2:4], crop_s=0.2)
    heard = told.heard[8:]
    assert heard == [("u0", 15), ("u1", 3), ("u2", 33), ("u2", 10), ("u3", 10)]
    assert made.means["u3"].shape == (3, 24)


def test_the_middle_has_whole_frames():
    x = np.arange(16000.0)
    cut = middle(x, 0.2)
    assert n_frames(len(cut)) == 10 and cut[0] % 320 == 0
    assert abs((cut[0] + cut[-1]) / 2 - 8000) <= 320
    assert middle(x, 0.8) is not x and middle(x, 1.0) is x and middle(x, 0) is x


def test_a_constant_dimension_stays_finite():
    x = torch.randn(1, 50, 4)
    x[..., 2] = 7.25
    scaled = Scale([x])(x)
    assert torch.isfinite(scaled).all() and scaled[..., 2].abs().max() == 0
    large = Scale([1e5 + x])(1e5 + x)  # float16 holds what is left
    assert large[..., :2].abs().max() < 10 and torch.isfinite(large.half()).all()


def test_the_file_of_frames_has_no_name_and_a_limit(tmp_path):
    frames = Frames({"a": 10, "b": 5}, 2, 3, tmp_path, 2 * 15 * 6)
    assert os.listdir(tmp_path) == []
    b = torch.randn(2, 5, 3)
    frames.put("b", b)
    frames.put("a", torch.zeros(2, 10, 3))
    torch.testing.assert_close(frames["b"], b.half().float(), rtol=0, atol=0)
    with pytest.raises(DataError, match="a: 5 frames, 10 by the length"):
        frames.put("a", b)
    with pytest.raises(ConfigError, match=r"2 utterances, 2 layers of 3, .* --max_gb .* alike"):
        Frames({"a": 10, "b": 5}, 2, 3, tmp_path, 2 * 15 * 6 - 1)


def test_bad_features_are_told_with_the_utterance():
    told = Told(UTTS)
    told.read(UTTS[0])
    with pytest.raises(DataError, match="u9: 399 samples are less than one frame"):
        stacked(told, np.zeros(399), "u9")
    told.layers_, told.noise = 1, np.nan
    with pytest.raises(DataError, match="u0: .* NaN"):
        stacked(told, wave(UTTS[0]), "u0")
    other = Spectral("twice", 4, lambda samples: np.zeros((n_frames(len(samples)) * 4, 4)))
    with pytest.raises(DataError, match="u0: 30 frames, expected 15"):
        stacked(other, wave(UTTS[0]), "u0")


def test_layers_of_another_width_are_left_out():
    upstream = Spectral("widths", 4, lambda samples: samples)
    upstream.hidden = lambda waves: [[torch.ones(15, 8), torch.zeros(15, 4), torch.ones(15, 4)]]
    assert stacked(upstream, wave(UTTS[0]), "u0").shape == (2, 15, 4)


@pytest.mark.parametrize("samples", [400, 559, 560, 719, 720, 1039, 1040, 16000])
def test_fbank_has_the_frames_of_a_model(samples):
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, samples)
    ((layer,),) = SPECTRAL["fbank"].hidden([noise])
    assert layer.shape == (n_frames(samples), 80)


def test_the_cost_of_a_second(monkeypatch):
    """Each utterance costs a model so much a sample on this clock, and more in the last round."""
    clock = [0.0]
    monkeypatch.setattr("time.process_time", lambda: clock[0])
    turns = []

    class Costly:
        key, size = "costly", 0

        def __init__(self, name, cost):
            self.name, self.cost = name, cost

        def hidden(self, waves, layers=None):
            turns.append(self.name)
            clock[0] += self.cost * len(waves[0]) / 16000 * (2 if len(turns) > 10 else 1)

    before = torch.get_num_threads()
    waves = [np.zeros(8000), np.zeros(24000)]
    found = cpu_seconds({"a": Costly("a", 0.1), "b": Costly("b", 0.3)}, waves)
    assert found["a"] == pytest.approx([0.1, 0.1, 0.2]) == [x / 3 for x in found["b"]]
    assert turns == ["a", "b"] * 7  # in turn; the first call is not counted
    assert torch.get_num_threads() == before
