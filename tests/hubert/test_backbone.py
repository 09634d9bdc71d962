"""The backbone against transformers, and every utterance of a batch against itself alone."""

import pytest
import torch
from transformers import HubertConfig
from transformers.models.hubert.modeling_hubert import HubertPositionalConvEmbedding

from espnet_dice.hubert.models import backbone
from espnet_dice.hubert.models.backbone import Backbone
from espnet_dice.hubert.models.frames import n_frames
from espnet_dice.io.errors import ConfigError, DataError
from tests.hubert.tiny_models import BASE, LARGE, noise, reference

BATCH_NORM = {**BASE, "conv_pos_batch_norm": True}
LENGTHS = torch.tensor([9000, 400, 719, 5555])


def pair(conf: dict, **kwargs):
    theirs = reference(conf)
    if conf.get("conv_pos_batch_norm"):
        norm = theirs.encoder.pos_conv_embed.batch_norm
        norm.running_mean += 0.3
        norm.running_var *= 1.5
    ours = Backbone(HubertConfig(**conf), **kwargs).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


@pytest.mark.parametrize("conf", [BASE, LARGE, BATCH_NORM], ids=["base", "large", "batch_norm"])
@torch.no_grad()
def test_hidden_states_are_those_of_transformers(conf):
    ours, theirs = pair(conf)
    speech = noise(2, 6000)
    wanted = theirs(speech, output_hidden_states=True)
    found = ours(speech)
    assert len(found) == conf["num_hidden_layers"] + 1 == len(ours.dims)
    for mine, theirs_ in zip(found, wanted.hidden_states, strict=True):
        torch.testing.assert_close(mine, theirs_, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.final(found[-1]), wanted.last_hidden_state, rtol=0, atol=1e-5)


@pytest.mark.parametrize("conf", [BASE, LARGE, BATCH_NORM], ids=["base", "large", "batch_norm"])
@torch.no_grad()
def test_an_utterance_of_a_batch_is_what_it_is_alone(conf):
    ours, _ = pair(conf)
    speech = noise(len(LENGTHS), 9000)  # noise behind the ends, too
    together = ours(speech, LENGTHS)
    for i, n in enumerate(LENGTHS.tolist()):
        alone = ours(speech[i : i + 1, :n])
        assert alone[0].shape[1] == n_frames(n)
        for mine, wanted in zip(together, alone, strict=True):
            torch.testing.assert_close(mine[i, : n_frames(n)], wanted[0], rtol=0, atol=2e-5)


@torch.no_grad()
def test_transformers_itself_depends_on_the_batch():
    ours, theirs = pair(BASE)
    speech = noise(2, 9000)
    speech[1, 5555:] = 0
    mask = torch.arange(9000) < torch.tensor([[9000], [5555]])
    padded = theirs(speech, attention_mask=mask.long()).last_hidden_state[1, : n_frames(5555)]
    alone = theirs(speech[1:, :5555]).last_hidden_state[0]
    assert (padded - alone).abs().max() > 0.01
    mine = ours(speech, mask.sum(-1))[-1][1, : n_frames(5555)]
    torch.testing.assert_close(mine, alone, rtol=0, atol=2e-5)


@torch.no_grad()
def test_equal_lengths_need_no_attention_mask():
    ours, _ = pair(BASE)
    masks = []
    ours.encoder.layers[0].register_forward_pre_hook(
        lambda _, args, kwargs: masks.append(kwargs["attention_mask"]), with_kwargs=True
    )
    speech = noise(2, 4000)
    plain = ours(speech)[-1]
    assert torch.equal(plain, ours(speech, torch.tensor([4000, 4000]))[-1])
    longer = torch.cat([speech, torch.ones(2, 900)], 1)
    assert torch.equal(plain, ours(longer, torch.tensor([4000, 4000]))[-1])
    assert masks == [None, None, None]


@torch.no_grad()
def test_it_stops_after_the_block_that_is_asked_for():
    ours, _ = pair(BASE)
    runs = []
    for i, block in enumerate(ours.encoder.layers):
        block.register_forward_hook(lambda *_, i=i: runs.append(i))
    speech = noise(1, 2000)
    whole = ours(speech)
    for layers in range(4):
        runs.clear()
        some = ours(speech, layers=layers)
        assert runs == list(range(layers))
        assert all(torch.equal(a, b) for a, b in zip(some, whole[: layers + 1], strict=True))


@torch.no_grad()
def test_masked_frames_are_those_of_transformers():
    ours, theirs = pair(BASE)
    speech = noise(2, 6000)
    mask = noise(2, n_frames(6000), seed=1) > 0
    wanted = theirs(speech, mask_time_indices=mask).last_hidden_state
    torch.testing.assert_close(ours(speech, mask=mask)[-1], wanted, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="a mask of"):
        ours(speech, mask=mask[:, 1:])


