"""k-means: k-means++ seeding on a part of the frames, then Lloyd's iterations on all of them.

Public recipes run scikit-learn's MiniBatchKMeans twenty times and keep the best; one careful
seeding and a few exact iterations on matrix products give an inertia at least as low in a fraction
of the time (``benchmarks/run.py kmeans``).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from espnet_dice.io.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch

BACKENDS = ("torch", "sklearn", "faiss")
SEED_FRAMES_PER_CLUSTER = 30
"""k-means++ looks at this many frames a cluster; it costs K passes over them."""
SEEDINGS = 4
"""Seedings that are tried; the one with the least inertia after the warm-up goes on."""
WARM_ITERATIONS = 10
"""Lloyd's iterations on the frames of the seeding, before those on all frames."""
MAX_ITERATIONS = 50
TOLERANCE = 1e-4
"""Relative gain in inertia below which an iteration is the last one."""
CHUNK = 8192
"""Frames at a time: bounds the (frames, K) products to 16 MB at K = 500."""
PUBLIC = {
    "n_init": 20,
    "batch_size": 10000,
    "max_iter": 100,
    "max_no_improvement": 100,
    "reassignment_ratio": 0.0,
    "init": "k-means++",
    "tol": 0.0,
}
"""The setting of MiniBatchKMeans that all public HuBERT recipes share."""


