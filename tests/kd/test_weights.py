"""Weights that rise and fall, in a model that is trained, killed and goes on."""

import copy

import pytest
import torch

from espnet_dice.export.plain_espnet import plain_state
from espnet_dice.io.errors import ConfigError
from espnet_dice.kd.distillation_options import DistillationOptions, inverse_errors
from espnet_dice.kd.weights import weights
from tests.kd.test_model import batch, build, cached, task  # noqa: F401  (fixtures)

ONE = [{"name": "a", "weight": 1.0}]


RISES = {"start": 0.0, "end": 0.5, "to": 10}


def test_a_weight_that_rises_from_nothing_is_on():
    wanted, reads_ctc = DistillationOptions.wanted, DistillationOptions.reads_ctc
    assert wanted({"kd_alpha": RISES}) and not wanted({"kd_alpha": 0.0}) and not wanted({})
    assert reads_ctc({"kd_ctc": {**RISES, "to": 0.5}, "updates": 9}) and not reads_ctc({})
    assert [one.most for one in weights({"kd_alpha": 0.4, "kd_beta": RISES}).values()] == [
        0.4,
        0.5,
        0,
    ]


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({"kd_alpha": {"start": 0.5, "end": 0.0}}, "kd_alpha: must be a number, or {start"),
        ({"kd_beta": "x"}, "kd_beta: must be a number, or {start"),
        ({"kd_ctc": {**RISES, "to": 0.5}}, "kd_ctc: to: 0.5 is a share, from 0.0 to 1.0, of"),
        ({"kd_ctc": 0.5, "updates": 0.5}, "updates must be a whole number"),
        ({"kd_alpha": {**RISES, "end": 1.5}}, "kd_alpha must be in .* not 0→1.5"),
    ],
)
def test_a_bad_schedule_is_named(task, conf, said):  # noqa: F811
    with pytest.raises(ConfigError, match=said):
        build(task, teachers=ONE, **conf)


def test_weights_by_errors_sum_to_one():
    assert inverse_errors([0.9, 0.8]) == pytest.approx([2 / 3, 1 / 3], abs=1e-6)
    assert sum(inverse_errors([0.31, 0.62, 1.0])) == 1.0


def test_the_weights_fall_step_by_step_and_go_on_from_a_checkpoint(task, batch):  # noqa: F811
    falling = {
        "kd_alpha": {"start": 0.8, "end": 0.2, "to": 2},
        "kd_beta": {"start": 0, "end": 0.4, "to": 2},
        "kd_ctc": {"start": 0.5, "end": 0, "to": 1.0}, "updates": 2,
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
        shown = {"kd_alpha": alpha, "kd_beta": beta, "kd_ctc": ctc} if model.training else {}
        assert {k: v.item() for k, v in stats.items() if k in shown} == pytest.approx(shown)
        model.zero_grad(set_to_none=True)
        loss.backward()  # every process of a distributed training waits for every gradient
        assert not [n for n, p in model.named_parameters() if p.grad is None]

    def step(model):
        torch.optim.SGD(model.parameters(), lr=0.0).step()

    check(student.eval(), 0.2, 0.4, 0.0)  # all epochs are measured alike
    for _ in range(2):  # a forward pass is no step
        check(student.train(), 0.8, 0.0, 0.5)
    step(student)
    check(student, 0.5, 0.2, 0.25)
    step(student)
    again = build(task, **falling)
    again.load_state_dict(copy.deepcopy(student.state_dict()))
    for model in (student, again):
        check(model.train(), 0.2, 0.4, 0.0)
        step(model)
        check(model.train(), 0.2, 0.4, 0.0)
    assert "updates" not in build(task, kd_alpha=0.5, teachers=ONE).state_dict()
    assert student.state_dict().keys() - plain_state(student.state_dict()) == {
        "updates", "decoder.variance.linear.weight", "decoder.variance.linear.bias",
    }  # fmt: skip


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
