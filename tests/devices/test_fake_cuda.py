"""A forward pass on a GPU that is not there: torch's own fake tensors, which know ``cuda``.

It needs a build of torch for GPUs, and no GPU. Backward does not run so; steps of training are on
the device of :mod:`tests.devices.accelerator`.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from espnet_dice.hubert.models import students
from espnet_dice.kd import losses
from espnet_dice.kd.variance import VarianceHead, log_mean_softmax
from tests.hubert import tiny
from tests.hubert.tiny_models import MEL

pytestmark = pytest.mark.skipif(not torch.version.cuda, reason="torch was built without CUDA")
CUDA = torch.device("cuda", 0)


def forward(model, *inputs):
    """What a model gives there for inputs of these shapes and types."""
    with FakeTensorMode(), torch.no_grad():
        state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        state = {
            name: torch.empty(x.shape, dtype=x.dtype, device=CUDA) for name, x in state.items()
        }
        given = [x and torch.empty(*x, device=CUDA) for x in inputs]
        return torch.func.functional_call(model, state, tuple(given))


@pytest.mark.parametrize("conf", [{}, MEL | {"conv_dim": [8, 8]}], ids=["convolutions", "mel"])
def test_a_student(conf):
    model = students.build("hubert", {**tiny.STUDENT, **conf}).eval()
    hidden = forward(model, (2, 9000), None, None, None)
    assert {x.device for x in hidden} == {CUDA}
    assert {x.shape[:2] for x in hidden} == {(2, 27)}


def test_what_stays_on_the_cpu_is_found():
    class Strange(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) + torch.ones(x.size(0), 1)

    with pytest.raises(RuntimeError, match="(?i)device"):
        forward(Strange(3, 2), (4, 3))


@pytest.mark.parametrize("vector", losses.UNC_VECTORS)
def test_uncertainty(vector):
    """The variance head, its noise, and the matching of two of them."""

    class Matching(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = torch.nn.Linear(16, 7)
            self.student, self.teacher = VarianceHead(16, 7, "softplus"), VarianceHead(16, 7, "exp")

        def forward(self, hidden):
            student, teacher = self.student(hidden), self.teacher(hidden)
            said = log_mean_softmax(self.logits(hidden), student, 3)
            valid = hidden.new_ones(hidden.shape[:2], dtype=torch.bool)
            norms = losses.UNC_NORMS
            found = [
                losses.uncertainty_matching(student, teacher, valid, vector, norm) for norm in norms
            ]
            return said, *found

    said, *found = forward(Matching(), (2, 5, 16))
    assert said.device == CUDA and said.shape == (2, 5, 7)
    assert all(x.device == CUDA and x.shape == () for x in found)
