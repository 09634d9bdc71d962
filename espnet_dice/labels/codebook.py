"""The codebook of a label store: how features become records, and what decodes them.

See :mod:`espnet_dice.labels.codec` for the code itself. A record is a row of 16-bit words: the hard
label, the distance to its centroid, and the packed code of the residual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from espnet_dice.io.errors import ConfigError
from espnet_dice.labels import targets

if TYPE_CHECKING:  # coding frames must not cost the import of torch
    import torch

WORD = 16
MAX_CLUSTERS = 1 << WORD
MAX_BITS = 12
"""Most bits of one direction; mixtures asked for no more than 10 within 128 bytes a frame."""
TENSORS = ("centroids", "basis", "scores", "steps", "bits")
"""Attributes that are arrays; :mod:`espnet_dice.labels.codebooks` writes and reads them."""
BY_TAU = ("kl", "spread")
"""Attributes that have a number a temperature, likewise."""


@dataclass(frozen=True)
class Codebook:
    """All that is needed to code frames and to decode distances; R directions are kept.

    Attributes:
        centroids: (K, D) float32.
        basis: (D, R) float64: a residual's coordinates are ``r @ basis``.
        scores: (R, K) float64: coordinates → <r, c_i> up to a constant over i.
        steps: (R,) float64, the quantiser's step of each direction.
        bits: (R,) int64, bits of each direction, 1 … 12.
        own_step: the step of the stored distance to the nearest centroid.
        kl: τ → mean KL in nats of decoded to exact soft labels, on frames not fitted to.
        spread: τ → over how many clusters exact soft labels spread: their perplexity, from 1, a
            hard label, to K, which says nothing.
        soft: False for a store of hard labels only: a record is then the id alone.
    """

    centroids: np.ndarray
    basis: np.ndarray
    scores: np.ndarray
    steps: np.ndarray
    bits: np.ndarray
    own_step: float
    kl: Mapping[float, float] = field(default_factory=dict)
    spread: Mapping[float, float] = field(default_factory=dict)
    soft: bool = True

    @classmethod
    def hard(cls, centroids: np.ndarray) -> Codebook:
        """A codebook of hard labels only: two bytes a frame, no distances."""
        centroids = np.ascontiguousarray(centroids, np.float32)
        k, dim = centroids.shape
        empty = np.zeros((dim, 0)), np.zeros((0, k)), np.zeros(0), np.zeros(0, np.int64)
        return cls(centroids, *empty, own_step=1.0, soft=False)

    @property
    def clusters(self) -> int:
        """K."""
        return len(self.centroids)

    @property
    def width(self) -> int:
        """16-bit words of a record."""
        return 2 + -(-int(self.bits.sum()) // WORD) if self.soft else 1

    @property
    def bytes_per_frame(self) -> int:
        """Of a record."""
        return 2 * self.width

    @property
    def books(self) -> tuple[Codebook, ...]:
        """The only one; see :class:`espnet_dice.labels.codebooks.Codebooks`."""
        return (self,)

    def parts(self, features: Any) -> list[tuple[Codebook, Any]]:
        """Each codebook with the features that it codes."""
        return [(self, features)]

    def encode(self, features: np.ndarray | torch.Tensor) -> np.ndarray:
        """Features → records.

        Args:
            features: (frames, D), NumPy or torch; on a GPU all but the packing is done there.

        Returns:
            (frames, width) uint16: hard label, distance to its centroid, packed code.

        Raises:
            ValueError: another dimension, or NaN or infinite features.
        """
        if getattr(features, "is_cuda", False):
            ids, own, y = self._on_gpu(features)
        else:
            x = np.asarray(features, np.float64)
            ids = targets.hard_labels(x, self.centroids)
            residual = x - self.centroids[ids] if self.soft else x[:, :0]
            own, y = np.sqrt((residual**2).sum(1)), residual @ self.basis[: residual.shape[1]]
        records = np.zeros((len(ids), self.width), "<u2")
        records[:, 0] = ids
        if self.soft:
            records[:, 1] = np.minimum(np.round(own / self.own_step), (1 << WORD) - 1)
            records[:, 2:] = self._pack(self._quantise(y))
        return records

    def as_dict(self) -> dict[str, torch.Tensor]:
        """What :func:`codec.distances` needs, to be kept beside a model.

        Returns:
            ``between`` (K, K), squared distances between centroids; ``bit_scores`` (bits, K),
            what each bit of the code says of <r, c_i>; ``own_step`` (). All float32.

        Raises:
            ConfigError: the codebook is one of hard labels only.
        """
        return dict(self._tables)

    @cached_property
    def _tables(self) -> dict[str, torch.Tensor]:
        import torch

        if not self.soft:
            raise ConfigError(
                "the label store holds hard labels only: label again with --soft true"
            )
        between = targets.distances(self.centroids, self.centroids) ** 2
        np.fill_diagonal(between, 0.0)
        places = np.concatenate([np.arange(0), *(np.arange(b) for b in self.bits)])
        weights = 2.0**places * np.repeat(self.steps, self.bits)
        bit_scores = np.zeros((WORD * (self.width - 2), self.clusters))
        bit_scores[: len(places)] = weights[:, None] * np.repeat(self.scores, self.bits, axis=0)
        return {
            "between": torch.from_numpy(between.astype(np.float32)),
            "bit_scores": torch.from_numpy(bit_scores.astype(np.float32)),
            "own_step": torch.tensor(self.own_step, dtype=torch.float32),
        }

    def _on_gpu(self, features: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Hard labels, distances to their centroids, and coordinates of the residuals."""
        import torch

        x = features.detach().double()
        centroids, basis = (torch.from_numpy(a).to(x) for a in (self.centroids, self.basis))
        ids = targets.hard_labels(x, centroids)
        residual = x - centroids[ids]
        own, y = residual.square().sum(1).sqrt(), residual @ basis
        return tuple(a.cpu().numpy() for a in (ids, own, y))

    def _quantise(self, y: np.ndarray) -> np.ndarray:
        """Coordinates (frames, R) → levels 0 … 2^bits - 1, symmetric about 0."""
        top = 2.0**self.bits - 1
        return np.clip(np.round(y / self.steps + top / 2), 0, top).astype(np.uint16)

    def _pack(self, levels: np.ndarray) -> np.ndarray:
        """Levels (frames, R) → words (frames, width - 2), least significant bits first."""
        places = np.arange(MAX_BITS, dtype=np.uint16)
        bits = (levels[:, :, None] >> places) & 1
        bits = bits[:, places < self.bits[:, None]].astype(np.uint8)
        padded = np.zeros((len(levels), WORD * (self.width - 2)), np.uint8)
        padded[:, : bits.shape[1]] = bits
        return np.packbits(padded, axis=1, bitorder="little").view("<u2")
