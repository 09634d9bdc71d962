"""The distillation losses against plain float64 loops, and their gradients."""

import itertools
import math

import numpy as np
import pytest
import torch

from espnet_dice.kd import losses
from tests import references

B, L, V = 3, 5, 7
LENGTHS = [5, 2, 4]
VALID = torch.tensor([[i < n for i in range(L)] for n in LENGTHS])


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    student, teacher = (torch.tensor(rng.normal(size=(B, L, V)) * 2) for _ in range(2))
    s_var, t_var = (torch.tensor(rng.gamma(1.0, 1.0, size=(B, L, V)) + 0.01) for _ in range(2))
    return student, teacher, s_var, t_var


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 7.0])
def test_token_kd_is_the_papers_cross_entropy(data, temperature):
    student, teacher = (x.log_softmax(-1) for x in data[:2])
    got = losses.soft_cross_entropy(student, teacher, VALID, temperature)
    want = references.token_kd(student.exp().numpy(), teacher.exp().numpy(), LENGTHS, temperature)
    assert got.item() == pytest.approx(want, rel=1e-12)


def test_token_kd_of_a_one_hot_teacher_is_cross_entropy(data):
    student = data[0].log_softmax(-1)
    tokens = torch.randint(0, V, (B, L), generator=torch.Generator().manual_seed(1))
    one_hot = torch.full((B, L, V), -1e4, dtype=torch.float64).scatter(2, tokens[..., None], 0.0)
    got = losses.soft_cross_entropy(student, one_hot, VALID)
    want = torch.nn.functional.cross_entropy(data[0][VALID], tokens[VALID], reduction="sum")
    assert got.item() == pytest.approx(want.item(), rel=1e-12)


def test_token_kd_is_smallest_at_the_teacher(data):
    teacher = data[1].log_softmax(-1)
    student = data[1].clone().requires_grad_()
    losses.soft_cross_entropy(student.log_softmax(-1), teacher, VALID, 3.0).backward()
    assert student.grad.abs().max() < 1e-12


@pytest.mark.parametrize("vector", losses.UNC_VECTORS)
@pytest.mark.parametrize("norm", losses.UNC_NORMS)
def test_uncertainty_matching_follows_its_definition(data, vector, norm):
    _, _, s_var, t_var = data
    got = losses.uncertainty_matching(s_var, t_var, VALID, vector, norm)
    want = references.uncertainty_matching(s_var.numpy(), t_var.numpy(), LENGTHS, vector, norm)
    assert got.item() == pytest.approx(want, rel=1e-6)
    assert losses.uncertainty_matching(t_var, t_var, VALID, vector, norm).item() < 1e-12


NOISE = np.random.default_rng(3).gamma(1.0, 1.0, 31)
CORNERS = {
    "zero": 0 * NOISE,
    "tiny": 0 * NOISE + 1e-30,
    "half dead": np.where(NOISE > 0.7, NOISE, 0.0),
    "one alive": NOISE * (np.argmax(NOISE) == np.arange(31)),
    "constant": 0 * NOISE + 0.69,
    "one": 0 * NOISE + 1.0,  # log σ² is exactly 0
    "about one": np.exp(1e-4 * (NOISE - NOISE.mean())),
    "ordinary": NOISE,
    "huge": 0 * NOISE + 1e30,
    "some huge": np.where(NOISE > 1.0, 3e38, NOISE),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vector", losses.UNC_VECTORS)
@pytest.mark.parametrize("norm", losses.UNC_NORMS)
def test_no_noise_vector_breaks_the_loss(vector, norm, dtype):
    valid = torch.ones(1, 1, dtype=torch.bool)
    for (s_name, s), (t_name, t) in itertools.product(CORNERS.items(), repeat=2):
        s_var, t_var = (torch.tensor(x[None, None]).to(dtype) for x in (s, t))
        s_var.requires_grad_()
        got = losses.uncertainty_matching(s_var, t_var, valid, vector, norm)
        got.backward()
        want = references.uncertainty_matching(
            s_var.detach().double().numpy(), t_var.double().numpy(), [1], vector, norm
        )
        case = f"{s_name} beside {t_name}"
        huge = "huge" in case  # σ² of 7e4 has steps of 0.008 in float32
        assert got.item() == pytest.approx(want, rel=1e-4, abs=1e-2 if huge else 1e-4), case
        slope = s_var.grad.abs().max().item()
        # of the size of other losses, even for a teacher without noise, unless the student is huge
        most = 1e13 if huge else 4e3
        assert got.item() < most and slope < most, case
    plain = [torch.tensor(CORNERS[k][None, None]).to(dtype) for k in ("constant", "zero")]
    if (vector, norm) == ("variance", "nmse"):
        assert losses.uncertainty_matching(*plain, valid).item() == pytest.approx(47.6, rel=0.01)


def test_an_infinite_variance_keeps_the_loss_finite():
    s_var = torch.tensor([[[float("inf"), 1.0]]], requires_grad=True)
    loss = losses.uncertainty_matching(s_var, torch.ones(1, 1, 2), torch.ones(1, 1) > 0)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(s_var.grad).all()


@pytest.mark.parametrize("norm", ["l2", "mean", "standardize"])
def test_scale_free_norms_ignore_the_scale(data, norm):
    _, _, s_var, t_var = data
    one = losses.uncertainty_matching(s_var, t_var, VALID, "variance", norm)
    other = losses.uncertainty_matching(s_var * 50, t_var * 3, VALID, "variance", norm)
    assert other.item() == pytest.approx(one.item(), rel=1e-4)


@pytest.mark.parametrize("vector", losses.UNC_VECTORS)
@pytest.mark.parametrize("norm", losses.UNC_NORMS)
def test_gradients(data, vector, norm):
    _, _, s_var, t_var = data
    s_var.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s: losses.uncertainty_matching(s, t_var, VALID, vector, norm), (s_var,)
    )


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_gradients_of_token_kd(data, temperature):
    student, teacher = data[0].requires_grad_(), data[1].log_softmax(-1)
    assert torch.autograd.gradcheck(
        lambda s: losses.soft_cross_entropy(s.log_softmax(-1), teacher, VALID, temperature),
        (student,),
    )


