"""Steps of training, here and on the device that is not there."""

import copy
from collections import Counter

import torch

from tests.devices.accelerator import DEVICE, Accelerator, OnDevice

LR = 1e-3


def step(model: torch.nn.Module, batch: dict, seed: int = 0) -> Counter[str]:
    """Two steps of forward, backward and SGD in both places; what comes out is the same.

    Compared are loss, weight, statistics, parameters and buffers.

    Args:
        model: in training; it is on the device afterwards.
        batch: on the CPU, as a collate function gives it.
        seed: of torch's generator.

    Returns:
        Where the host waited for the device in the second step: what is made in the first one and
        kept, such as a codebook there, is no part of it.
    """
    # one model for both: what counts the updates of a schedule knows no copy of it
    state, here = copy.deepcopy(model.state_dict()), Steps(model)
    here(batch, seed)
    wanted = {name: value.clone() for name, value in here(batch, seed + 1).items()}
    model.load_state_dict(state)
    accelerator = Accelerator()
    with accelerator:
        model.zero_grad()
        model.to(DEVICE)
        sent = {k: x.to(DEVICE) if isinstance(x, torch.Tensor) else x for k, x in batch.items()}
        found = Steps(model)
        found(sent, seed)
        accelerator.waits.clear()
        got = found(sent, seed + 1)
        waits = accelerator.waits.copy()
    strangers = [name for name, x in got.items() if not isinstance(x, OnDevice)]
    assert not strangers, f"not on the device: {strangers}"
    for name, value in wanted.items():
        torch.testing.assert_close(
            got[name].value,
            value,
            rtol=1e-5,
            atol=1e-6,
            equal_nan=True,
            msg=lambda said, name=name: f"{name}: {said}",
        )
    return waits


class Steps:
    """A model with its optimizer; a call is one step, and gives what the step leaves by name."""

    def __init__(self, model: torch.nn.Module):
        self.model = model
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(self.trained, LR, momentum=0.9)

    def __call__(self, batch: dict, seed: int) -> dict[str, torch.Tensor]:
        """One step."""
        torch.manual_seed(seed)
        self.optimizer.zero_grad()
        loss, stats, weight = self.model(**batch)
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        found = {f"parameter {n}": p.detach() for n, p in self.model.named_parameters()}
        found |= {f"buffer {n}": b for n, b in self.model.named_buffers()}
        found |= {f"statistic {n}": s for n, s in stats.items() if isinstance(s, torch.Tensor)}
        return found | {"loss": loss.detach(), "weight": weight}
