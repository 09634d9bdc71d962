"""The number of kernels that oneDNN remembers."""

import pytest

from espnet_dice.io import onednn


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
