"""The SSL encoder against transformers, each utterance against itself alone, and what is tuned."""

import pytest
import torch

from espnet_dice import compat
from espnet_dice.hubert import architecture
from espnet_dice.hubert.formats import teacher_files
from espnet_dice.hubert.models import students
from espnet_dice.hubert.models.frames import n_frames
from espnet_dice.hubert.ssl import SSLEncoder
from espnet_dice.io.errors import ConfigError
from tests.hubert import tiny
from tests.hubert.tiny_models import BASE, ENCODER, LARGE, MEL, WAVLM, noise, perturbed, save

LENGTHS = torch.tensor([9000, 400, 719, 5555])
CONV = {"hidden_size": 24, "num_hidden_layers": 2, "kernel_size": 5, "conv_dim": [8] * 7}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A Hugging Face directory, and the model in it."""
    directory = tmp_path_factory.mktemp("hf") / "base"
    return directory, save(directory)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """One that wants normalised waveforms and has its norms before the blocks."""
    directory = tmp_path_factory.mktemp("hf") / "large"
    return directory, save(directory, LARGE, do_normalize=True)


def wanted(model, speech, directory):
    """Hidden states and last hidden state of transformers, prepared by its own extractor."""
    from transformers import Wav2Vec2FeatureExtractor

    prepare = Wav2Vec2FeatureExtractor.from_pretrained(directory)
    ready = prepare(speech.numpy(), sampling_rate=16000, return_tensors="pt").input_values
    return model(ready, output_hidden_states=True)


@pytest.mark.parametrize("which", ["base", "large"])
@torch.no_grad()
def test_output_is_that_of_transformers(which, request):
    directory, theirs = request.getfixturevalue(which)
    speech = noise(6000)
    for layer, conf in ((3, {}), (2, {"layer": 2})):
        ours = SSLEncoder(source=str(directory), **conf).eval()
        out, lengths, _ = ours(speech[None], torch.tensor([6000]))
        said = wanted(theirs, speech, directory)
        want = said.hidden_states[layer]
        if layer == 3:
            want = said.last_hidden_state
        elif which == "large":
            want = theirs.encoder.layer_norm(want)
        torch.testing.assert_close(out, want, rtol=0, atol=1e-5)
        assert lengths.tolist() == [n_frames(6000)] and ours.output_size() == out.size(2)


@torch.no_grad()
def test_weighted_sum_is_that_of_all_hidden_states(base):
    directory, theirs = base
    speech = noise(6000)
    ours = SSLEncoder(source=str(directory), weighted_sum=True).eval()
    ours.mix.weights.copy_(torch.tensor([0.5, -1.0, 2.0, 0.3]))
    shares = [float(x) for x in torch.tensor([0.5, -1.0, 2.0, 0.3]).double().softmax(0)]
    states = wanted(theirs, speech, directory).hidden_states
    want = sum(w * h.double() for w, h in zip(shares, states, strict=True)).float()
    out, _, _ = ours(speech[None], torch.tensor([6000]))
    torch.testing.assert_close(out, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "conf",
    [{}, {"weighted_sum": True}, {"subsample": 2, "output_size": 20}, {"subsample": 3}],
    ids=str,
)
@pytest.mark.parametrize("which", ["base", "large"])
@torch.no_grad()
def test_an_utterance_of_a_batch_is_what_it_is_alone(which, conf, request):
    ours = SSLEncoder(source=str(request.getfixturevalue(which)[0]), **conf).eval()
    speech = noise(len(LENGTHS), 9000)  # noise behind the ends, too
    out, lengths, _ = ours(speech, LENGTHS)
    by = conf.get("subsample", 1)
    assert lengths.tolist() == [-(-n_frames(n) // by) for n in LENGTHS.tolist()]
    assert out.size(1) == int(lengths.max())
    for i, n in enumerate(LENGTHS.tolist()):
        alone, _, _ = ours(speech[i : i + 1, :n], torch.tensor([n]))
        torch.testing.assert_close(out[i, : lengths[i]], alone[0], rtol=0, atol=2e-5)
        assert not out[i, lengths[i] :].any()


@torch.no_grad()
def test_stacked_frames_are_neighbours(base):
    """Frame t of the adapter sees frames 2t and 2t+1, the last perhaps one alone."""
    plain = SSLEncoder(source=str(base[0])).eval()
    ours = SSLEncoder(source=str(base[0]), subsample=2, output_size=5).eval()
    speech, lengths = noise(1, 6000), torch.tensor([6000])
    frames, out = plain(speech, lengths)[0][0], ours(speech, lengths)[0][0]
    assert frames.size(0) % 2 == 0 and out.shape == (frames.size(0) // 2, 5)
    for t in range(len(out)):
        pair = torch.cat([frames[2 * t], frames[2 * t + 1]])
        want = ours.adapter.weight @ pair + ours.adapter.bias
        torch.testing.assert_close(out[t], want, rtol=0, atol=1e-5)


def gradients(encoder) -> dict[str, bool]:
    """Part of the model → whether any of its parameters got a gradient."""
    torch.manual_seed(0)  # LayerDrop
    speech, lengths = noise(2, 4000), torch.tensor([4000, 4000])
    encoder.zero_grad()
    out, _, _ = encoder(speech, lengths)
    if out.requires_grad:
        out.square().sum().backward()
    parts = {
        "stem": encoder.model.feature_extractor,
        "blocks": encoder.model.encoder.layers,
        "adapter": encoder.adapter,
    }
    return {
        name: any(p.grad is not None and bool(p.grad.any()) for p in part.parameters())
        for name, part in parts.items()
    }


@pytest.mark.parametrize(
    ("freeze", "tuned"),
    [
        ("none", {"stem", "blocks", "adapter"}),
        ("stem", {"blocks", "adapter"}),
        ("all", {"adapter"}),
    ],
)
def test_what_is_frozen_gets_no_gradient(base, freeze, tuned):
    ours = SSLEncoder(source=str(base[0]), freeze=freeze, output_size=8).train()
    assert {name for name, got in gradients(ours).items() if got} == tuned
    trainable = {n.split(".")[0] for n, p in ours.named_parameters() if p.requires_grad}
    assert trainable == ({"adapter"} if freeze == "all" else {"adapter", "model"})


def test_a_frozen_model_computes_the_same_in_training(base):
    frozen = SSLEncoder(source=str(base[0]), freeze="all").train()
    speech, lengths = noise(2, 4000), torch.tensor([4000, 3000])
    once, again = frozen(speech, lengths)[0], frozen.eval()(speech, lengths)[0]
    assert torch.equal(once, again)
    tuned = SSLEncoder(source=str(base[0])).train()
    torch.manual_seed(0)
    assert not torch.allclose(tuned(speech, lengths)[0], again, atol=1e-3)  # dropout


def test_freeze_steps_are_counted_and_survive_a_checkpoint(base):
    conf = {"source": str(base[0]), "freeze_steps": 2, "output_size": 8}
    ours = SSLEncoder(**conf).train()
    assert [gradients(ours)["blocks"] for _ in range(2)] == [False, False]
    ours.eval()
    assert gradients(ours)["blocks"]  # out of training nothing is counted
    again = SSLEncoder(**conf).train()
    again.load_state_dict(ours.state_dict())
    assert int(again.steps) == 2
    assert gradients(again) == {"stem": False, "blocks": True, "adapter": True}


def test_masked_frames_are_the_mask_embedding(base):
    """With every dropout off, only the mask makes training differ."""
    ours = SSLEncoder(source=str(base[0]), mask_prob=0.5, mask_length=3, freeze="all").train()
    seen = []
    stem = ours.model.stem

    def record(speech, lengths, mask):
        seen.append(mask)
        return stem(speech, lengths, mask)

    ours.model.stem = record
    speech, lengths = noise(2, 9000), torch.tensor([9000, 5000])
    torch.manual_seed(1)
    one = ours(speech, lengths)[0]
    torch.manual_seed(1)
    assert torch.equal(one, ours(speech, lengths)[0])
    torch.manual_seed(2)
    assert not torch.equal(one, ours(speech, lengths)[0])
    assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[2])
    assert seen[0].any(1).all() and not seen[0][1, n_frames(5000) :].any()
    ours.eval()(speech, lengths)
    assert seen[3] is None


@pytest.mark.parametrize("init", ["xavier_uniform", "kaiming_normal"])
def test_parameters_survive_the_initialisation_of_espnet(base, init):
    from espnet2.torch_utils.initialize import initialize

    model = torch.nn.Module()
    model.encoder = SSLEncoder(source=str(base[0]), layer=2, output_size=8)
    before = {k: v.clone() for k, v in model.encoder.state_dict().items()}
    initialize(model, init)
    after = model.encoder.state_dict()
    same = {k for k in before if torch.equal(before[k], after[k])}
    assert same == {k for k in before if k.startswith("model.")}


def test_a_new_model_keeps_its_own_initialisation(base):
    """That of transformers, not the recogniser's: weights of 0.02, not uniform."""
    from espnet2.torch_utils.initialize import initialize

    model = torch.nn.Module()
    model.encoder = SSLEncoder(architecture={"student": "hubert", "student_conf": tiny.STUDENT})
    initialize(model, "xavier_uniform")
    weights = [b.feed_forward.output_dense.weight for b in model.encoder.model.encoder.layers]
    assert all(0.015 < float(w.detach().std()) < 0.025 for w in weights)


