"""Weights that rise and fall, in a model that is trained, killed and goes on."""

import copy

import pytest
import torch

from espnet_dice.io.errors import ConfigError
from espnet_dice.kd import schedule
from espnet_dice.kd.distillation_options import DistillationOptions, inverse_errors
from tests.kd.test_model import batch, build, cached, task  # noqa: F401  (fixtures)

ONE = [{"name": "a", "weight": 1.0}]


@pytest.mark.parametrize(("first", "last"), [(0.5, 0.0), (0.0, 0.8), (0.3, 0.3)])
def test_a_ramp_is_linear_and_exact_at_its_ends(first, last):
    ramp = schedule.Ramp(first, last, 4)
    assert [ramp(n) for n in (0, 4, 9)] == [first, last, last]
    assert [ramp(n) for n in (1, 2, 3)] == pytest.approx(
        [first + (last - first) * n / 4 for n in (1, 2, 3)]
    )
    assert ramp.most == max(first, last)


def test_a_weight_that_rises_from_nothing_is_on():
    rising = {"kd_alpha": 0.0, "kd_alpha_end": 0.5, "kd_schedule_batches": 10}
    assert DistillationOptions.wanted(rising) and not DistillationOptions.wanted({"kd_alpha": 0.0})
    assert DistillationOptions.reads_ctc({"kd_ctc_end": 0.1, "kd_schedule_batches": 3})
    assert (
        schedule.largest({"kd_alpha": 0.4, "kd_alpha_end": 0, "kd_schedule_batches": 3}, "kd_alpha")
        == 0.4
    )


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({"kd_alpha": 0.5, "kd_alpha_end": 0.0}, "kd_schedule_batches must be ≥ 1"),
        ({"kd_alpha": 0.5, "kd_schedule_batches": 5}, "and absent elsewhere"),
        ({"kd_alpha": 0.5, "kd_beta_end": "x"}, "kd_beta_end must be a number"),
    ],
)
def test_half_a_schedule_is_refused(conf, said):
    with pytest.raises(ConfigError, match=said):
        schedule.ramps(conf)


def test_weights_by_errors_sum_to_one():
    assert inverse_errors([0.9, 0.8]) == pytest.approx([2 / 3, 1 / 3], abs=1e-6)
    assert sum(inverse_errors([0.31, 0.62, 1.0])) == 1.0


def test_the_weights_fall_batch_by_batch_and_go_on_from_a_checkpoint(task, batch):  # noqa: F811
    falling = {
        "kd_alpha": 0.8, "kd_alpha_end": 0.2, "kd_beta": 0.0, "kd_beta_end": 0.4,
        "kd_ctc": 0.5, "kd_ctc_end": 0.0, "kd_schedule_batches": 2,
        "teachers": ONE, "decoder": {"train_samples": 0},
    }  # fmt: skip
    student = build(task, **falling)
    full = cached(build(task, seed=1), batch, with_ctc=True)
    plain = build(task, decoder={"train_samples": 0}).train()(**batch)[1]["loss_ctc"].item()

    def check(model, alpha, beta, ctc):
        loss, stats, _ = model(**full)
        said = {k: v.item() for k, v in stats.items() if k.startswith("loss")}
        kd = (1 - beta) * said["loss_tok"] + beta * said["loss_unc"]
        att = (1 - alpha) * said["loss_nll"] + alpha * kd
        assert said["loss_att"] == pytest.approx(att, rel=1e-5)
        mixed = (1 - ctc) * said["loss_ctc"] + ctc * said["loss_ctc_kd"]
        assert loss.item() == pytest.approx(0.3 * mixed + 0.7 * att, rel=1e-5)
        assert said["loss_ctc"] == pytest.approx(plain, rel=1e-5)

    check(student.eval(), 0.8, 0.0, 0.5)  # validation is no batch of training
    check(student.train(), 0.8, 0.0, 0.5)
    check(student, 0.5, 0.2, 0.25)
    again = build(task, **falling)
    again.load_state_dict(copy.deepcopy(student.state_dict()))
    for model in (student, again):
        check(model.train(), 0.2, 0.4, 0.0)
        check(model.train(), 0.2, 0.4, 0.0)
    assert "kd_batches" not in build(task, kd_alpha=0.5, teachers=ONE).state_dict()


@pytest.mark.parametrize(("convex", "beta"), [(True, 0.3), (True, 1.5), (False, 0.3)])
def test_matching_may_come_on_top_of_token_kd(task, batch, convex, beta):  # noqa: F811
    student = build(
        task, kd_alpha=0.5, kd_beta=beta, kd_convex=convex, kd_beta_added=True, teachers=ONE,
        decoder={"train_samples": 0},
    )  # fmt: skip
    said = {k: v.item() for k, v in student(**cached(build(task, seed=1), batch))[1].items()
            if k.startswith("loss") and v is not None}  # fmt: skip
    kd = said["loss_tok"] + beta * said["loss_unc"]
    nll = said["loss_nll"] * (0.5 if convex else 1.0)
    assert said["loss_att"] == pytest.approx(nll + 0.5 * kd, rel=1e-5)


def test_the_surer_teacher_is_heard_more(task, batch):  # noqa: F811
    two = [{"name": "a", "weight": 0.5}, {"name": "b", "weight": 0.5}]
    conf = {"kd_alpha": 0.5, "kd_beta": 0.5, "kd_ctc": 0.5, "teachers": two}
    tutors = [build(task, seed=s) for s in (1, 2)]
    tutors[1].decoder.output_layer.weight.data *= 20  # sure of all it says
    full = cached(tutors[0], batch, with_ctc=True)
    full |= cached(tutors[1], batch, "teacher2", with_ctc=True)
    alone = cached(tutors[1], batch, with_ctc=True)
    off = {"decoder": {"train_samples": 0}}
    one, fixed, by = (
        build(task, **c, **off)(**data)[1]
        for c, data in (
            (conf | {"teachers": ONE}, alone), (conf, full),
            (conf | {"kd_teacher_weights": "certainty"}, full),
        )
    )  # fmt: skip
    for key in ("loss_tok", "loss_unc"):
        assert abs(by[key] - one[key]) < 0.5 * abs(fixed[key] - one[key]), key
    assert torch.isfinite(by["loss_ctc_kd"])
    with pytest.raises(ConfigError, match="kd_teacher_weights must be one of"):
        build(task, kd_teacher_weights="best")
