"""What the probes see of a frozen model: every layer's frames on disk, or their means in memory.

An utterance is heard once, alone, whatever the number of probes and seeds. Frames lie as float16
in a file that has no name, so a killed run leaves nothing behind.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from espnet_dice.hubert.models.frames import RECEPTIVE, SAMPLE_RATE, STRIDE, n_frames, n_samples
from espnet_dice.hubert.upstreams import Upstream
from espnet_dice.io.datadir import Utterance
from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.io.progress import track

STATISTICS = 32
"""Training utterances over which a feature's mean and deviation are taken."""
Read = Callable[[Utterance], np.ndarray]
"""Utterance → its samples, (samples,) float32."""


def stacked(upstream: Upstream, wave: np.ndarray, name: str) -> torch.Tensor:
    """All layers of an utterance, (L, frames, D) float32.

    Layers that are not as wide as the last one are left out: they cannot be in one weighted sum.

    Args:
        name: of the utterance, for messages.

    Raises:
        DataError: the utterance has no frame, or the model no finite values for it.
    """
    wanted = n_frames(len(wave))
    if wanted < 1:
        raise DataError(
            f"{name}: {len(wave)} samples are less than one frame ({RECEPTIVE}): remove it"
        )
    found = [x.cpu() for x in upstream.hidden([wave])[0]]
    layers = torch.stack([x for x in found if x.size(-1) == found[-1].size(-1)]).float()
    if layers.size(1) != wanted:
        raise DataError(
            f"{name}: {layers.size(1)} frames, expected {wanted}: the stride is not {STRIDE}"
        )
    if not torch.isfinite(layers).all():
        raise DataError(f"{name}: the model gives NaN or infinite values; did training diverge?")
    return layers


class Scale:
    """Brings each dimension of each layer to mean 0 and deviation 1.

    Linear heads lose nothing by it; one learning rate then suits systems of any scale, and float16
    holds every value.

    Args:
        layers: (L, frames, D) of some training utterances.
    """

    def __init__(self, layers: Iterable[torch.Tensor]):
        count, total, square = 0, 0.0, 0.0
        for x in layers:
            x = x.double()
            count += x.size(1)
            total = total + x.sum(1, keepdim=True)
            square = square + x.square().sum(1, keepdim=True)
        mean = total / count
        deviation = (square / count - mean.square()).clamp(min=0).sqrt()
        constant = deviation <= 1e-6 * mean.abs().clamp(min=1e-6)
        self.mean, self.deviation = mean.float(), deviation.masked_fill(constant, 1.0).float()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(L, frames, D) → the same."""
        return (x - self.mean) / self.deviation


class Frames:
    """Every layer of the utterances that were put in, (L, frames, D) each, in a file without name.

    Args:
        lengths: utterance → frames.
        layers, dim: of the model.
        directory: on the disk to use.
        limit: bytes at most.

    Raises:
        ConfigError: more than ``limit`` is needed.
        OSError: the disk is full.
    """

    def __init__(
        self, lengths: dict[str, int], layers: int, dim: int, directory: Path, limit: float
    ):
        sizes = [layers * n * dim for n in lengths.values()]
        need = 2 * sum(sizes)
        if need > limit:
            raise ConfigError(
                f"the frames of {len(lengths)} utterances, {layers} layers of {dim}, take "
                f"{need / 1e9:.1f} GB of disk for a while, more than --max_gb {limit / 1e9:g}: "
                "raise it, or lower --train_seconds, for all systems alike (of a recipe: in "
                "--probe_args)"
            )
        starts = np.cumsum([0, *sizes])[:-1].tolist()
        self._shape = (layers, dim)
        self._where = dict(zip(lengths, zip(starts, lengths.values(), strict=True), strict=True))
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as f:
            try:
                os.posix_fallocate(f.fileno(), 0, max(1, need))  # a full disk is told here
            except OSError as err:
                raise OSError(err.errno, err.strerror, str(directory)) from err
            self._map = np.memmap(f, dtype=np.float16, mode="r+", shape=(max(1, need // 2),))

    def __len__(self) -> int:
        return len(self._where)

    def put(self, utt: str, layers: torch.Tensor) -> None:
        """Keep (L, frames, D) of an utterance.

        Raises:
            DataError: it has another length than was said.
        """
        start, n = self._where[utt]
        if layers.size(1) != n:
            raise DataError(
                f"{utt}: {layers.size(1)} frames, {n} by the length in its set: its audio has "
                "changed, run the features stage again"
            )
        flat = layers.to(torch.float16).flatten().numpy()
        self._map[start : start + len(flat)] = flat

    def __getitem__(self, utt: str) -> torch.Tensor:
        """(L, frames, D) float32."""
        start, n = self._where[utt]
        layers, dim = self._shape
        values = self._map[start : start + layers * n * dim]
        return torch.from_numpy(values.astype(np.float32)).view(layers, n, dim)


class Features:
    """Frames of some utterances, means over the frames of others.

    Args:
        upstream: the model.
        read: gives samples.
        samples: utterance → how many, for ``whole``.
        whole: utterances whose frames are kept.
        pooled: utterances of which a mean is kept.
        statistics: training utterances, of which the first 32 are for :class:`Scale`: the same
            whichever tasks are wanted.
        crop_s: longest part of a pooled utterance that is heard, from its middle; 0: all.
        directory: for the frames.
        limit: of the frames, in bytes.

    Attributes:
        frames: by utterance.
        means: utterance → (L, D).
        shape: L and D.
    """

    def __init__(
        self,
        upstream: Upstream,
        read: Read,
        samples: Mapping[str, int],
        whole: Sequence[Utterance],
        pooled: Sequence[Utterance],
        statistics: Sequence[Utterance],
        crop_s: float,
        directory: Path,
        limit: float,
    ):
        scale = Scale(stacked(upstream, read(u), u.name) for u in statistics[:STATISTICS])
        layers, _, dim = scale.mean.shape
        self.shape = (layers, dim)
        kept = {utt.id: utt for utt in whole}
        lengths = {key: n_frames(samples[key]) for key in kept}
        self.frames = Frames(lengths, layers, dim, directory, limit)
        self.means: dict[str, torch.Tensor] = {}
        mean_of = {utt.id: utt for utt in pooled}
        todo = kept | mean_of
        for key, utt in track(todo.items(), len(todo), "features"):
            wave = read(utt)
            heard = middle(wave, crop_s)
            x = None
            if key in kept:
                x = scale(stacked(upstream, wave, utt.name))
                self.frames.put(key, x)
            if key in mean_of:
                if x is None or len(heard) < len(wave):
                    x = scale(stacked(upstream, heard, utt.name))
                self.means[key] = x.mean(1)


def middle(wave: np.ndarray, seconds: float) -> np.ndarray:
    """The middle of an utterance, in whole frames, or all of it where it is shorter.

    Args:
        seconds: length wanted; 0: all.
    """
    samples = n_samples(max(1, round(seconds * SAMPLE_RATE / STRIDE)))
    if not seconds or len(wave) <= samples:
        return wave
    first = (len(wave) - samples) // 2 // STRIDE * STRIDE
    return wave[first : first + samples]
