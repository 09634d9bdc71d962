"""A step of recognisers and their teachers on a device that is not there."""

import itertools

import pytest
import torch

from espnet_dice.kd import losses
from tests.devices import waits
from tests.devices.steps import step
from tests.devices.waits import check
from tests.hubert import tiny
from tests.hubert.tiny_models import MEL
from tests.kd import test_model as kd
from tests.kd.test_model import batch, task  # noqa: F401

TEACHER = [{"name": "a", "weight": 1.0}]
SPECAUG = {
    "time_warp_window": 5,
    "apply_freq_mask": True,
    "freq_mask_width_range": [0, 5],
    "apply_time_mask": True,
    "time_mask_width_range": [0, 5],
}
ALL = {"kd_alpha": 0.5, "kd_beta": 0.5, "kd_ctc": 0.3}


@pytest.fixture
def said(task, batch):  # noqa: F811
    """A batch with what a teacher says of it."""
    return kd.cached(kd.build(task, seed=1), batch, with_ctc=True)


@pytest.mark.parametrize(
    ("conf", "expected"),
    [
        ({"kd_alpha": 0.0}, []),
        ({"kd_alpha": 0.5}, [waits.CACHED]),
        ({"kd_alpha": 0.5, "kd_temperature": 2.0, "kd_beta": 0.3}, [waits.CACHED]),
        ({"kd_ctc": 0.3}, [waits.CACHED, waits.CTC]),
        ({**ALL, "specaug": SPECAUG}, [waits.CACHED, waits.CTC]),
        ({**ALL, "kd_teacher_weights": "certainty"}, [waits.CACHED, waits.CTC]),
        (
            {**ALL, "kd_alpha": {"start": 0.5, "end": 0.1, "to": 5}},
            [waits.CACHED, waits.CTC, waits.SCHEDULE],
        ),
        ({**ALL, "decoder": {"train_samples": 0, "variance": "relu"}}, [waits.CACHED, waits.CTC]),
    ],
    ids=["teacher", "tokens", "matching", "ctc", "specaug", "certainty", "schedule", "no samples"],
)
def test_a_step_with_cached_teachers(task, said, conf, expected):  # noqa: F811
    two = {f"teacher2{k.removeprefix('teacher1')}": x for k, x in said.items() if "teacher1" in k}
    entries = [{"name": "a", "weight": 0.75}, {"name": "b", "weight": 0.25}]
    model = kd.build(task, teachers=entries, **conf)
    check(step(model.train(), said | two), waits.KD, *expected)


@pytest.mark.parametrize("norm", losses.UNC_NORMS)
def test_a_step_of_uncertainty_matching(task, said, norm):  # noqa: F811
    vector = losses.UNC_VECTORS[losses.UNC_NORMS.index(norm) % len(losses.UNC_VECTORS)]
    model = kd.build(task, teachers=TEACHER, **ALL, unc_vector=vector, unc_norm=norm)
    check(step(model.train(), said), waits.KD, waits.CACHED, waits.CTC)


class Matching(torch.nn.Module):
    """Variances as parameters, and their loss."""

    def __init__(self, vector, norm):
        super().__init__()
        self.student = torch.nn.Parameter(torch.rand(2, 3, 7))
        self.vector, self.norm = vector, norm

    def forward(self, teacher, valid):
        loss = losses.uncertainty_matching(self.student, teacher, valid, self.vector, self.norm)
        return loss, {}, valid.sum()


@pytest.mark.parametrize(
    ("vector", "norm"), itertools.product(losses.UNC_VECTORS, losses.UNC_NORMS)
)
def test_every_form_of_matching_waits_for_nothing(vector, norm):
    torch.manual_seed(0)
    given = {"teacher": torch.rand(2, 3, 7), "valid": torch.rand(2, 3) < 0.7}
    check(step(Matching(vector, norm), given))


@pytest.mark.parametrize("samples", [0, 5])
def test_a_step_with_online_teachers(task, batch, samples):  # noqa: F811
    entry = [{"name": "a", "weight": 1.0, "exp": "x"}]
    model = kd.build(
        task, teachers=entry, teacher_mode="online", teacher_samples=samples, **ALL
    ).train()
    # a part of the model here, so that it goes to the device with it
    model.tutor = kd.build(task, seed=1).requires_grad_(False)
    model._online.models = [model.tutor]
    expected = [waits.KD, waits.CTC, waits.ONLINE, waits.NOISE if samples else {}]
    check(step(model, batch), *expected)


class Encoded(torch.nn.Module):
    """An SSL encoder with a loss of a kind."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, speech, lengths):
        x, frames, _ = self.encoder(speech, lengths)
        return x.square().mean(), {}, frames.sum()


@pytest.mark.parametrize(
    ("conf", "expected"),
    [
        ({}, [waits.GROUP_NORM]),
        ({"freeze": "all", "output_size": 8}, [waits.GROUP_NORM]),
        (
            {"mask_prob": 0.5, "freeze_steps": 1, "subsample": 2},
            [waits.GROUP_NORM, waits.MASKS, waits.STEPS],
        ),
        ({"weighted_sum": True, "mel": True}, []),
    ],
)
def test_a_step_of_an_ssl_model_as_encoder(conf, expected):
    from espnet_dice.hubert.ssl import SSLEncoder

    torch.manual_seed(0)
    more = MEL | {"conv_dim": [8, 8]} if conf.get("mel") else {}
    said = {"student": "hubert", "student_conf": {**tiny.STUDENT, **more}, "normalize": True}
    conf = {k: v for k, v in conf.items() if k != "mel"}
    model = Encoded(SSLEncoder(architecture=said, **conf)).train()
    lengths = torch.tensor([9000, 5005])
    given = {"speech": torch.randn(2, 9000), "lengths": lengths}
    check(step(model, given), waits.SSL_ENCODER, waits.PADDED, *expected)
