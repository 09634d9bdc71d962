"""Signs in a training log that nothing was learned."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean

from espnet_dice.checks.run_warning import RunWarning, percent
from espnet_dice.records.train_log import Training

EPOCHS = 3
"""Fewer say nothing about a curve."""
FLAT = 0.01
"""A training loss that has fallen by less than this share of itself is constant."""
CHANCE = 1.1
"""At chance: below so many times the score of the best guess that hears nothing."""
SKIPPED = 0.01
LINES = 20000
"""Transcripts that are read for that guess: the rest would not change it."""
PARTS = {"train": "training", "valid": "validation"}


def not_finite(training: Training) -> RunWarning | None:
    """Losses that are NaN or infinite."""
    for part, stats in (("training", training.train), ("validation", training.valid)):
        losses = dict(zip(training.epochs, stats.get("loss", ()), strict=False))
        epochs = [epoch for epoch, loss in losses.items() if not math.isfinite(loss)]
        if epochs:
            return RunWarning(
                f"{training.kind}_{training.name}",
                f"the {part} loss is NaN or infinite in {len(epochs)} of {len(training.epochs)} "
                f"epochs, from epoch {epochs[0]} on",
                (
                    "learning rate too high",
                    "no warm-up",
                    "values in the input that are not finite",
                    "a logarithm or division of zero in a loss of one's own",
                ),
                "lower optim_conf lr, or raise warmup_steps; the model is of no use",
            )
    return None


def skipped_updates(training: Training, updates: int, skipped: int) -> RunWarning | None:
    """Updates that ESPnet left out because the gradient was not finite.

    Args:
        training: where.
        updates, skipped: see :func:`train_log.updates`.
    """
    if skipped <= SKIPPED * updates:
        return None
    return RunWarning(
        f"{training.kind}_{training.name}",
        f"{skipped} of {updates} updates were left out: the gradient was not finite",
        ("learning rate too high", "half precision", "an utterance with broken audio"),
        "lower optim_conf lr; look for 'The grad norm is' in train.log",
    )


def constant(training: Training) -> RunWarning | None:
    """A training loss that stays where it began, or rises."""
    losses = training.train.get("loss", [])
    # a log that a launcher began anew shows the end of a curve, which is flat by nature
    if len(losses) < EPOCHS or training.epochs[0] != 1 or not all(map(math.isfinite, losses)):
        return None
    first, last = losses[0], fmean(losses[-max(1, len(losses) // 3) :])
    if first - last > FLAT * abs(first):
        return None
    return RunWarning(
        f"{training.kind}_{training.name}",
        f"the training loss does not fall: {first:.3f} in epoch 1, {last:.3f} in the last third of "
        f"{training.epochs[-1]} epochs",
        (
            "learning rate 0, or far too low",
            "far too high: a dead point was reached in epoch 1",
            "frozen parameters",
            "a warm-up longer than the training",
        ),
        "look at optim0_lr0 and grad_norm in train.log; change optim_conf and scheduler_conf",
    )


def at_chance(
    training: Training, stat: str, chance: Mapping[str, float], guess: str
) -> RunWarning | None:
    """An accuracy that a guess without hearing anything reaches too.

    Args:
        training: whose warm-up is over.
        stat: ``acc`` or ``acc_m``.
        chance: ``train``, ``valid`` or both → accuracy of the best such guess there; to be above
            it in one of them is enough.
        guess: what it does, in words.
    """
    figures = []
    for part, floor in chance.items():
        stats = training.train if part == "train" else training.valid
        scores = [x for x in stats.get(stat, []) if math.isfinite(x)]
        if len(scores) < EPOCHS or max(scores) > CHANCE * floor:
            return None
        figures.append(
            f"{percent(max(scores))} in {PARTS[part]}, where {guess} has {percent(floor)}"
        )
    return RunWarning(
        f"{training.kind}_{training.name}",
        f"accuracy ({stat}) at chance in its best epoch: {' and '.join(figures)}",
        (
            "labels or transcripts of other utterances",
            "learning rate too high or too low",
            "too few updates",
            "silent or broken audio",
        ),
        "hear some utterances beside their labels; compare with the curves in the recipe's "
        "CURVES.md",
    )


def tokens_guess(train: Sequence[Sequence[str]], valid: Sequence[Sequence[str]]) -> float:
    """Accuracy of the token that most often follows the last one, the end included.

    A decoder that is given the right tokens so far and hears nothing learns at least this.

    Args:
        train: tokens of transcripts that it learns from.
        valid: of transcripts that it is scored on.
    """
    follows: dict[str, Counter] = {}
    for text in train:
        tokens = ["<sos>", *text, "<eos>"]
        for last, this in pairwise(tokens):
            follows.setdefault(last, Counter())[this] += 1
    best = {last: count.most_common(1)[0][0] for last, count in follows.items()}
    right = total = 0
    for text in valid:
        tokens = ["<sos>", *text, "<eos>"]
        right += sum(best.get(last) == this for last, this in pairwise(tokens))
        total += len(tokens) - 1
    return right / total if total else 0.0
