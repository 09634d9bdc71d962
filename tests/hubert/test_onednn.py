"""How many kernels oneDNN remembers, and who does without it."""

import pytest
import torch

from espnet_dice.hubert.models import onednn


@pytest.mark.parametrize(
    "before, kernels, after",
    [(None, 64, "64"), ("64", 4096, "4096"), ("4096", 64, "4096"), ("many", 64, "64")],
)
def test_the_larger_number_stands(monkeypatch, before, kernels, after):
    monkeypatch.delenv(onednn.SETTING, raising=False)
    if before is not None:
        monkeypatch.setenv(onednn.SETTING, before)
    onednn.remember(kernels)
    assert onednn.os.environ[onednn.SETTING] == after


@pytest.mark.parametrize("width, used", [(128, False), (129, True)])
def test_only_wide_convolutions_are_worth_a_kernel(width, used):
    before, threads = torch._C._get_mkldnn_enabled(), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with onednn.worth_it(width):
            assert torch._C._get_mkldnn_enabled() is (used and before)
            assert torch.get_num_threads() == (3 if used else 1)
        assert torch._C._get_mkldnn_enabled() is before
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


def test_a_convolution_is_the_same_with_and_without():
    wave, weight = torch.randn(2, 3, 50), torch.randn(4, 3, 5)
    wanted = torch.nn.functional.conv1d(wave.double(), weight.double(), stride=2)
    for width in (onednn.SMALL, onednn.SMALL + 1):
        with onednn.worth_it(width):
            found = torch.nn.functional.conv1d(wave, weight, stride=2)
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