def test_a_layer_drops_what_is_above_it(base):
    whole, cut = (SSLEncoder(source=str(base[0]), layer=n) for n in (None, 1))
    block = sum(p.numel() for p in whole.model.encoder.layers[0].parameters())
    sizes = [sum(p.numel() for p in m.parameters()) for m in (whole, cut)]
    assert sizes[0] - sizes[1] == 2 * block


@pytest.mark.parametrize(
    ("student", "conf"),
    [
        ("hubert", tiny.STUDENT),
        ("conv", CONV),
        ("espnet", {"encoder": "conformer", "encoder_conf": ENCODER, "conv_dim": [8] * 7}),
        ("hubert", {**tiny.STUDENT, **MEL}),
    ],
    ids=["hubert", "conv", "espnet", "mel"],
)
@torch.no_grad()
def test_every_student_can_be_an_encoder(student, conf):
    torch.manual_seed(0)
    ours = SSLEncoder(architecture={"student": student, "student_conf": conf}, layer=1).eval()
    want = students.build(student, conf).eval()
    missing, left = want.load_state_dict(ours.model.state_dict(), strict=False)
    assert not left and missing  # the second block
    speech = noise(2, 5000)
    out, lengths, _ = ours(speech, torch.tensor([5000, 3000]))
    alone = want(speech[1:, :3000], None, None, 1)[-1]
    torch.testing.assert_close(out[1, : lengths[1]], want.final(alone)[0], rtol=0, atol=2e-5)


