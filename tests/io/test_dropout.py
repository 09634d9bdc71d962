"""Dropout by sixteen bits an element: what torch's does, in law."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, norm

from espnet_dice.io import dropout

N = 400_000


@pytest.fixture
def installed():
    dropout.install()
    yield
    torch.nn.functional.dropout = dropout._torchs


def mask(p, n=N, seed=0):
    torch.manual_seed(seed)
    return dropout.dropout(torch.ones(n), p) == 0


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_each_place_is_dropped_with_its_probability(p):
    """Also by itself each of the four that share a draw."""
    for lane in mask(p).view(-1, 4).T:
        assert binomtest(int(lane.sum()), len(lane), p).pvalue > 1e-4


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 8])
def test_places_do_not_depend_on_each_other(lag):
    x = mask(0.3).double().numpy()
    z = np.corrcoef(x[:-lag], x[lag:])[0, 1] * np.sqrt(N - lag)
    assert 2 * norm.sf(abs(z)) > 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_is_left_is_scaled_and_so_is_its_gradient(dtype):
    x = torch.randn(7, 5, 3).to(dtype).transpose(0, 2).requires_grad_()
    y = dropout.dropout(x, 0.25)
    assert y.shape == x.shape and y.dtype == dtype
    left = y != 0
    assert 0 < left.sum() < left.numel()
    torch.testing.assert_close(y[left], (x / 0.75)[left])
    y.sum().backward()
    torch.testing.assert_close(x.grad, left.to(dtype) / 0.75)


def test_the_mean_stays_although_p_is_rounded():
    p = 1.4 / dropout.LEVELS  # rounded to 1 / 65536
    assert float(dropout.dropout(torch.ones(9), p).max()) == pytest.approx(65536 / 65535, rel=1e-7)


def test_the_seed_decides():
    assert torch.equal(mask(0.1, 1001), mask(0.1, 1001))
    assert not torch.equal(mask(0.1, 1001), mask(0.1, 1001, seed=1))


@pytest.mark.parametrize("n", [0, 1, 3, 5])
def test_any_number_of_elements(n):
    assert dropout.dropout(torch.ones(n), 0.5).shape == (n,)


def test_modules_use_it_in_training_only(installed):
    module, x = torch.nn.Dropout(0.5), torch.ones(1000)
    torch.manual_seed(0)
    found = module(x)
    torch.manual_seed(0)
    assert torch.equal(found, dropout.dropout(x, 0.5))
    assert torch.equal(module.eval()(x), x)


@pytest.mark.parametrize("p", [0.0, 1.0, 1e-9])
def test_nothing_and_all(p):
    x = torch.randn(50)
    assert torch.equal(dropout.dropout(x, p), torch.nn.functional.dropout(x, p))


def test_in_place_and_what_torch_refuses():
    x = torch.ones(100)
    assert dropout.dropout(x, 0.5, inplace=True) is x and (x == 0).any()
    with pytest.raises(ValueError, match="probability"):
        dropout.dropout(x, 1.5)
