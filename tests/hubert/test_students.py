"""Students: the paper's sizes, one signature for all kinds, errors that name the key."""

import pytest
import torch

from espnet_dice.hubert.models import sizes, students
from espnet_dice.hubert.models.frames import n_frames
from espnet_dice.io.errors import ConfigError
from tests.hubert.tiny_models import BASE, ENCODER, LARGE, MEL, MEL_BASE, STEM, noise

LENGTHS = torch.tensor([6000, 400, 3210])
SMALL = {
    "hubert": ("hubert", BASE),
    "large": ("hubert", LARGE),
    "transformer": ("espnet", {"encoder": "transformer", "encoder_conf": ENCODER, **STEM}),
    "conformer": ("espnet", {"encoder": "conformer", "encoder_conf": ENCODER, **STEM}),
    "e_branchformer": (
        "espnet",
        {"encoder": "e_branchformer", "encoder_conf": {**ENCODER, "use_ffn": True}, **STEM},
    ),
    "linear": (
        "espnet",
        {"encoder": "conformer", "encoder_conf": {**ENCODER, "input_layer": "linear"}, **STEM},
    ),
    "conv": ("conv", {"hidden_size": 32, "num_hidden_layers": 2, "kernel_size": 7, **STEM}),
    "hubert_mel": ("hubert", MEL_BASE),
    "hubert_mel_corpus": ("hubert", {**MEL_BASE, "mel_norm": "corpus"}),
    "conformer_mel": ("espnet", {"encoder": "conformer", "encoder_conf": ENCODER, **MEL}),
    "conv_mel": ("conv", {"hidden_size": 32, "num_hidden_layers": 2, "kernel_size": 7, **MEL}),
}


def millions(name: str, conf: dict) -> float:
    with torch.device("meta"):
        model = students.build(name, conf)
    return sum(p.numel() for p in model.parameters()) / 1e6


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ("base", 94.4),
        ("narrow_d2", 26.9),
        ("narrow_d4", 9.9),
        ("shallow_2l", 23.5),
        ("shallow_3l", 30.6),
    ],
)
def test_parameters_of_the_papers_table(size, wanted):
    assert round(millions("hubert", {"size": size}), 1) == wanted


def test_slim_stems_have_fewer_parameters_and_the_same_frames():
    full, slim, tapered = (
        millions("hubert", {"size": "narrow_d2", "stem": stem}) for stem in sizes.STEMS
    )
    # by hand: seven kernels, two parameters of the group norm, two of the projection's norm
    kernels = (10, 3, 3, 3, 3, 2, 2)

    def stem(dims: list[int]) -> int:
        convs = sum(a * b * k for a, b, k in zip([1, *dims], dims, kernels, strict=False))
        return convs + 2 * dims[0] + 2 * dims[-1] + dims[-1] * 384

    assert full - slim == pytest.approx((stem([512] * 7) - stem([256] * 7)) / 1e6)
    assert full - tapered == pytest.approx(
        (stem([512] * 7) - stem([128, 128, 256, 256, 384, 384, 384])) / 1e6
    )
    model = students.build("hubert", {**BASE, "stem": "slim", "conv_dim": [8] * 7})
    assert model(noise(1, 4000))[0].shape[1] == n_frames(4000)


def test_training_defaults_are_those_of_pre_training():
    config = students.build("hubert", BASE).config
    assert (config.layerdrop, config.activation_dropout, config.feat_proj_dropout) == (0.05, 0, 0.1)


@pytest.mark.parametrize("kind", SMALL)
def test_all_kinds_share_one_forward_pass(kind):
    torch.manual_seed(0)
    model = students.build(*SMALL[kind]).eval()
    speech = noise(len(LENGTHS), 6000)
    with torch.no_grad():
        together = model(speech, LENGTHS)
        assert [x.shape[-1] for x in together] == model.dims
        assert model.final(together[-1]).shape == together[-1].shape
        for i, n in enumerate(LENGTHS.tolist()):
            alone = model(speech[i : i + 1, :n])
            for mine, wanted in zip(together, alone, strict=True):
                torch.testing.assert_close(mine[i, : n_frames(n)], wanted[0], rtol=0, atol=2e-5)
        assert len(model(speech, layers=1)) == 2
        torch.testing.assert_close(model(speech, layers=1)[1], model(speech)[1])


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["equal", "padded"])
def test_every_parameter_is_trained(kind, lengths):
    name, conf = SMALL[kind]
    torch.manual_seed(0)
    model = students.build(name, {**conf, "layerdrop": 0.0} if name != "espnet" else conf).train()
    mask = torch.zeros(len(LENGTHS), n_frames(6000), dtype=torch.bool)
    mask[0, 2:9] = True
    model.final(model(noise(len(LENGTHS), 6000), lengths, mask)[-1]).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("kind", SMALL)
def test_masked_frames_hide_their_input(kind):
    model = students.build(*SMALL[kind]).eval()
    speech = noise(1, 4000)
    mask = torch.ones(1, n_frames(4000), dtype=torch.bool)
    with torch.no_grad():
        a, b = model(speech, None, mask)[-1], model(noise(1, 4000, seed=3), None, mask)[-1]
        assert torch.equal(a, b)
        assert not torch.allclose(model(speech)[-1], model(noise(1, 4000, seed=3))[-1], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "conf", "message"),
    [
        ("wavlm", {}, "student must be one of hubert, espnet, conv"),
        ("hubert", {"size": "tiny"}, "size must be one of base"),
        ("hubert", {"stem": "thin"}, "stem must be one of full, slim, tapered, mel"),
        ("hubert", {"stem": "mel", "conv_dim": [8] * 7}, "conv_dim .* has two convolutions"),
        ("hubert", {"stem": "mel", "conv_stride": [2, 2]}, "conv_stride .1, 2."),
        ("hubert", {"stem": "mel", "mel_norm": "batch"}, "mel_norm must be one of utterance, corp"),
        ("conv", {"stem": "mel", "conv_bias": True}, "conv_bias has no meaning with stem: mel"),
        ("espnet", {"mel_norm": "corpus"}, "mel_norm has a meaning with stem: mel only"),
        ("hubert", {"hidden": 3}, "no such key: hidden"),
        ("hubert", {"hidden_size": "wide"}, "hidden_size"),
        ("hubert", {"hidden_size": 100}, "multiple of num_attention_heads 12"),
        ("hubert", {"hidden_size": 36}, "multiple of num_conv_pos_embedding_groups"),
        ("hubert", {"conv_dim": [8, 8]}, "conv_dim"),
        ("hubert", {"conv_stride": [5, 2, 2, 2, 2, 2, 1]}, "stride of 160"),
        ("hubert", {"feature_grad_mult": -1}, "feature_grad_mult must be >= 0"),
        ("conv", {"kernel_size": 4}, "kernel_size must be odd"),
        ("conv", {"kernels": 4}, "no such key: kernels; there are num_hidden_layers"),
        ("espnet", {"kernel_size": 3}, "no such key: kernel_size"),
        ("espnet", {"encoder_conf": {"input_layer": "conv2d"}}, "would change the frame rate"),
        ("espnet", {"encoder_conf": {"heads": 2}}, "encoder_conf of conformer: .*heads"),
        ("espnet", {"encoder_conf": {"attention_heads": 7}}, "encoder_conf of conformer"),
    ],
)
def test_errors_name_the_key(name, conf, message):
    with pytest.raises(ConfigError, match=message):
        students.build(name, conf)
