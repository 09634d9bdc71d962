"""The frozen models that are probed, all seen in the same way."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from espnet_dice.hubert.models.frames import SAMPLE_RATE

FBANK = "fbank"


class Upstream(Protocol):
    """A frozen model.

    Attributes:
        key: digest of its parameters and configuration.
        parameters: how many it has, without the head of its pre-training.
    """

    key: str
    parameters: int

    def layers(self, wave: np.ndarray) -> Sequence[torch.Tensor]:
        """Samples (S,) at 16 kHz → one (frames, D) for each layer, at 50 Hz, on the CPU."""


class Fbank:
    """80 log-mel energies, every second frame: what a probe makes of no model at all."""

    key = "fbank80"
    parameters = 0

    def layers(self, wave: np.ndarray) -> list[torch.Tensor]:
        """Samples (S,) → one layer, (frames, 80)."""
        from espnet_dice.features import fbank

        return [torch.from_numpy(fbank(wave, SAMPLE_RATE))[::2]]


class Model:
    """A teacher or a student.

    Args:
        source: whatever :func:`espnet_dice.hubert.teacher.load` takes.
        device: where it computes.
        trust_pickle: see there.
    """

    def __init__(self, source: str, device: str = "cpu", trust_pickle: bool = False):
        from espnet_dice.hubert import teacher

        self._teacher = teacher.load(source, trust_pickle).to(device)
        self.key = self._teacher.key
        self.parameters = sum(p.numel() for p in self._teacher.model.parameters())

    def layers(self, wave: np.ndarray) -> list[torch.Tensor]:
        """Samples (S,) → the input of block 1 and the output of each block, (frames, D) each."""
        return [x.cpu() for x in self._teacher.hidden([wave])[0]]


def load(source: str, device: str = "cpu", trust_pickle: bool = False) -> Upstream:
    """The model of a system; ``fbank`` is none, but log-mel energies, SUPERB's baseline."""
    return Fbank() if source == FBANK else Model(source, device, trust_pickle)


def key_of(source: str) -> str:
    """What identifies a system's model, without loading it."""
    if source == FBANK:
        return Fbank.key
    from espnet_dice.hubert import teacher

    return teacher.key_of(source)