@pytest.mark.parametrize("rubbish", [0.0, -3.0, float("nan"), float("inf")])
def test_padding_never_contributes(data, rubbish):
    student, teacher, s_var, t_var = data
    student, teacher = student.log_softmax(-1), teacher.log_softmax(-1)
    clean = [
        losses.soft_cross_entropy(student, teacher, VALID, 2.0),
        *(
            losses.uncertainty_matching(s_var, t_var, VALID, v, n)
            for v in losses.UNC_VECTORS
            for n in losses.UNC_NORMS
        ),
    ]
    dirty = [x.clone() for x in (student, teacher, s_var, t_var)]
    for x in dirty:
        x[~VALID] = rubbish
    dirty[2].requires_grad_()
    again = [
        losses.soft_cross_entropy(dirty[0], dirty[1], VALID, 2.0),
        *(
            losses.uncertainty_matching(dirty[2], dirty[3], VALID, v, n)
            for v in losses.UNC_VECTORS
            for n in losses.UNC_NORMS
        ),
    ]
    for a, b in zip(clean, again, strict=True):
        assert a.item() == b.item()
    sum(again[1:]).backward()
    assert (dirty[2].grad[~VALID] == 0).all() and torch.isfinite(dirty[2].grad).all()


def test_mix():
    a, b = torch.tensor(3.0), torch.tensor(5.0)
    assert losses.mix(a, b, 0.0) is a
    assert losses.mix(a, torch.tensor(float("nan")), 0.0, convex=False) is a
    assert losses.mix(a, b, 1.0) is b
    assert losses.mix(a, b, 0.25).item() == 3.5
    assert losses.mix(a, b, 0.25, convex=False).item() == 4.25


def test_over_teachers_weights_each_loss():
    assert losses.over_teachers([torch.tensor(2.0), torch.tensor(6.0)], [0.75, 0.25]).item() == 3.0


def test_certainty_weights_are_one_less_the_normalised_entropy(data):
    teachers = [x.log_softmax(-1) for x in data[:2]]
    teachers[1] = torch.where(torch.arange(L)[:, None] == 1, -math.log(V), teachers[1])  # no idea
    found = losses.certainty_weights(teachers, [0.75, 0.25], VALID)
    for b, i in VALID.nonzero().tolist():
        probs = [t[b, i].exp().tolist() for t in teachers]
        want = references.certainty_weights(probs, [0.75, 0.25])
        assert [w[b, i].item() for w in found] == pytest.approx(want, rel=1e-9, abs=1e-12)
    assert found[0][0, 1] > 0.999
    # a one-hot distribution has -inf in it; padding holds anything
    sure = torch.where(torch.arange(V) == 2, 0.0, -torch.inf).expand(B, L, V)
    rubbish = sure.masked_fill(~VALID.unsqueeze(-1), torch.nan)
    both = torch.stack(losses.certainty_weights([rubbish, teachers[0]], [0.5, 0.5], VALID))
    assert torch.isfinite(both).all() and both.sum(0) == pytest.approx(torch.ones(B, L))


def test_weights_of_tokens(data):
    student, teacher = data[0].log_softmax(-1), data[1].log_softmax(-1)
    weight = torch.rand(B, L, dtype=torch.float64)
    found = losses.soft_cross_entropy(student, teacher, VALID, 2.0, weight)
    probs = student.exp().numpy(), teacher.exp().numpy()
    assert found.item() == pytest.approx(references.token_kd(*probs, LENGTHS, 2.0, weight))
    each = [
        losses.uncertainty_matching(*data[2:], VALID & (torch.arange(L) == i), weight=None)
        for i in range(L)
    ]
    row = torch.arange(1.0, L + 1).expand(B, L)
    found = losses.uncertainty_matching(*data[2:], VALID, weight=row)
    assert found.item() == pytest.approx(sum((i + 1) * x.item() for i, x in enumerate(each)))


def test_unknown_names_are_refused(data):
    with pytest.raises(ValueError, match="unc_vector must be one of"):
        losses.uncertainty_vector(data[2], "sigma")
    with pytest.raises(ValueError, match="unc_norm must be one of"):
        losses.uncertainty_matching(data[2], data[3], VALID, norm="max")
