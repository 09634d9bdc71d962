"""CTC targets follow the student's time warping: against ESPnet's warp and maps in numpy."""

import numpy as np
import pytest
import torch

from espnet_dice import compat
from espnet_dice.kd import teachers, warp
from tests.kd.test_model import batch, build, cached, task  # noqa: F401

WINDOW = 5
ONLY_WARP = {
    "apply_time_warp": True,
    "time_warp_window": WINDOW,
    "apply_freq_mask": False,
    "apply_time_mask": False,
}
LENGTHS = [[90, 90, 90], [90, 61, 8], [90, 75, 80]]  # one map a batch; one an utterance


def maps(lengths, seed):
    """Where ESPnet's warp takes each frame from: its draws, and two straight lines."""
    torch.manual_seed(seed)
    one = len(set(lengths)) == 1
    made = []
    for n in lengths[:1] if one else lengths:
        frames = np.arange(n, dtype=float)
        if n - WINDOW > WINDOW:
            centre = int(torch.randint(WINDOW, n - WINDOW, (1,)))
            to = int(torch.randint(centre - WINDOW, centre + WINDOW, (1,))) + 1
            left = (frames[:to] + 0.5) * centre / to - 0.5
            right = centre + (frames[to:] - to + 0.5) * (n - centre) / (n - to) - 0.5
            # nothing is taken from beyond the piece
            frames = np.append(left.clip(0, centre - 1), right.clip(centre, n - 1))
        made.append(frames)
    return made * len(lengths) if one else made


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_the_warp_is_espnets_and_tells_its_map(lengths, mode):
    from espnet2.layers.time_warp import TimeWarp

    x = torch.randn(3, 90, 7, generator=torch.Generator().manual_seed(0))
    for seed in range(20):
        tracked = warp.TrackedWarp(TimeWarp(WINDOW, mode))
        torch.manual_seed(seed)
        got, _ = tracked(x.clone(), torch.tensor(lengths))
        state = torch.get_rng_state()
        torch.manual_seed(seed)
        want, _ = TimeWarp(WINDOW, mode)(x.clone(), torch.tensor(lengths))
        assert torch.equal(state, torch.get_rng_state())
        torch.testing.assert_close(got, want, rtol=0, atol=1e-6)
        origin = tracked.take()
        assert tracked.take() is None
        for b, frames in enumerate(maps(lengths, seed)):
            # bicubic overshoots where a piece ends
            far = np.abs(origin[b, : len(frames)].numpy() - frames).max()
            assert far < (0.2 if mode == "bicubic" else 1e-3)
            assert torch.equal(origin[b, len(frames) :], torch.arange(len(frames), 90).float())


def test_half_precision_counts_frames_too():
    from espnet2.layers.time_warp import TimeWarp

    tracked = warp.TrackedWarp(TimeWarp(WINDOW))
    y, _ = tracked(torch.randn(1, 3000, 4).bfloat16(), torch.tensor([3000]))
    assert y.dtype == torch.bfloat16
    assert (tracked.take()[0] - torch.arange(3000)).abs().max() < WINDOW + 1


@pytest.mark.parametrize(
    ("name", "kernels"),
    [
        ("Conv2dSubsampling", [(3, 2), (3, 2)]),
        ("Conv2dSubsampling1", [(3, 1), (3, 1)]),
        ("Conv2dSubsampling2", [(3, 2), (3, 1)]),
        ("Conv2dSubsampling6", [(3, 2), (5, 3)]),
        ("Conv2dSubsampling8", [(3, 2), (3, 2), (3, 2)]),
    ],
)
def test_encoder_frames_are_where_their_convolutions_look(name, kernels):
    subsampling = compat.moved_module("nets.pytorch_backend.transformer.subsampling")

    layer = getattr(subsampling, name)(40, 4, 0.0)
    stride, wide = 1, 1
    for kernel, step in kernels:
        wide += (kernel - 1) * stride
        stride *= step
    for size in range(200, 200 + stride):
        frames = layer(torch.zeros(1, size, 40), None)[0]
        n = (frames[0] if isinstance(frames, tuple) else frames).size(1)
        origin = (np.arange(size) + 4 * np.sin(np.arange(size) / 30)).clip(0)
        centres = np.arange(n) * stride + (wide - 1) / 2
        want = (np.interp(centres, np.arange(size), origin) - (wide - 1) / 2) / stride
        got = warp.at_encoder_rate(torch.tensor(origin)[None], n)[0].numpy()
        assert np.abs(got - want).max() < 0.1
        straight = warp.at_encoder_rate(torch.arange(size, dtype=torch.float64)[None], n)
        assert torch.equal(straight[0], torch.arange(n, dtype=torch.float64))


