"""What a label student's predictions know of phones: PNMI of its heads' most probable clusters.

A student hears whole utterances with nothing masked. Of one that learns features, which predicts no
cluster, there is nothing to say.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from espnet_dice.io.errors import ConfigError
from espnet_dice.labels import label_report
from espnet_dice.records import experiment, phones


def predictions(
    student: str | Path, waves: Mapping[str, np.ndarray], utts: Sequence[str]
) -> tuple[dict[str, np.ndarray], list[int]]:
    """The most probable clusters of some utterances, and how many clusters each head has.

    Args:
        student: experiment of a HuBERT.
        waves: utterance → samples, (S,) float32 at 16 kHz.
        utts: utterances.

    Returns:
        Utterance → (frames, heads) int64, heads from the lowest layer up; K of each head. Without
        heads, nothing.

    Raises:
        ConfigError: it wants waveforms of variance 1.
    """
    import torch

    from espnet_dice.training import trainer

    found = experiment.load(student)
    task = trainer.task_class("dice")
    model, _ = task.build_model_from_file(str(found.config), str(found.model_file), "cpu")
    if model.normalized:
        raise ConfigError(f"{student}: hears waveforms of variance 1, which are not made here")
    model.eval()
    heard: dict[str, np.ndarray] = {}
    clusters: list[int] = []
    for utt in utts if model.heads else ():
        with torch.no_grad():
            states = model.student(torch.from_numpy(waves[utt])[None], None, None)
            logits = [logits[0] for _, logits in model.predict(states)]
        clusters = [x.size(-1) for x in logits]
        heard[utt] = torch.stack([x.argmax(-1) for x in logits], 1).numpy()
    return heard, clusters


def pnmi(
    student: str | Path, waves: Mapping[str, np.ndarray], alignment: phones.Alignment
) -> float | None:
    """PNMI of a student's predictions in %, of the best head; None where it has none.

    Args:
        student, waves: see :func:`predictions`.
        alignment: of utterances that ``waves`` has.

    Raises:
        DiceError: see :func:`predictions` and :func:`label_report.compare`.
    """
    heard, clusters = predictions(student, waves, list(alignment))
    each = [
        100 * label_report.compare(lambda utt, n=n: heard[utt][:, n], k, alignment)["pnmi"]
        for n, k in enumerate(clusters)
    ]
    return max(each, default=None)
