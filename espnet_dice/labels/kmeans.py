"""k-means: k-means++ seeding on a part of the frames, then Lloyd's iterations on all of them.

Public recipes run scikit-learn's MiniBatchKMeans twenty times and keep the best; a few careful
seedings and exact iterations on matrix products give a lower inertia in a fraction of the time
(``benchmarks/run.py kmeans``): by 0 to 6 % on average on mixtures and heavy tails, while in single
cases it is up to 1 % higher, as local minima have it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.labels import seeding
from espnet_dice.labels.seeding import CHUNK

if TYPE_CHECKING:
    import torch

SEED_FRAMES_PER_CLUSTER = 30
"""k-means++ looks at this many frames a cluster; it costs K passes over them."""
SEEDINGS, SEEDINGS_LEAST, SEEDINGS_MOST = 400, 4, 6
"""Seedings that are tried, times K, within limits: with fewer clusters they are cheaper, and luck
matters more. The one with the least inertia on all frames after the warm-up goes on."""
SWAPS = 50
"""Frames of a seeding that are tried in the place of a centroid."""
WARM_ITERATIONS = 10
"""Lloyd's iterations on the frames of the seeding, before those on all frames."""
MAX_ITERATIONS = 50
TOLERANCE = 1e-4
"""Relative gain in inertia below which an iteration is the last one."""


def fit(
    features: np.ndarray | torch.Tensor,
    n_clusters: int,
    seed: int = 0,
    max_iterations: int = MAX_ITERATIONS,
    seedings: int | None = None,
) -> np.ndarray:
    """Centroids of a sample of frames.

    Args:
        features: (frames, D), NumPy or torch; what is on a GPU stays there.
        n_clusters: K.
        seed: the same seed, frames and machine give the same centroids.
        max_iterations: of Lloyd's algorithm on all frames.
        seedings: that are tried; None: 4 to 6, with fewer clusters more. They are most of the time.

    Returns:
        (K, D) float32.

    Raises:
        ConfigError: K below 1.
        DataError: fewer frames than clusters, NaN, or fewer different frames than clusters.
    """
    import torch

    if n_clusters < 1:
        raise ConfigError(f"the number of clusters must be at least 1, not {n_clusters}")
    if len(features) < n_clusters:
        raise DataError(
            f"{len(features)} frames are fewer than {n_clusters} clusters: give more speech, more "
            "--sample_frames, or fewer --clusters"
        )
    x = torch.as_tensor(features).float()
    # in parts: isfinite makes copies of what it looks at
    if not all(bool(torch.isfinite(part).all()) for part in x.split(CHUNK)):
        raise DataError("features are NaN or infinite")
    seeding.check_different(x, n_clusters)
    # on a CPU: the same numbers on every device
    generator = torch.Generator().manual_seed(seed)
    # distances stay the same, |x|² + |c|² - 2xc cancels less
    centre = x.mean(0)
    some, weights = seeding.sample(x, centre, SEED_FRAMES_PER_CLUSTER * n_clusters, generator)
    tried = []
    for _ in range(seedings or min(max(SEEDINGS // n_clusters, SEEDINGS_LEAST), SEEDINGS_MOST)):
        c = seeding.plus_plus(some, weights, n_clusters, generator)
        if n_clusters > 1:
            c = seeding.swap(some, weights, c, SWAPS, generator)
        tried.append(_lloyd(some, c, WARM_ITERATIONS, weights))
    c = min(tried, key=lambda c: _inertia(x, c, centre))
    c = _lloyd(x, c, max_iterations, centre=centre)
    return (c + centre).cpu().numpy()


def inertia(features: np.ndarray | torch.Tensor, centroids: np.ndarray) -> float:
    """Mean squared distance of frames to their nearest centroid (scikit-learn's is the sum)."""
    import torch

    x = torch.as_tensor(features)
    c = torch.as_tensor(centroids, dtype=torch.float32, device=x.device)
    centre = c.mean(0)
    return _inertia(x, c - centre, centre)


def _inertia(x: torch.Tensor, c: torch.Tensor, centre: torch.Tensor) -> float:
    """The same of ``x - centre``."""
    parts = (_assign(part.float() - centre, c)[1].double().sum() for part in x.split(CHUNK))
    return float(sum(parts)) / len(x)


def _lloyd(
    x: torch.Tensor,
    c: torch.Tensor,
    iterations: int,
    weights: torch.Tensor | None = None,
    centre: Any = 0.0,
) -> torch.Tensor:
    """Lloyd's algorithm on weighted frames ``x - centre``, which are never held as a whole."""
    import torch

    before = float("inf")
    heavy = x.new_ones(len(x)) if weights is None else weights
    for n in range(iterations):
        sums = torch.zeros(c.shape, dtype=torch.float64, device=x.device)
        counts = torch.zeros(len(c), dtype=torch.float64, device=x.device)
        total = 0.0
        for part, w in zip(x.split(CHUNK), heavy.split(CHUNK), strict=True):
            part = part - centre
            ids, squared = _assign(part, c)
            _add(sums, ids, part if weights is None else part * w[:, None])
            counts += torch.bincount(ids, w, minlength=len(c))
            total += float((squared * w).double().sum())
        empty = (counts == 0).nonzero().flatten()
        c = torch.where(counts[:, None] > 0, sums / counts[:, None], c.double()).to(c.dtype)
        if len(empty):
            logging.info("k-means: %d empty clusters take far frames", len(empty))
            _fill(x, c, empty, centre)
        gain = (before - total) / max(total, 1e-30)
        logging.debug("k-means: iteration %d, inertia %.4f", n + 1, total / float(heavy.sum()))
        if not len(empty) and gain < TOLERANCE:
            break
        before = total
    return c


def _fill(x: torch.Tensor, c: torch.Tensor, empty: torch.Tensor, centre: Any) -> None:
    """Put each centroid that has no frames on the frame that is farthest from all others."""
    import torch

    used = torch.ones(len(c), dtype=torch.bool, device=c.device)
    used[empty] = False
    others, nearest = c[used], []
    for part in x.split(CHUNK):
        part = part - centre
        # by differences: a frame that lies on a centroid has a distance of exactly 0
        nearest.append((part - others[_assign(part, others)[0]]).square().sum(1))
    away = torch.cat(nearest)
    for cluster in empty.tolist():
        c[cluster] = (x[int(away.argmax())] - centre).to(c.dtype)
        again = [(part - centre - c[cluster]).square().sum(1) for part in x.split(CHUNK)]
        away = torch.minimum(away, torch.cat(again))


def _assign(x: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Nearest centroids and squared distances to them, (frames,) each."""
    scores = c.square().sum(1) - 2 * (x @ c.T)
    least, ids = scores.min(1)
    return ids, (least + x.square().sum(1)).clamp_(min=0)


def _add(sums: torch.Tensor, ids: torch.Tensor, x: torch.Tensor) -> None:
    import torch

    if x.is_cuda:  # index_add_ there adds in an order of its own in every run
        sums += torch.nn.functional.one_hot(ids, len(sums)).to(x.dtype).T.double() @ x.double()
    else:
        sums.index_add_(0, ids, x.double())