def test_warped_posteriors_lie_between_their_neighbours():
    gen = torch.Generator().manual_seed(0)
    said = torch.randn(2, 9, 5, generator=gen, dtype=torch.float64).log_softmax(-1)
    said[0, 3, 1] = -torch.inf
    said[0, 3] = said[0, 3].log_softmax(-1)
    said[1, 6:] = 0.0  # padding
    lengths = torch.tensor([9, 6])
    origin = torch.tensor([[-0.7, 0.25, 2.0, 2.5, 7.9, 8.0, 12.0]] * 2, dtype=torch.float64)
    got = warp.warp_posteriors(said, lengths, origin).exp().numpy()
    for b, n in enumerate(lengths.tolist()):
        probs = said[b, :n].exp().numpy()
        for j, at in enumerate(origin[b].clip(0, n - 1).tolist()):
            lo, hi = int(np.floor(at)), int(np.ceil(at))
            want = probs[lo] ** (1 - at + lo) * probs[hi] ** (at - lo)
            np.testing.assert_allclose(got[b, j], want / want.sum(), atol=1e-12)
    still = torch.arange(9.0)[None].expand(2, -1)
    same = warp.warp_posteriors(said, lengths, still).exp()
    torch.testing.assert_close(same[0], said[0].exp())
    torch.testing.assert_close(same[1, :6], said[1, :6].exp())


def speech(gen):
    """Features that turn every 8 frames, as sounds do."""
    knots = torch.randn(1, 20, 26, generator=gen)
    return torch.nn.functional.interpolate(knots, size=200, mode="linear")[0].T


@pytest.mark.parametrize("lengths", [[200, 200, 200], [200, 150, 177]])
def test_a_student_that_is_its_teacher_agrees_with_it_when_warped(task, lengths):  # noqa: F811
    """Cross-entropy with oneself is entropy: what is above it comes from frames that do not fit."""
    gen = torch.Generator().manual_seed(7)
    inputs = {
        "speech": torch.stack([speech(gen) for _ in lengths]),
        "speech_lengths": torch.tensor(lengths),
        "text": torch.tensor([[3, 4, 5]] * 3),
        "text_lengths": torch.tensor([3, 3, 3]),
    }
    conf = {"kd_ctc": 1.0, "teachers": [{"name": "a", "weight": 1.0}]}
    student, plain = (build(task, specaug=s, **conf) for s in (ONLY_WARP, None))
    tutor = build(task)
    for model in (student, plain, tutor):
        # as trained ones are: sure of itself, of what it hears now, wherever that is
        model.ctc.ctc_lo.weight.data *= 100
        embed = model.encoder.embed
        if hasattr(embed, "pos_enc"):
            embed.pos_enc = torch.nn.Identity()
        else:  # ESPnet 202511
            embed.out[1] = torch.nn.Identity()
        model.encoder.encoders[0].self_attn.linear_out.weight.data.zero_()
    full = cached(tutor, inputs, with_ctc=True)
    frames = int(plain.encode(inputs["speech"].clone(), torch.tensor(lengths))[1].sum())
    clean = plain.train()(**full)[1]["loss_ctc_kd"].item() * 3 / frames
    take = student.specaug.time_warp.take
    excess = []
    for paired in (take, lambda: None):  # by the map; by index, as if nothing were warped
        student.specaug.time_warp.take = paired
        found = []
        for seed in range(6):
            torch.manual_seed(seed)
            found.append(student.train()(**full)[1]["loss_ctc_kd"].item() * 3 / frames - clean)
        excess.append(np.mean(found))
    assert excess[1] > 0.9
    assert excess[0] < 0.25 * excess[1]


@pytest.mark.parametrize("weights", [{"kd_ctc": 0.5}, {"kd_alpha": 0.5}])
def test_teachers_beside_the_student_hear_its_warped_speech(task, batch, weights):  # noqa: F811
    teaching = {"teachers": [{"name": "a", "weight": 1.0, "exp": "x"}], "teacher_mode": "online"}
    model = build(task, specaug=ONLY_WARP, **weights, **teaching)
    assert model.specaug.time_warp is None
    heard = {}

    def listening(name, call):
        def wrapped(speech, *more):
            heard[name] = speech.clone()
            return call(speech, *more)

        return wrapped

    model._online.models = [build(task)]
    model._online = listening("teacher", model._online)
    model.encode = listening("student", model.encode)
    moved = []
    for seed in range(4):
        torch.manual_seed(seed)
        model.train()(**batch)
        torch.testing.assert_close(heard["teacher"], heard["student"], rtol=0, atol=0)
        moved.append(not torch.equal(heard["teacher"], batch["speech"]))
    assert any(moved)
    model.eval()(**batch)
    assert torch.equal(heard["teacher"], batch["speech"])


def test_only_ctc_kd_touches_specaugment(task):  # noqa: F811
    model = build(task, specaug=ONLY_WARP, kd_alpha=0.5, teachers=[{"name": "a", "weight": 1.0}])
    assert type(model.specaug.time_warp).__module__ == "espnet2.layers.time_warp"
    masks = {"apply_time_warp": False, "time_mask_width_range": [0, 6]}
    found = [teachers.Targets(torch.zeros(1), None, torch.zeros(1, 4, 3), torch.tensor([4]))]
    model = build(task, specaug=masks, kd_ctc=0.5, teachers=[{"name": "a", "weight": 1.0}])
    assert warp.follow(model.specaug, found, 4) is found
