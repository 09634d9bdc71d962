"""torch.compile: a training has the loss curve that it has without.

The graphs are torch's, forward and backward, and what runs them is not: no compiler is needed. On a
GPU its kernels round otherwise.
"""

import copy

import pytest
import torch

from tests.devices.steps import Steps
from tests.hubert import tiny
from tests.kd import test_model as kd
from tests.kd.test_model import batch, task  # noqa: F401

UPDATES = 6
pytestmark = pytest.mark.slow


def curves(model, inputs):
    """Losses of some updates, without and with torch.compile."""
    state, found = copy.deepcopy(model.state_dict()), []
    for run in (model, torch.compile(model, backend="aot_eager")):
        model.load_state_dict(state)
        steps = Steps(model)
        steps.model = run
        found.append([float(steps(inputs, seed)["loss"]) for seed in range(UPDATES)])
    return found


def test_dicehubert():
    soft = [{"name": "dice_hard"}, {"name": "dice_soft"}]
    model = tiny.model(loss=soft, unmasked_weight=0.5).train()
    model.terms["dice_soft"]._soft._tables = [tiny.codebook().as_dict()]
    plain, compiled = curves(model, tiny.batch({"a": 9000, "b": 9000}, tiny.codebook()))
    assert plain[0] != plain[-1] and compiled == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("samples", [0, 4])
def test_a_recogniser_with_a_teacher(task, batch, samples):  # noqa: F811
    said = kd.cached(kd.build(task, seed=1), batch, with_ctc=True)
    conf = {"kd_alpha": 0.5, "kd_beta": 0.5, "kd_ctc": 0.3}
    decoder = {"train_samples": samples}
    teacher = [{"name": "a", "weight": 1.0}]
    model = kd.build(task, teachers=teacher, decoder=decoder, **conf).train()
    plain, compiled = curves(model, said)
    assert plain[0] != plain[-1] and compiled == pytest.approx(plain, rel=1e-5)
