"""Variance head and sampled logits against plain float64 references."""

import numpy as np
import pytest
import torch

from espnet_dice.kd import variance
from tests import references

V = 6


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    logits = torch.tensor(rng.normal(size=(2, 4, V)) * 3)
    variances = torch.tensor(rng.gamma(1.0, 2.0, size=(2, 4, V)))
    return logits, variances


def test_mean_of_sampled_softmax(data):
    logits, variances = data
    seed = torch.Generator().manual_seed(5)
    got = variance.log_mean_softmax(logits, variances, 9, seed)
    noise = torch.randn(
        (9, 2, 4, V), generator=torch.Generator().manual_seed(5), dtype=torch.float64
    )
    for b in range(2):
        for i in range(4):
            want = references.mean_softmax(
                logits[b, i].numpy(), variances[b, i].numpy(), noise[:, b, i].numpy()
            )
            np.testing.assert_allclose(got[b, i].exp().numpy(), want, rtol=1e-12)


def test_it_is_a_distribution(data):
    got = variance.log_mean_softmax(*data, 7)
    np.testing.assert_allclose(got.exp().sum(-1).numpy(), 1.0, rtol=1e-12)


def test_without_noise_it_is_softmax(data):
    logits, variances = data
    want = torch.log_softmax(logits, -1)
    assert torch.equal(variance.log_mean_softmax(logits, None, 10), want)
    assert torch.equal(variance.log_mean_softmax(logits, variances, 0), want)
    # σ is floored at 1e-4 to keep its gradient finite
    near = variance.log_mean_softmax(logits, torch.zeros_like(variances), 10)
    np.testing.assert_allclose(near.numpy(), want.numpy(), atol=1e-3)


def test_noise_softens_the_mean(data):
    logits = data[0]
    quiet = variance.log_mean_softmax(logits, torch.full_like(logits, 1e-6), 2000)
    loud = variance.log_mean_softmax(logits, torch.full_like(logits, 9.0), 2000)
    entropy = [-(x.exp() * x).sum(-1).mean() for x in (quiet, loud)]
    assert entropy[1] > entropy[0] + 0.1


@pytest.mark.parametrize("activation", list(variance.ACTIVATIONS))
def test_head_is_an_activated_linear_map(activation):
    torch.manual_seed(0)
    head = variance.VarianceHead(5, V, activation).double()
    hidden = torch.randn(3, 5, dtype=torch.float64)
    z = hidden.numpy() @ head.linear.weight.detach().numpy().T + head.linear.bias.detach().numpy()
    want = {
        "softplus": np.log1p(np.exp(z)),
        "relu": np.maximum(z, 0),
        "exp": np.exp(z),
    }[activation]
    np.testing.assert_allclose(head(hidden).detach().numpy(), want, rtol=1e-12)


def test_gradients(data):
    logits, variances = (x.clone().requires_grad_() for x in data)

    def f(a, b):
        return variance.log_mean_softmax(a, b, 4, torch.Generator().manual_seed(1))

    assert torch.autograd.gradcheck(f, (logits, variances + 0.01))


def test_a_dead_relu_gives_no_nan():
    head = variance.VarianceHead(2, V, "relu")
    with torch.no_grad():
        head.linear.bias.fill_(-10.0)
    logits = torch.randn(3, V, requires_grad=True)
    variance.log_mean_softmax(logits, head(torch.zeros(3, 2)), 5).sum().backward()
    grads = [logits.grad, head.linear.weight.grad, head.linear.bias.grad]
    assert all(torch.isfinite(g).all() for g in grads)


def test_unknown_activation():
    with pytest.raises(ValueError, match="variance must be one of"):
        variance.VarianceHead(2, V, "tanh")
