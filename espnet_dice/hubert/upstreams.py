"""What is clustered, labelled and probed: a frozen SSL model, or spectral features in its place."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from espnet_dice.hubert.formats import teacher_files
from espnet_dice.hubert.models.frames import RECEPTIVE, SAMPLE_RATE, n_frames
from espnet_dice.io.errors import DataError, DiceError

if TYPE_CHECKING:
    import torch


STILL = 1e-3
"""Deviation of an MFCC below which it does not vary: that of digital silence is rounding."""


class Upstream(Protocol):
    """Hidden states at 50 Hz.

    Attributes:
        key: identifies all that a hidden state depends on but for the speech.
        size: number of parameters, without the head of the pre-training.
    """

    key: str
    size: int

    def hidden(
        self, waves: Sequence[np.ndarray], layers: int | None = None
    ) -> "list[list[torch.Tensor]]":
        """Utterances, (samples,) each at 16 kHz → the hidden states of each, (frames, D) each."""


class Features(Protocol):
    """One layer of an upstream, or several, one behind the other in a feature.

    Attributes:
        key: identifies upstream and layers.
        dims: width of each layer.
        dim: of a feature, their sum.
        heights: of each layer, its number by that of all, up to 1.
    """

    key: str
    dims: tuple[int, ...]
    dim: int
    heights: tuple[float, ...]

    def features(self, wave: np.ndarray) -> "torch.Tensor":
        """Samples (S,) at 16 kHz → (frames, dim) float32.

        Raises:
            DataError: the utterance is shorter than one frame.
        """

    def batch(self, waves: Sequence[np.ndarray]) -> "list[torch.Tensor]":
        """The same for several utterances."""


class Spectral:
    """Spectral features, every second frame, which sees just the samples of a stem's frame.

    They are an :class:`Upstream` of one layer, and that layer's :class:`Features`.

    Args:
        key: identifies them.
        dim: width.
        compute: samples (S,) at 16 kHz → (frames, dim) at 100 Hz.
    """

    size = 0
    heights = (1.0,)

    def __init__(self, key: str, dim: int, compute: Callable[[np.ndarray], np.ndarray]):
        self.key = key
        self.dim = dim
        self.dims = (dim,)
        self._compute = compute

    def features(self, wave: np.ndarray) -> "torch.Tensor":
        """Samples (S,) → (frames, dim) float32.

        Raises:
            DataError: the utterance is shorter than one frame.
        """
        import torch

        wave = np.asarray(wave)
        if n_frames(len(wave)) == 0:
            raise DataError(f"{len(wave)} samples are less than one frame ({RECEPTIVE}): remove it")
        return torch.from_numpy(np.ascontiguousarray(self._compute(wave)[::2]))

    def batch(self, waves: Sequence[np.ndarray]) -> "list[torch.Tensor]":
        """The same for several utterances."""
        return [self.features(wave) for wave in waves]

    def hidden(
        self, waves: Sequence[np.ndarray], layers: int | None = None
    ) -> "list[list[torch.Tensor]]":
        """The only layer of each utterance."""
        return [[x] for x in self.batch(waves)]


def _fbank(wave: np.ndarray) -> np.ndarray:
    from espnet_dice.features import fbank

    return fbank(wave, SAMPLE_RATE)


def _mfcc(wave: np.ndarray) -> np.ndarray:
    from espnet_dice.features import mfcc

    return mfcc(wave, SAMPLE_RATE)


def _mfcc_cmvn(wave: np.ndarray) -> np.ndarray:
    found = _mfcc(wave)
    return (found - found.mean(0)) / np.maximum(found.std(0), STILL)


def _mfcc_mel(wave: np.ndarray) -> np.ndarray:
    return np.concatenate([_mfcc(wave), _fbank(wave)], axis=1)


SPECTRAL = {
    "fbank": Spectral("fbank80", 80, _fbank),
    "mfcc": Spectral("mfcc39_50hz", 39, _mfcc),
    "mfcc_cmvn": Spectral("mfcc39_cmvn_50hz", 39, _mfcc_cmvn),
    "mfcc_mel": Spectral("mfcc39_fbank80_50hz", 119, _mfcc_mel),
}
"""Sources that are no model: 80 log-mel energies, SUPERB's baseline; 13 MFCC with deltas, which the
first iteration of HuBERT clusters; and, ours, those with mean 0 and deviation 1 over the utterance,
which have less of the speaker and the line, and MFCC with the energies beside them, as they are."""


def load(source: str | Path, device: str = "cpu", trust_pickle: bool = False) -> Upstream:
    """All layers of a source. Imports torch, and for a model transformers (6 s).

    Args:
        source: of :data:`SPECTRAL`, or what :func:`espnet_dice.hubert.frozen.load` takes.
        device: where a model computes.
        trust_pickle: see there.

    Raises:
        ConfigError: there is no such model.
    """
    if str(source) in SPECTRAL:
        return SPECTRAL[str(source)]
    from espnet_dice.hubert import frozen

    return frozen.load(source, trust_pickle).to(device)


def load_layer(
    source: str | Path,
    layer: int | Sequence[int],
    device: str = "cpu",
    trust_pickle: bool = False,
) -> Features:
    """One layer of a source, or several, see :func:`load`.

    Args:
        layer: 1-based, the output of the whole block, or 0, the input of the first; without
            meaning for :data:`SPECTRAL`.

    Raises:
        ConfigError: there is no such model or layer.
    """
    if str(source) in SPECTRAL:
        return SPECTRAL[str(source)]
    from espnet_dice.hubert import frozen

    return frozen.LayerFeatures(frozen.load(source, trust_pickle).to(device), layer)


def key_of(source: str | Path) -> str:
    """The key of :func:`load`'s result, without loading it: of a model a digest of its files.

    Raises:
        ConfigError: there is no such model.
    """
    if str(source) in SPECTRAL:
        return SPECTRAL[str(source)].key
    return teacher_files.key_of(source)


def is_current(source: str | Path, key: str) -> bool:
    """Whether a result, which names the key of its model, belongs to the present one."""
    try:
        return key_of(source) == key
    except DiceError as err:
        logging.warning("%s", err)
        return False


def layer_key_of(source: str | Path, layer: int | Sequence[int]) -> str:
    """The key of :func:`load_layer`'s result, without loading it.

    Raises:
        ConfigError: there is no such model.
    """
    if str(source) in SPECTRAL:
        return SPECTRAL[str(source)].key
    return teacher_files.layer_key(key_of(source), layer)
