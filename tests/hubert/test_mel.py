"""The mel stem: Kaldi's energies, HuBERT's frames, and nothing from a neighbour."""

import kaldi_native_fbank as knf
import numpy as np
import pytest
import torch

from espnet_dice.export.onnx.graphs import PowerByProduct
from espnet_dice.hubert.models import students
from espnet_dice.hubert.models.frames import n_frames, n_samples
from espnet_dice.hubert.models.mel import FLOOR, MelStem
from tests.hubert.tiny_models import MEL_BASE, noise


def stem(norm: str = "none", channels=(12, 16)) -> MelStem:
    torch.manual_seed(0)
    return MelStem(list(channels), norm).eval()


def kaldi(wave: np.ndarray) -> np.ndarray:
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = 80
    extractor = knf.OnlineFbank(options)
    extractor.accept_waveform(16000, (wave * 32768).tolist())
    extractor.input_finished()
    return np.stack([extractor.get_frame(t) for t in range(extractor.num_frames_ready)])


def voice(samples: int) -> np.ndarray:
    """Harmonics that fall with frequency, on an offset, in a little noise."""
    rng, t = np.random.default_rng(0), np.arange(samples) / 16000
    tones = sum(np.sin(2 * np.pi * 120 * k * t + k * k) / k**1.5 for k in range(1, 60))
    sway = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * t)
    return (0.1 * tones * sway + 0.01 + 1e-4 * rng.standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("samples", [400, 719, 720, 5000, 16000])
@pytest.mark.parametrize("make", [voice, lambda n: noise(n).numpy() * 0.1, np.zeros])
def test_energies_are_kaldis(samples, make):
    wave = make(samples).astype(np.float32)
    found = stem().log_mel(torch.from_numpy(wave)[None])[0].numpy()
    wanted = kaldi(wave)
    # of an even number Kaldi's last is behind HuBERT's last frame
    assert len(found) == 2 * n_frames(samples) - 1 >= len(wanted) - 1
    np.testing.assert_allclose(found, wanted[: len(found)], rtol=0, atol=1e-3)
    if not wave.any():
        np.testing.assert_allclose(found, np.log(FLOOR), rtol=1e-6)


def energies(wave: np.ndarray) -> np.ndarray:
    """Kaldi's log energies in float64, a frame and a filter at a time."""
    n = np.arange(400)
    shape = (0.5 - 0.5 * np.cos(2 * np.pi * n / 399)) ** 0.85
    mel = 1127 * np.log1p(np.arange(257) * 16000 / 512 / 700)
    low, high = 1127 * np.log1p(20 / 700), 1127 * np.log1p(8000 / 700)
    width = (high - low) / 81
    found = []
    for start in range(0, len(wave) - 399, 160):
        x = 32768.0 * wave[start : start + 400].astype(np.float64)
        x -= x.mean()
        x -= 0.97 * np.concatenate([x[:1], x[:-1]])
        power = np.abs(np.fft.fft(x * shape, 512)[:257]) ** 2
        heights = [np.maximum(0, 1 - np.abs((mel - low) / width - k)) for k in range(1, 81)]
        found.append([np.log(max(np.dot(power, h), FLOOR)) for h in heights])
    return np.array(found)


@pytest.mark.parametrize("make", [voice, lambda n: noise(n).numpy() * 0.3 + 0.1])
def test_energies_are_those_of_float64(make):
    """In training by an FFT, in a graph by a product."""
    wave = make(5040).astype(np.float32)
    model = stem()
    for power in (model.power, PowerByProduct()):
        model.power = power
        found = model.log_mel(torch.from_numpy(wave)[None])[0].numpy()
        np.testing.assert_allclose(found, energies(wave)[: len(found)], rtol=0, atol=2e-4)


def test_every_length_has_huberts_frames():
    model, speech = stem("utterance", (2, 2)), noise(1, 1400)
    for samples in range(400, 1401):
        assert model(speech[:, :samples]).shape == (1, 2, n_frames(samples)), samples


def test_a_frame_is_centred_where_huberts_is():
    model = stem()
    speech = noise(1, n_samples(9)).requires_grad_()
    for t in range(9):
        (seen,) = torch.autograd.grad(model(speech)[0, :, t].sum(), speech)
        places = seen[0].nonzero().flatten()
        assert places.min() == max(0, 320 * t - 320)
        assert places.max() == min(speech.size(1), 320 * t + 720) - 1
        if 0 < t < 8:
            assert int(places.min() + places.max() + 1) == 2 * (320 * t + 200)


@pytest.mark.parametrize("norm", ["none", "corpus"])
def test_a_crop_has_the_frames_of_the_whole_but_for_the_first_and_last(norm):
    model, speech = stem(norm), noise(1, 9000)
    whole = model(speech)
    for start, frames in ((0, 5), (3, 1), (3, 8), (20, 7)):
        cut = model(speech[:, 320 * start : 320 * start + n_samples(frames)])
        assert cut.size(2) == frames
        inner = slice(0 if start == 0 else 1, frames - 1)
        wanted = whole[:, :, start : start + frames]
        torch.testing.assert_close(cut[..., inner], wanted[..., inner], rtol=0, atol=1e-4)


def test_samples_behind_the_last_frame_are_not_heard():
    model, speech = stem("utterance"), noise(1, 1000)
    assert torch.equal(model(speech), model(speech[:, : n_samples(n_frames(1000))]))


@pytest.mark.parametrize("norm", ["utterance", "corpus", "none"])
def test_padding_is_not_heard(norm):
    model, lengths = stem(norm), [4000, 400, 3039, 3040, 719, 720]
    speech = noise(len(lengths), 4000)
    together = model(speech, torch.tensor(lengths))
    for row, wave, n in zip(together, speech, lengths, strict=True):
        alone = model(wave[None, :n])[0]
        torch.testing.assert_close(row[:, : n_frames(n)], alone, rtol=0, atol=1e-4)


def test_the_norm_of_an_utterance_is_a_plain_formula():
    model, speech = stem("utterance"), noise(2, 3000)
    x = model.log_mel(speech)
    wanted = x.double().numpy()
    wanted = (wanted - wanted.mean(1, keepdims=True)) / np.sqrt(wanted.var(1, keepdims=True) + 0.01)
    np.testing.assert_allclose(model._normalized(x, None), wanted, atol=1e-4)
    torch.testing.assert_close(model(7 * speech), model(speech), rtol=0, atol=1e-3)


def test_the_norm_of_a_corpus_is_learned_for_an_hour_of_training(monkeypatch):
    model = stem("corpus").train()
    heard = []
    for i, lengths in enumerate(([3000, 2000], [1000, 1500], [4000, 4000])):
        speech = (i + 1) * noise(2, max(lengths), seed=i)
        rows = [model.log_mel(w[None, :n])[0] for w, n in zip(speech, lengths, strict=True)]
        heard += [row[: 2 * n_frames(n) - 1] for row, n in zip(rows, lengths, strict=True)]
        if i == 2:
            before = {k: v.clone() for k, v in model.state_dict().items()}
            monkeypatch.setattr("espnet_dice.hubert.models.mel.LEARNED", 10)
            model(speech)
            assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
            monkeypatch.undo()
        model(speech, None if i == 2 else torch.tensor(lengths))
    every = torch.cat(heard).double().numpy()
    assert model.learned == len(every)
    np.testing.assert_allclose(model.mean, every.mean(0), atol=1e-4)
    np.testing.assert_allclose(model.variance, every.var(0), rtol=1e-4)
    before = model.mean.clone()
    model.eval()(noise(1, 3000))
    model.train().requires_grad_(False)(noise(1, 3000))
    assert torch.equal(model.mean, before)


def test_checkpoints_have_what_is_learned_alone():
    convs = [f"conv_layers.{i}.{name}" for i in (0, 1) for name in ("weight", "bias")]
    assert list(stem("utterance").state_dict()) == convs
    assert set(stem("corpus").state_dict()) == {*convs, "learned", "mean", "variance"}


def test_energies_are_float32_under_autocast():
    model, speech = stem("utterance"), noise(1, 3000)
    seen = []
    model.conv_layers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    plain = model(speech)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(speech)
    assert half.dtype == torch.bfloat16 and seen[1].dtype == torch.float32
    assert torch.equal(seen[0], seen[1])
    torch.testing.assert_close(half.float(), plain, rtol=0.05, atol=0.05)


def test_gradient_and_penalty_are_of_the_convolutions_output():
    torch.manual_seed(0)
    models = {m: students.build("hubert", {**MEL_BASE, "feature_grad_mult": m}) for m in (1, 0.1)}
    models[0.1].load_state_dict(models[1].state_dict())
    speech, grads = noise(2, 4000), {}
    for mult, model in models.items():
        with model.eval().measured() as found:
            model(speech)[-1].square().sum().backward()
        out = model.feature_extractor(speech)
        torch.testing.assert_close(found[0][0], out.square().sum())
        assert found[0][1] == out.numel()
        grads[mult] = model.feature_extractor.conv_layers[0].weight.grad
    torch.testing.assert_close(grads[0.1], 0.1 * grads[1])
    frozen = students.build("hubert", {**MEL_BASE, "feature_grad_mult": 0})
    assert not any(p.requires_grad for p in frozen.feature_extractor.parameters())
