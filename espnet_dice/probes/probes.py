"""Probes: what is a frozen model worth? A head is trained in seconds, and scored.

Each head takes a learned weighted sum of the model's layers. The epoch is chosen on the dev part.
A small stand-in for SUPERB (Yang et al. 2021), whose figures these are not.
"""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch

from espnet_dice.io.errors import DataError
from espnet_dice.io.progress import track
from espnet_dice.probes.probe_features import Features
from espnet_dice.probes.probe_scores import interval
from espnet_dice.probes.probe_tasks import Task

LR, LAYER_LR = 0.1, 0.01
"""Adam's learning rates: of the head, over the square root of the features' width; of the layer
weights."""
EPOCHS = {"char": 30, "sid": 60, "kws": 20}
BATCH = {"char": 8, "sid": 16, "kws": 8}


@dataclass(frozen=True)
class Outcome:
    """What a probe found.

    Attributes:
        score: on the test part, in %.
        low, high: its 95 % interval, over the utterances of the test part.
        floor: the same without features, in %.
        epoch: the chosen one, from 1.
        dev_cost: its cost on the dev part.
        layer_weights: share of each layer, the input of the first block first.
        train, dev, test: number of utterances.
    """

    score: float
    low: float
    high: float
    floor: float
    epoch: int
    dev_cost: float
    layer_weights: list[float]
    train: int
    dev: int
    test: int


def probe(
    task: Task,
    features: Features,
    seed: int,
    epochs: int | None = None,
) -> Outcome:
    """Train a head and score it at its best epoch.

    Args:
        task: data and measure.
        features: of the frozen model, for the task's utterances.
        seed: of the head's parameters and the order of the batches.
        epochs: over the training part; None: the task's own number.

    Returns:
        The same, bit by bit, for the same arguments and one thread.
    """
    epochs = EPOCHS[task.name] if epochs is None else epochs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = task.head(features)
    order = np.random.default_rng(seed)
    own = [p for name, p in head.named_parameters() if name != "sum.weights"]
    optimizer = torch.optim.Adam(
        [
            {"params": own, "lr": LR / math.sqrt(features.shape[1])},
            {"params": [head.sum.weights], "lr": LAYER_LR},
        ],
        fused=True,  # one call, not one a tensor
    )
    decay = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda epoch: 0.5 + 0.5 * math.cos(math.pi * epoch / epochs)
    )
    best: tuple[float, int, dict] = (math.inf, 0, {})
    for epoch in track(range(1, epochs + 1), epochs, f"probe {task.name}", "epochs"):
        _train(task, head, features, optimizer, order)
        decay.step()
        with torch.no_grad():
            cost = task.cost(head, features, task.parts.dev)
        if cost < best[0]:
            best = (cost, epoch, copy.deepcopy(head.state_dict()))
    cost, epoch, state = best
    if not state:
        raise DataError(
            f"probe {task.name}: no epoch with a finite dev cost: are the model's states "
            "of a sane size, or did its training diverge?"
        )
    head.load_state_dict(state)
    with torch.no_grad():
        answers = task.answers(head, features, task.parts.test)
    score = float(task.measure(answers, np.ones(len(answers))))
    ends = interval(task.measure, answers)
    sizes = (len(part) for part in (task.parts.train, task.parts.dev, task.parts.test))
    return Outcome(score, *ends, task.floor, epoch, cost, head.sum.shares().tolist(), *sizes)


def _train(task: Task, head, features: Features, optimizer, order: np.random.Generator) -> None:
    utts, size = task.parts.train, BATCH[task.name]
    shuffled = order.permutation(len(utts))
    for first in range(0, len(utts), size):
        batch = [utts[i] for i in shuffled[first : first + size]]
        loss = task.loss(head, features, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
