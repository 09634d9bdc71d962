"""PCA of a layer before k-means: clusters of the directions in which frames differ most.

Ours here; HArnESS (arXiv 2509.14689) has it, so that labels match the capacity of thin students.

Nothing but centroids is kept. With y = B (x - m) the N coordinates of a frame x, rows of B being
orthonormal, and c a centroid of coordinates, c' = m + Bᵀ c is a centroid in the layer's own space:

    |x - c'|² = |y - c|² + |x - m|² - |y|²,

whose last two terms are the same for every centroid. So the nearest c' of x is the nearest c of y,
and labelling, stores and exports know nothing of PCA. Soft labels are those of Eq. 3 with c'.
"""

from dataclasses import dataclass

import numpy as np

from espnet_dice.io.errors import ConfigError

CHUNK = 8192
"""Frames at a time in float64: 50 MB at 768 values."""


@dataclass(frozen=True)
class Pca:
    """Principal directions of some frames.

    Attributes:
        mean: m, (D,) float64.
        basis: B, (N, D) float64, the direction of most variance first.
        share: of the variance, that is in them.
    """

    mean: np.ndarray
    basis: np.ndarray
    share: float

    def coordinates(self, frames: np.ndarray) -> np.ndarray:
        """(frames, D) → (frames, N) float32."""
        found = np.empty((len(frames), len(self.basis)), np.float32)
        for at in range(0, len(frames), CHUNK):
            found[at : at + CHUNK] = (frames[at : at + CHUNK] - self.mean) @ self.basis.T
        return found

    def lifted(self, centroids: np.ndarray) -> np.ndarray:
        """Centroids of coordinates, (K, N), in the layer's space: (K, D) float32."""
        return (self.mean + centroids @ self.basis).astype(np.float32)


def check(number: int, dim: int) -> None:
    """Refuse more directions than a layer of width ``dim`` has, or none.

    Raises:
        ConfigError: naming the option.
    """
    if not 1 <= number <= dim:
        raise ConfigError(f"--pca {number}: give from 1 to {dim}, the width of the layer")


def fit(frames: np.ndarray, number: int) -> Pca:
    """The directions of most variance, no whitening.

    Args:
        frames: (frames, D).
        number: N.

    Raises:
        ConfigError: N is not from 1 to D.
    """
    dim = frames.shape[1]
    check(number, dim)
    mean = frames.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((dim, dim))
    for at in range(0, len(frames), CHUNK):
        part = frames[at : at + CHUNK] - mean
        covariance += part.T @ part
    values, vectors = np.linalg.eigh(covariance)
    basis = vectors[:, ::-1][:, :number].T
    # eigenvectors have no sign of their own
    largest = np.take_along_axis(basis, np.abs(basis).argmax(1)[:, None], axis=1)
    share = float(values[::-1][:number].sum() / max(values.sum(), 1e-300))
    return Pca(mean, basis * np.sign(largest), share)