@torch.no_grad()
def test_an_architecture_is_the_model_without_its_parameters(large):
    said = architecture.of(str(large[0]))
    assert said["normalize"] and said["student"] == "hubert"
    ours = SSLEncoder(architecture=said).eval()
    read = SSLEncoder(source=str(large[0])).eval()
    ours.load_state_dict(read.state_dict(), strict=True)
    speech, lengths = noise(2, 5000), torch.tensor([5000, 3000])
    assert torch.equal(ours(speech, lengths)[0], read(speech, lengths)[0])
    of_no_effect = dict.fromkeys(teacher_files.OF_NO_EFFECT)
    mine, theirs = (m.model.config.to_dict() | of_no_effect for m in (ours, read))
    assert mine == theirs  # what is of effect in training, too


def test_too_short_is_espnets_own_error(base):
    error = compat.moved_module("nets.pytorch_backend.transformer.subsampling").TooShortUttError
    with pytest.raises(error, match="399 samples are less than one frame"):
        SSLEncoder(source=str(base[0]))(noise(1, 399), torch.tensor([399]))


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({}, "source: name the SSL model"),
        ({"source": "x", "architecture": {}}, "not both"),
        ({"source": "nowhere"}, "nowhere: no such"),
        ({"source": "x", "input_size": 83}, "input_size must be 1, not 83"),
        ({"source": "x", "freeze": "half"}, "freeze must be one of none, stem, all"),
        ({"source": "x", "freeze": "all", "freeze_steps": 3}, "0 with freeze: all"),
        ({"source": "x", "mask_prob": 2.0}, r"mask_prob must be in \[0, 1\]"),
        ({"source": "x", "subsample": 0}, "subsample must be >= 1"),
        ({"architecture": {"student": "hubert", "size": "base"}}, "architecture: has the keys"),
        ({"architecture": {"student": "lstm"}}, "student must be one of"),
    ],
)
def test_a_wrong_config_is_named(conf, message):
    with pytest.raises(ConfigError, match=message):
        SSLEncoder(**conf)


