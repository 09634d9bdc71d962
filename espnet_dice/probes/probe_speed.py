"""What a model costs on a CPU: seconds of one core for a second of audio."""

import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from espnet_dice.hubert.models.frames import SAMPLE_RATE
from espnet_dice.hubert.upstreams import Upstream

ROUNDS = 3


def cpu_seconds(
    upstreams: Mapping[str, Upstream], waves: Sequence[np.ndarray], rounds: int = ROUNDS
) -> dict[str, list[float]]:
    """CPU-seconds per audio-second of each model, one thread, one utterance a forward.

    The models take turns at every utterance, so that whatever else the machine does is shared.

    Args:
        upstreams: name → model.
        waves: (samples,) each.
        rounds: how often to measure.

    Returns:
        name → one figure a round, sorted.
    """
    audio = sum(map(len, waves)) / SAMPLE_RATE
    figures: dict[str, list[float]] = {name: [] for name in upstreams}
    with _one_thread():
        for upstream in upstreams.values():
            upstream.hidden(waves[:1])  # the first call allocates
        for _ in range(rounds):
            spent = dict.fromkeys(upstreams, 0.0)
            for wave in waves:
                for name, upstream in upstreams.items():
                    start = time.process_time()
                    upstream.hidden([wave])
                    spent[name] += time.process_time() - start
            for name, seconds in spent.items():
                figures[name].append(seconds / audio)
    return {name: sorted(found) for name, found in figures.items()}


def median(figures: Sequence[float]) -> float:
    """The figure to print."""
    return statistics.median(figures)


@contextmanager
def _one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
