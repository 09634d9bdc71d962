"""The device that is not there finds what it is for: faults that are put in on purpose."""

import types
from pathlib import Path

import pytest
import torch

from espnet_dice.dice import loss_terms, losses
from espnet_dice.dice import model as models
from tests.devices import waits
from tests.devices.accelerator import DEVICE, Accelerator, OnDevice
from tests.devices.steps import step
from tests.hubert import tiny

MEAN = "    total = weights.sum()\n"


def planted(monkeypatch, line: str) -> None:
    """The module of losses, with another first line in its weighted mean."""
    text = Path(losses.__file__).read_text(encoding="utf-8")
    assert text.count(MEAN) == 1
    other = types.ModuleType(losses.__name__)
    exec(compile(text.replace(MEAN, f"    {line}\n"), losses.__file__, "exec"), vars(other))
    for module in (loss_terms, models):
        monkeypatch.setattr(module, "losses", other)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("total = weights.new_full((), weights.sum().item())", "item"),
        ("total = weights.sum() if weights.any() else weights.sum()", "item"),
        ("total = weights.sum() + len(weights.tolist()) * 0", "tolist"),
        ("total = weights[weights > 0].sum()", "mask index"),
        ("total = weights.flatten()[weights.flatten().nonzero()].sum()", "nonzero"),
        ("total = weights.sum() + weights.cpu().sum() * 0", "cpu"),
        ("total = weights.sum() + torch.tensor(0.0, device=weights.device)", "upload"),
        ("total = torch.masked_select(weights, weights > 0).sum()", "masked_select"),
    ],
)
def test_a_planted_wait_is_found(monkeypatch, line, what):
    planted(monkeypatch, line)
    model, batch = tiny.model().train(), tiny.batch({"a": 9000})
    found = step(model, batch)
    assert f"espnet_dice.dice.losses.weighted_mean: {what}" in found
    with pytest.raises(AssertionError):
        waits.check(found, waits.DICE, waits.LABELS)


@pytest.mark.parametrize(
    "line",
    [
        "total = (weights * torch.ones(weights.shape)).sum()",
        "total = (weights + torch.arange(weights.size(1))).sum()",
    ],
)
def test_planted_tensors_of_two_devices_do_not_meet(monkeypatch, line):
    planted(monkeypatch, line)
    model, batch = tiny.model().train(), tiny.batch({"a": 9000})
    model(**batch)  # on a CPU nothing is wrong
    with pytest.raises(RuntimeError, match="tensors of the device, and of the CPU"):
        step(model, batch)


def test_what_stays_on_the_cpu_is_found():
    class Statistic(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3))

        def forward(self, x):
            return (self.weight * x).sum(), {"share": torch.ones(())}, x.sum()

    with pytest.raises(AssertionError, match="not on the device.*statistic share"):
        step(Statistic(), {"x": torch.ones(3)})


def test_values_are_those_of_the_cpu():
    x = torch.arange(6.0).view(2, 3)
    with Accelerator() as accelerator:
        y = x.to(DEVICE)
        rows = y[1]
        rows += 1  # a view, in place
        assert isinstance(rows, OnDevice) and rows.device == DEVICE
        assert torch.equal(y.cpu(), torch.tensor([[0.0, 1, 2], [4, 5, 6]]))
        assert y.sum().item() == 18 and bool((y >= 0).all())
        with pytest.raises(TypeError, match="to numpy"):
            y.numpy()
        assert torch.arange(3, device=DEVICE).tolist() == [0, 1, 2]
    assert {w.split(": ")[1]: n for w, n in accelerator.waits.items()} == {
        "upload": 1,
        "cpu": 1,
        "item": 2,
        "tolist": 1,
    }