def test_a_layer_that_is_not_there_and_features_are_refused(base):
    with pytest.raises(ConfigError, match="no layer 4: its layers are 1 to 3"):
        SSLEncoder(source=str(base[0]), layer=4)
    with pytest.raises(ConfigError, match="takes waveforms"):
        SSLEncoder(source=str(base[0]))(noise(2, 50, 83), torch.tensor([50, 40]))


@torch.no_grad()
def test_two_stacked_frames_are_as_many_as_conv2d_makes_of_features(base):
    """So a teacher on features can teach the CTC branch: numbers may differ by two, not more."""
    subsampling = compat.moved_module("nets.pytorch_backend.transformer.subsampling")
    conv2d = subsampling.Conv2dSubsampling(83, 8, 0.0)
    ours = SSLEncoder(source=str(base[0]), layer=1, subsample=2).eval()
    for samples in range(1520, 9000, 83):
        frames = (samples - 400) // 160 + 1  # of 25 ms every 10
        mask = torch.ones(1, 1, frames, dtype=torch.bool)
        _, theirs = conv2d(torch.zeros(1, frames, 83), mask)
        _, lengths, _ = ours(noise(1, samples), torch.tensor([samples]))
        assert 0 <= int(lengths) - int(theirs.sum()) <= 2


@pytest.mark.parametrize("conf", [{}, {"layer": 2, "subsample": 2}], ids=str)
@pytest.mark.parametrize("kind", ["Wav2Vec2", "WavLM"])
@torch.no_grad()
def test_wav2vec2_and_wavlm_are_encoders_too(tmp_path, kind, conf):
    import transformers

    values = LARGE | (WAVLM if kind == "WavLM" else {})
    made = getattr(transformers, f"{kind}Config")(**values)
    theirs = perturbed(getattr(transformers, f"{kind}Model"), made)
    theirs.save_pretrained(tmp_path)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path)
    ours = SSLEncoder(source=str(tmp_path), **conf).eval()
    speech = noise(3, 9000)
    lengths = torch.tensor([9000, 6000, 5555])
    out, frames, _ = ours(speech, lengths)
    for i, n in enumerate(lengths.tolist()):
        said = wanted(theirs, speech[i, :n], tmp_path)
        want = said.last_hidden_state
        if conf:
            want = theirs.encoder.layer_norm(said.hidden_states[2])[0]
            rows = torch.nn.functional.pad(want, (0, 0, 0, len(want) % 2)).reshape(-1, 96)
            want = ours.adapter(rows)[None]
        torch.testing.assert_close(out[i, : frames[i]], want[0], rtol=0, atol=3e-5)


def test_an_encoder_of_another_kind_is_tuned_as_a_hubert_is(tmp_path):
    """WavLM's blocks get gradients, and its convolutions none."""
    import transformers

    perturbed(transformers.WavLMModel, transformers.WavLMConfig(**BASE, **WAVLM)).save_pretrained(
        tmp_path
    )
    ours = SSLEncoder(source=str(tmp_path), output_size=8, mask_prob=0.3).train()
    assert gradients(ours) == {"stem": False, "blocks": True, "adapter": True}
    assert architecture.of(str(tmp_path)) is None  # so its export keeps the path
