"""Features at HuBERT's distances: 8 to the own centroid, 10 to 20 to others."""

import numpy as np

DIM, K = 768, 500


def mixture(frames: int, components: int = 3000, fall: float = 0.7, seed: int = 0) -> np.ndarray:
    """Features (frames, 768) float32 of more components than clusters, as speech has them.

    Args:
        frames: how many.
        components: of the mixture.
        fall: of the spectrum, as k to the power -fall.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    k = np.arange(1.0, DIM + 1)
    between, within = k**-fall, k ** (-0.7 * fall)
    centres = rng.normal(size=(components, DIM)) * np.sqrt(80 * between / between.sum())
    weights = rng.dirichlet(np.full(components, 0.7))
    scale = np.sqrt(50 * within / within.sum()).astype(np.float32)
    features = np.empty((frames, DIM), np.float32)
    for start in range(0, frames, 10000):  # in parts: a peak of memory is measured
        rows = features[start : start + 10000]
        rows[:] = rng.standard_normal(rows.shape, np.float32) * scale
        rows *= np.sqrt(rng.gamma(10, 0.1, (len(rows), 1)))
        rows += centres[rng.choice(components, len(rows), p=weights)]
    return features