def fit(
    features: np.ndarray | torch.Tensor,
    n_clusters: int,
    seed: int = 0,
    backend: str = "torch",
    max_iterations: int = MAX_ITERATIONS,
) -> np.ndarray:
    """Centroids of a sample of frames.

    Args:
        features: (frames, D), NumPy or torch; on a GPU, the ``torch`` backend stays there.
        n_clusters: K.
        seed: the same seed, frames and machine give the same centroids.
        backend: ``torch`` (see above), ``sklearn`` (MiniBatchKMeans with everybody's setting) or
            ``faiss`` (if it is installed).
        max_iterations: of Lloyd's algorithm on all frames.

    Returns:
        (K, D) float32.

    Raises:
        ConfigError: an unknown backend, K below 1, or faiss is not installed.
        DataError: fewer frames than clusters, NaN, or fewer different frames than clusters.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"no such k-means backend {backend!r}; one of {', '.join(BACKENDS)}")
    if n_clusters < 1:
        raise ConfigError(f"the number of clusters must be at least 1, not {n_clusters}")
    if len(features) < n_clusters:
        raise DataError(
            f"{len(features)} frames are fewer than {n_clusters} clusters: give more speech, more "
            "--sample_frames, or fewer --clusters"
        )
    if backend == "torch":
        return _torch(features, n_clusters, seed, max_iterations)
    x = np.ascontiguousarray(
        features.cpu().numpy() if not isinstance(features, np.ndarray) else features, np.float32
    )
    if not np.isfinite(x).all():
        raise DataError("features are NaN or infinite")
    return {"sklearn": _sklearn, "faiss": _faiss}[backend](x, n_clusters, seed, max_iterations)


def inertia(features: np.ndarray | torch.Tensor, centroids: np.ndarray) -> float:
    """Mean squared distance of frames to their nearest centroid (scikit-learn's is the sum)."""
    import torch

    x = torch.as_tensor(features)
    c = torch.as_tensor(centroids, dtype=torch.float32, device=x.device)
    centre = c.mean(0)
    total = sum(
        _assign(part.float() - centre, c - centre)[1].double().sum() for part in x.split(CHUNK)
    )
    return float(total) / len(x)


def _torch(features, n_clusters: int, seed: int, max_iterations: int) -> np.ndarray:
    import torch

    x = torch.as_tensor(features).float()
    # in parts: isfinite makes copies of what it looks at
    if not all(bool(torch.isfinite(part).all()) for part in x.split(CHUNK)):
        raise DataError("features are NaN or infinite")
    # on a CPU: the same numbers on every device
    generator = torch.Generator().manual_seed(seed)
    # distances stay the same, |x|² + |c|² - 2xc cancels less
    centre = x.mean(0)
    wanted = min(len(x), SEED_FRAMES_PER_CLUSTER * n_clusters)
    some = x[torch.randperm(len(x), generator=generator)[:wanted].to(x.device)] - centre
    tried = []
    for _ in range(SEEDINGS):
        start = _plus_plus(some, n_clusters, generator)
        tried.append(_lloyd(some, start, WARM_ITERATIONS, TOLERANCE))
    c = min(tried, key=lambda c: sum(float(_assign(p, c)[1].sum()) for p in some.split(CHUNK)))
    c = _lloyd(x, c, max_iterations, TOLERANCE, centre)
    return (c + centre).cpu().numpy()


def _plus_plus(x: torch.Tensor, k: int, generator: torch.Generator) -> torch.Tensor:
    """Greedy k-means++ (Arthur & Vassilvitskii 2007): of 2 + ln K candidates the best is taken."""
    import math

    import torch

    trials = 2 + int(math.log(k))
    norms = x.square().sum(1)
    first = int(torch.randint(len(x), (), generator=generator))
    chosen = [first]
    nearest = (norms - 2 * (x @ x[first]) + norms[first]).clamp_(min=0)
    for _ in range(1, k):
        cumulative = nearest.double().cumsum(0)
        draws = torch.rand(trials, generator=generator, dtype=torch.float64).to(x.device)
        if not cumulative[-1] > 0:
            raise DataError(
                f"only {len(chosen)} of the frames differ, {k} clusters were asked for: is the "
                "speech silent? Else give fewer --clusters"
            )
        at = torch.searchsorted(cumulative, draws * cumulative[-1]).clamp_(max=len(x) - 1)
        away = norms[at, None] - 2 * (x[at] @ x.T) + norms
        gained = torch.minimum(nearest, away.clamp_(min=0))
        best = int(gained.double().sum(1).argmin())
        nearest = gained[best]
        nearest[at[best]] = 0
        chosen.append(int(at[best]))
    return x[torch.tensor(chosen, device=x.device)]


def _lloyd(
    x: torch.Tensor, c: torch.Tensor, iterations: int, tolerance: float, centre: Any = 0.0
) -> torch.Tensor:
    """Lloyd's algorithm on ``x - centre``, which is never held as a whole."""
    import torch

    before = float("inf")
    for n in range(iterations):
        sums = torch.zeros(c.shape, dtype=torch.float64, device=x.device)
        counts = torch.zeros(len(c), dtype=torch.float64, device=x.device)
        total, far = 0.0, []
        for part in x.split(CHUNK):
            part = part - centre
            ids, squared = _assign(part, c)
            _add(sums, ids, part)
            counts += torch.bincount(ids, minlength=len(c))
            total += float(squared.double().sum())
            worst = int(squared.argmax())
            far.append((float(squared[worst]), part[worst].clone()))
        empty = (counts == 0).nonzero().flatten()
        c = (sums / counts.clamp(min=1)[:, None]).to(c.dtype)
        if len(empty):
            logging.info("k-means: %d empty clusters take far frames", len(empty))
            far.sort(key=lambda pair: -pair[0])
            for cluster, (_, frame) in zip(empty.tolist(), far, strict=False):
                c[cluster] = frame
        gain = (before - total) / max(total, 1e-30)
        logging.debug("k-means: iteration %d, inertia %.4f", n + 1, total / len(x))
        if not len(empty) and gain < tolerance:
            break
        before = total
    return c


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


def _sklearn(x: np.ndarray, n_clusters: int, seed: int, max_iterations: int) -> np.ndarray:
    from sklearn.cluster import MiniBatchKMeans

    model = MiniBatchKMeans(n_clusters, random_state=seed, **PUBLIC).fit(x)
    return model.cluster_centers_.astype(np.float32)


def _faiss(x: np.ndarray, n_clusters: int, seed: int, max_iterations: int) -> np.ndarray:
    try:
        import faiss
    except ImportError as err:
        raise ConfigError("faiss is not installed: pip install faiss-cpu, or use torch") from err
    model = faiss.Kmeans(
        x.shape[1],
        n_clusters,
        niter=max_iterations,
        seed=seed,
        max_points_per_centroid=len(x),  # else it takes 256 frames a cluster only
    )
    model.train(x)
    return model.centroids.astype(np.float32)
