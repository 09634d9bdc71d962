"""Schedules against numpy's interpolation, and whose steps of which optimizer are counted."""

import gc

import numpy as np
import pytest
import torch
from torch.optim import optimizer

from espnet_dice.hubert.models import schedule

LATER = {"start": 0, "end": 1, "from": 2, "to": 6}


@pytest.mark.parametrize(
    ("value", "numbers"),
    [
        (0.8, [0.8] * 9),
        (LATER, [0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1]),
        ({"start": 1, "end": 0.5, "to": 4}, [1, 0.875, 0.75, 0.625, *[0.5] * 5]),
        ({"start": 2, "end": 0, "from": 3, "to": 3}, [2, 2, 2, *[0] * 6]),
        ({"start": 0, "end": 4, "from": 0.25, "to": 0.75}, [0, 0, 0, 1, 2, 3, 4, 4, 4]),
    ],
)
def test_a_schedule_is_a_straight_line_between_two_updates(value, numbers):
    made = schedule.parse(value, "x", updates=8)
    assert [made.at(n) for n in range(9)] == numbers
    assert (made.most, made.least) == (max(numbers), min(numbers))
    if isinstance(value, dict):
        ends = [made.begin, made.stop], [made.start, made.end]
        plain = np.interp(range(9), *ends)
        assert made.begin == made.stop or plain == pytest.approx(numbers)


def test_a_schedule_says_its_ends():
    said = [str(schedule.parse(x, "x")) for x in (0.5, LATER, {"start": 1, "end": 1, "to": 2})]
    assert said == ["0.5", "0→1", "1"]


def followed():
    model = torch.nn.Linear(2, 1)
    schedule.follow(model, {"x": schedule.parse(LATER, "x"), "y": schedule.parse(3, "y")})
    return model


def test_steps_of_the_own_optimizer_are_counted():
    """Not forward passes, not another model's steps, not one that AMP leaves out."""
    model, other = followed(), followed()
    mine = torch.optim.SGD(model.parameters(), lr=0.1)
    rates = torch.optim.lr_scheduler.LambdaLR(mine, lambda n: 1.0)  # wraps the step
    for _ in range(3):
        model(torch.ones(4, 2)).sum().backward()
        model(torch.ones(4, 2)).sum().backward()
        mine.step()
        rates.step()
    assert (int(model.updates), int(other.updates)) == (3, 0)
    assert schedule.now(model, {"x": schedule.parse(LATER, "x")}) == {"x": 0.25}
    assert schedule.now(model.eval(), {"x": schedule.parse(LATER, "x")}) == {"x": 1}
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    for scale in (float("inf"), 1.0):
        mine.zero_grad()
        scaler.scale(model(torch.ones(4, 2)).sum() * scale).backward()
        scaler.step(mine)
        scaler.update()
    assert int(model.updates) == 4
    again = followed()
    again.load_state_dict(model.state_dict())
    torch.optim.Adam([{"params": [again.bias]}]).step()  # the rest frozen
    assert int(again.updates) == 5


def test_what_does_not_move_is_not_counted_and_nothing_is_left_behind():
    gc.collect()
    hooks = len(optimizer._global_optimizer_post_hooks)
    still = torch.nn.Linear(2, 1)
    schedule.follow(still, {"y": schedule.parse({"start": 3, "end": 3, "to": 9}, "y")})
    assert "updates" not in still.state_dict()
    assert schedule.now(still, {"y": schedule.parse(3, "y")}) == {"y": 3}
    model = followed()
    assert len(optimizer._global_optimizer_post_hooks) == hooks + 1
    del model
    gc.collect()
    assert len(optimizer._global_optimizer_post_hooks) == hooks