@torch.no_grad()
def test_nothing_is_seen_through_the_mask():
    ours, _ = pair(BASE)
    speech = noise(1, 6000)
    hidden = ours(speech, mask=torch.ones(1, n_frames(6000), dtype=torch.bool))
    other = ours(noise(1, 6000, seed=5), mask=torch.ones(1, n_frames(6000), dtype=torch.bool))
    assert torch.equal(hidden[-1], other[-1])


def gradients(mult: float) -> dict[str, torch.Tensor]:
    ours, _ = pair(BASE, feature_grad_mult=mult)
    ours(noise(2, 3000), torch.tensor([3000, 1500]))[-1].square().sum().backward()
    return {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}


def test_the_gradient_of_the_convolutions_is_scaled_and_no_other():
    whole, scaled, none = gradients(1.0), gradients(0.1), gradients(0.0)
    for name, grad in whole.items():
        factor = 0.1 if name.startswith("feature_extractor.") else 1.0
        torch.testing.assert_close(scaled[name], factor * grad)
    left = {name for name in whole if not name.startswith("feature_extractor.")}
    assert set(none) == left != set(whole)


def test_a_dropped_block_passes_its_input_on():
    ours, _ = pair({**BASE, "layerdrop": 1.0, "hidden_dropout": 0.0, "feat_proj_dropout": 0.0})
    assert not backbone.dropped(ours, 1.0)
    hidden = ours.train()(noise(1, 2000))
    assert len(hidden) == 4 and all(torch.equal(x, hidden[0]) for x in hidden)


@pytest.mark.parametrize("width, groups", [(64, 8), (128, 2), (5, 1), (2, 4)])
@pytest.mark.parametrize("frames", [1, 3, 49])
def test_positions_and_their_gradients_are_those_of_transformers(width, groups, frames):
    keys = {"num_conv_pos_embeddings": width, "num_conv_pos_embedding_groups": groups}
    embed = HubertPositionalConvEmbedding(HubertConfig(hidden_size=32, **keys)).double()
    x = torch.randn(2, frames, 32, dtype=torch.float64, requires_grad=True)
    inputs = [x, *embed.parameters()]
    wanted = embed(x)
    found = embed.activation(backbone.over_frames(embed.conv, x))
    torch.testing.assert_close(found, wanted)
    weight = torch.randn_like(wanted)
    for mine, theirs in zip(
        torch.autograd.grad((found * weight).sum(), inputs),
        torch.autograd.grad((wanted * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_positions_begin_as_in_fairseq():
    conf = {**BASE, "hidden_size": 192, "num_conv_pos_embeddings": 64}
    conv = Backbone(HubertConfig(**conf)).encoder.pos_conv_embed.conv
    assert conv.weight.std().item() == pytest.approx(2 / (64 * 192) ** 0.5, rel=0.02)


def test_utterances_shorter_than_a_frame_are_refused():
    ours, _ = pair(BASE)
    with pytest.raises(DataError, match=r"utterance 2 of the batch has 399 samples"):
        ours(noise(2, 1000), torch.tensor([1000, 399]))
    with pytest.raises(DataError, match="less than one frame"):
        ours(noise(1, 399))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("conv_stride", [5, 2, 2, 2, 2, 2, 1], "stride of 160 samples"),
        ("conv_kernel", [10, 3, 3, 3, 3, 3, 2], r"sees 480 samples"),
    ],
)
def test_other_frames_are_refused(key, value, message):
    with pytest.raises(ConfigError, match=message):
        Backbone(HubertConfig(**{**BASE, key: value}))


def test_plain_attention_in_training_is_torchs():
    """Where there is dropout on a CPU; with the same draws, the same states and gradients."""
    elsewhere = ("hidden_dropout", "feat_proj_dropout", "activation_dropout", "layerdrop")
    config = {**BASE, **dict.fromkeys(elsewhere, 0.0), "attention_dropout": 0.3}
    found = []
    for training in (True, False):  # of the model: which of the two is taken
        torch.manual_seed(0)
        student = Backbone(HubertConfig(**config))
        student.train(training)
        for layer in student.encoder.layers:
            layer.attention.train()
        torch.manual_seed(1)
        states = student(noise(2, 6000))
        states[-1].square().sum().backward()
        used = "eager" if training else "sdpa"
        assert student.config._attn_implementation == used
        found.append([*states, *(p.grad for p in student.parameters() if p.grad is not None)])
    plain, torchs = found
    assert len(plain) == len(torchs) > 20
    for a, b in zip(plain, torchs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("conf, used", [({}, "eager"), ({"attention_dropout": 0.0}, "sdpa")])
def test_padding_and_no_dropout_take_torchs_attention(conf, used):
    student = Backbone(HubertConfig(**BASE, **conf)).train()
    student(noise(2, 6000))
    assert student.config._attn_implementation == used
    student(noise(2, 6000), torch.tensor([6000, 5000]))
    assert student.config._attn_implementation == "sdpa"
