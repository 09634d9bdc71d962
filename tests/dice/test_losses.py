"""The losses against plain float64 loops and scikit-learn / torch, and by gradient checks."""

import math

import numpy as np
import pytest
import torch

from espnet_dice.dice import losses

B, T, K, D = 2, 7, 9, 5


@pytest.fixture
def gen():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def logits(gen):
    return 3 * torch.randn(B, T, K, generator=gen)


@pytest.fixture
def ids(gen):
    return torch.randint(K, (B, T), generator=gen)


def log_softmax(row: np.ndarray) -> np.ndarray:
    return row - math.log(math.fsum(math.exp(v) for v in row))


def test_hard_is_the_cross_entropy(logits, ids):
    got = losses.hard(logits, ids)
    for b in range(B):
        for t in range(T):
            wanted = -log_softmax(logits[b, t].double().numpy())[ids[b, t]]
            assert got[b, t].item() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("tau", [1.0, 5.0, 10.0])
def test_soft_is_the_divergence_from_eq_3(logits, gen, tau):
    features = torch.randn(B, T, D, generator=gen).double()
    centroids = torch.randn(K, D, generator=gen).double()
    distances = torch.cdist(features, centroids)
    got = losses.soft(logits, losses.soft_labels(distances.float(), tau))
    for b in range(B):
        for t in range(T):
            rho = np.array([np.linalg.norm(features[b, t] - c) for c in centroids])
            target = np.exp(log_softmax(-rho / tau))
            student = log_softmax(logits[b, t].double().numpy())
            wanted = math.fsum(p * (math.log(p) - q) for p, q in zip(target, student, strict=True))
            assert got[b, t].item() == pytest.approx(wanted, abs=1e-5)


def test_soft_agrees_with_torch_and_is_zero_for_equals(logits, gen):
    labels = torch.log_softmax(torch.randn(B, T, K, generator=gen), -1)
    theirs = torch.nn.functional.kl_div(
        torch.log_softmax(logits, -1), labels, log_target=True, reduction="none"
    ).sum(-1)
    torch.testing.assert_close(losses.soft(logits, labels), theirs)
    assert losses.soft(logits, torch.log_softmax(logits, -1)).abs().max() < 1e-5


def test_a_cold_soft_label_is_the_hard_one(logits, gen):
    distances = 8 + torch.rand(B, T, K, generator=gen)
    cold = losses.soft(logits, losses.soft_labels(distances, 1e-4))
    torch.testing.assert_close(cold, losses.hard(logits, distances.argmin(-1)), atol=1e-4, rtol=0)


def test_flat_soft_labels_keep_their_small_differences(gen):
    """τ = 5 at distances of 8 to 16 is nearly uniform: nothing of it may be rounded away."""
    distances = 8 + 8 * torch.rand(4, 500, generator=gen)
    wanted = torch.log_softmax(-distances.double() / 5.0, -1)
    torch.testing.assert_close(
        losses.soft_labels(distances, 5.0).double(), wanted, atol=1e-6, rtol=0
    )


def test_feature_is_the_mean_squared_error(gen):
    student, teacher = torch.randn(2, B, T, D, generator=gen)
    got = losses.feature(student, teacher)
    for b in range(B):
        for t in range(T):
            wanted = np.mean((student[b, t].double() - teacher[b, t].double()).numpy() ** 2)
            assert got[b, t].item() == pytest.approx(wanted, rel=1e-5)
    whole = torch.nn.functional.mse_loss(student, teacher)
    torch.testing.assert_close(got.mean(), whole)


@pytest.mark.parametrize("name", ["hard", "soft", "feature"])
def test_gradients(logits, ids, gen, name):
    x = logits.double().requires_grad_()
    labels = torch.log_softmax(torch.randn(B, T, K, generator=gen), -1).double()
    call = {
        "hard": lambda v: losses.hard(v, ids),
        "soft": lambda v: losses.soft(v, labels),
        "feature": lambda v: losses.feature(v, labels),
    }[name]

    assert torch.autograd.gradcheck(call, (x,))


def test_only_masked_frames_count(logits, ids, gen):
    mask = torch.rand(B, T, generator=gen) < 0.5
    values = losses.hard(logits, ids)
    got = losses.weighted_mean(values, losses.frame_weights(mask, None))
    torch.testing.assert_close(got, values[mask].mean())
    both = losses.weighted_mean(values, losses.frame_weights(mask, None, 1.0, 0.5))
    wanted = (values[mask].sum() + 0.5 * values[~mask].sum()) / (mask.sum() + 0.5 * (~mask).sum())
    torch.testing.assert_close(both, wanted)


def test_padding_never_counts(logits, ids):
    valid = torch.arange(T)[None] < torch.tensor([[T], [3]])
    mask = torch.ones(B, T, dtype=torch.bool)
    values = losses.hard(logits, ids).masked_fill(~valid, 1e6)
    for unmasked in (0.0, 1.0):
        weights = losses.frame_weights(mask, valid, 1.0, unmasked)
        got = losses.weighted_mean(values, weights)
        torch.testing.assert_close(got, values[valid].mean())


def test_no_frame_is_a_loss_of_zero(logits, ids):
    x = logits.requires_grad_()
    none = torch.zeros(B, T, dtype=torch.bool)
    loss = losses.weighted_mean(losses.hard(x, ids), losses.frame_weights(none, None))
    loss.backward()
    assert loss == 0 and x.grad.abs().max() == 0


def test_accuracy_is_of_its_own_frames(gen):
    from sklearn.metrics import accuracy_score

    logits = torch.randn(B, 50, K, generator=gen)
    ids = torch.randint(K, (B, 50), generator=gen)
    mask = torch.rand(B, 50, generator=gen) < 0.6
    ids[mask] = logits.argmax(-1)[mask]  # all masked frames right
    assert losses.accuracy(logits, ids, mask) == 1
    wanted = accuracy_score(ids[~mask], logits.argmax(-1)[~mask])
    assert losses.accuracy(logits, ids, ~mask).item() == pytest.approx(wanted) and wanted < 0.5
    assert losses.accuracy(logits, ids, torch.zeros_like(mask)).isnan()
