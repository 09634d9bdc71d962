"""Features that are clustered as those of a speech model are: a mixture with a falling spectrum."""

import numpy as np


def mixture(
    frames: int, clusters: int, dim: int, seed: int = 0, fall: float = 0.7
) -> tuple[np.ndarray, np.ndarray]:
    """Features (frames, dim) float32 and the centroids (clusters, dim) float32 they come from.

    Distances are those of HuBERT's features: some 8 to the own centroid, 10 to 20 to others. Flat
    spectra (fall 0) are the hardest to code.
    """
    rng = np.random.default_rng(seed)
    between, within = np.arange(1, dim + 1.0) ** -fall, np.arange(1, dim + 1.0) ** (-0.7 * fall)
    turn = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    centroids = rng.normal(size=(clusters, dim)) * np.sqrt(80 * between / between.sum())
    ids = rng.integers(0, clusters, frames)
    spread = np.sqrt(70 * within / within.sum() * rng.gamma(10, 0.1, size=(frames, 1)))
    features = centroids[ids] + rng.normal(size=(frames, dim)) * spread
    return (features @ turn.T).astype(np.float32), (centroids @ turn.T).astype(np.float32)
