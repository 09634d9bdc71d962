"""Schedules of frames and losses: in the loss, over optimizer steps, and across a resume."""

import copy

import pytest
import torch

from espnet_dice.io.errors import ConfigError
from espnet_dice.training.jobs import run_jobs
from tests.dice.test_model import Teacher
from tests.hubert import tiny
from tests.stages.tiny_dice import config, job

LENGTHS = {"a": 9000, "b": 9000}
LATER = {"start": 0, "end": 1, "from": 2, "to": 6}


def step(model):
    """A step that changes nothing."""
    torch.optim.SGD(model.parameters(), lr=0.0).step()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"masked_weight": "1"}, "masked_weight: must be a number, or {start"),
        ({"masked_weight": {"start": 0, "end": 1}}, "masked_weight: must be a number, or {start"),
        ({"masked_weight": {**LATER, "by": 1}}, "masked_weight: must be a number, or {start"),
        ({"masked_weight": {**LATER, "to": True}}, "masked_weight: must be a number, or {start"),
        ({"mask_prob": {**LATER, "from": 9}}, "mask_prob: from 9 is after to 6"),
        ({"mask_prob": {**LATER, "to": 0.5}}, "to: 0.5 is a share, from 0.0 to 1.0, of"),
        ({"mask_prob": {**LATER, "to": 1.5}, "updates": 9}, "to: 1.5 is a share"),
        ({"updates": 0.5}, "updates must be a whole number"),
        ({"masked_weight": LATER}, "no frame counts at update 0"),
        ({"mask_prob": {"start": 0.8, "end": 0, "to": 5}}, "no frame counts at update 5"),
        ({"loss": [{"name": "dice_hard", "weight": LATER}]}, "at update 0 the weight of every"),
        ({"loss": [{"name": "dice_hard", "weight": None}]}, "dice_hard: weight: must be a number"),
    ],
)
def test_a_bad_schedule_is_named(change, message):
    with pytest.raises(ConfigError, match=message):
        tiny.model(**change)


def test_frames_and_losses_weigh_what_their_schedules_say(monkeypatch):
    """At each update the loss is that of a model with plain numbers; in validation the last one."""
    from espnet_dice.dice import loss_terms

    monkeypatch.setattr(loss_terms.Feature, "_load", lambda self, device: Teacher())
    sooner = {"start": 1, "end": 0, "from": 2, "to": 6}

    def made(unmasked, masked, prob, hard, feature):
        loss = [{"name": "dice_hard", "weight": hard}, {"name": "dice_feature", "weight": feature}]
        conf = {"masked_weight": masked, "unmasked_weight": unmasked, "mask_prob": prob}
        return tiny.model(loss=loss, teacher="x", **conf).train()

    moving = made(sooner, LATER, {**LATER, "end": 0.8}, LATER, sooner)
    batch = tiny.batch(LENGTHS)
    for update in range(8):
        s = min(max((update - 2) / 4, 0), 1)
        plain = made(1 - s, s, 0.8 * s, s, 1 - s) if 0 < s < 1 else None
        torch.manual_seed(update)
        loss, stats, weight = moving(**batch)
        assert stats["weight_hard"] == pytest.approx(s) and stats["mask_prob"] == 0.8 * s
        assert ("loss_feature" in stats) == (0 < s < 1)
        if plain is not None:
            torch.manual_seed(update)
            wanted, _, same = plain(**batch)
            assert loss.item() == pytest.approx(wanted.item(), rel=1e-6) and weight == same
        step(moving)
    moving.eval()
    moving.updates.zero_()
    loss, stats, _ = moving(**batch)
    last = made(0, 1, 0.8, 1, 0).eval()
    assert loss.item() == pytest.approx(last(**batch)[0].item(), rel=1e-6)
    assert "weight_hard" not in stats


def test_a_loss_that_does_not_count_is_not_computed_and_keeps_its_gradients(monkeypatch):
    """Processes of a distributed training wait for a gradient of every parameter."""
    from espnet_dice.dice import loss_terms

    heard = Teacher()
    monkeypatch.setattr(loss_terms.Feature, "_load", lambda self, device: heard)
    loss = [{"name": "dice_hard", "weight": {"start": 0, "end": 1, "from": 1, "to": 1}}]
    loss += [{"name": "dice_feature", "weight": {"start": 1, "end": 0, "from": 1, "to": 1}}]
    model = tiny.model(loss=loss, teacher="x").train()
    for asked in (1, 1):
        model.zero_grad(set_to_none=True)
        model(**tiny.batch(LENGTHS))[0].backward()
        names = [name for name, p in model.named_parameters() if p.grad is None]
        assert not names and len(heard.asked) == asked
        step(model)


def test_without_schedules_a_model_is_what_it_was():
    assert "updates" not in tiny.model().state_dict()
    assert tiny.model(masked_weight=LATER, unmasked_weight=0.1).state_dict()["updates"] == 0


def test_steps_are_counted_not_batches(trained_dice, tmp_path, monkeypatch):
    """…and a training that goes on is one that was never interrupted."""
    for name in ("dump", "labels"):
        (tmp_path / name).symlink_to(trained_dice / name)
    monkeypatch.chdir(tmp_path)
    rising = {"start": 0.1, "end": 1, "to": 5}
    conf = {"final_dim": 8, "unmasked_weight": rising, "masked_weight": 1}

    def made(tag, epochs):
        # 6 batches: ESPnet carries what is left of an epoch into the next, and a break loses it
        more = {"model_conf": copy.deepcopy(conf), "accum_grad": 2, "batch_bins": 35000}
        assert run_jobs([job(tag, config(epochs=epochs, **more))]) == 1
        return torch.load(f"exp/dice_{tag}/checkpoint.pth", weights_only=False)

    straight = made("a", 3)
    first = made("b", 1)
    again = made("b", 3)
    steps = {float(s["step"]) for s in straight["optimizers"][0]["state"].values()}
    assert steps == {float(straight["model"]["updates"])} and min(steps) > 5
    assert 0 < first["model"]["updates"] < straight["model"]["updates"]
    for name, value in straight["model"].items():
        assert torch.equal(value, again["model"][name]), name
    log = (tmp_path / "exp/dice_a/train.log").read_text()
    assert "unmasked_weight=" in log and "[valid]" in log
