"""What is clustered and labelled: a layer of a teacher, or MFCC for the first iteration."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from espnet_dice.hubert.models.frames import RECEPTIVE, SAMPLE_RATE, STRIDE, n_frames
from espnet_dice.io.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch

MFCC = "mfcc"
MFCC_KEY = "mfcc39_50hz"


class Source(Protocol):
    """Features at 50 Hz.

    Attributes:
        key: identifies all that a feature depends on but for the speech.
        dim: of a feature.
        stride: samples between two frames, 320.
    """

    key: str
    dim: int
    stride: int

    def features(self, wave: np.ndarray) -> "torch.Tensor":
        """Samples (S,) at 16 kHz → (frames, dim) float32."""

    def batch(self, waves: Sequence[np.ndarray]) -> "list[torch.Tensor]":
        """The same for several utterances."""


class Mfcc:
    """39-d MFCC (13 with deltas) at 50 Hz: every second frame sees just the stem's samples."""

    key = MFCC_KEY
    dim = 39
    stride = STRIDE

    def features(self, wave: np.ndarray) -> "torch.Tensor":
        """Samples (S,) → (frames, 39) float32.

        Raises:
            DataError: the utterance is shorter than one frame.
        """
        import torch

        from espnet_dice.features import mfcc

        wave = np.asarray(wave)
        if n_frames(len(wave)) == 0:
            raise DataError(f"{len(wave)} samples are less than one frame ({RECEPTIVE}): remove it")
        return torch.from_numpy(np.ascontiguousarray(mfcc(wave, SAMPLE_RATE)[::2]))

    def batch(self, waves: Sequence[np.ndarray]) -> "list[torch.Tensor]":
        """The same for several utterances."""
        return [self.features(wave) for wave in waves]


def load(source: str | Path, layer: int, trust_pickle: bool = False, device: str = "cpu") -> Source:
    """The features of a source. Imports torch, and for a teacher transformers (6 s).

    Args:
        source: ``mfcc``, or what :func:`teacher.load` takes.
        layer: of the teacher, 1-based; without meaning for ``mfcc``.
        trust_pickle: see :func:`teacher.load`.
        device: where a teacher computes.

    Raises:
        ConfigError: there is no such teacher or layer.
    """
    if str(source) == MFCC:
        return Mfcc()
    from espnet_dice.hubert import teacher

    found = teacher.LayerFeatures(teacher.load(source, trust_pickle).to(device), layer)
    if found.stride != STRIDE:
        raise ConfigError(f"{source}: a frame every {found.stride} samples, labels need {STRIDE}")
    return found


def key_of(source: str | Path, layer: int) -> str:
    """The key of a source without loading it.

    Raises:
        ConfigError: there is no such teacher.
    """
    if str(source) == MFCC:
        return MFCC_KEY
    from espnet_dice.hubert import teacher

    return teacher.layer_key(teacher.key_of(source), layer)
