"""k-means, 50 000 × 768, K = 500, beside MiniBatchKMeans with everybody's settings and faiss.

Bound by operations: an iteration of Lloyd's is 2·50 000·768·500 = 38 GFLOP, one matrix product;
seeding decides the inertia. Everybody's settings: n_init 20, batch 10 000, max_iter 100,
max_no_improvement 100, reassignment_ratio 0. That takes minutes, so it has one turn.
"""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import used
from benchmarks.measure import Cost, Row, cost_of, fixed, median, quartiles
from benchmarks.paths.mixture import DIM, K, mixture

FRAMES, TURNS = 50000, 3
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
PEAK = """
import sys
from benchmarks.paths.mixture import K, mixture
from espnet_dice.labels import kmeans
frames = int(sys.argv[1])
kmeans.fit(mixture(frames), K, 0, max_iterations=2)
"""


def ours(x: np.ndarray, seed: int) -> np.ndarray:
    """Centroids."""
    from espnet_dice.labels import kmeans

    return kmeans.fit(x, K, seed)


def quick(x: np.ndarray, seed: int) -> np.ndarray:
    """Ours from one seeding (``--seedings 1``), one iteration on all frames."""
    from espnet_dice.labels import kmeans

    return kmeans.fit(x, K, seed, max_iterations=1, seedings=1)


def public(x: np.ndarray, seed: int) -> np.ndarray:
    """Those of MiniBatchKMeans."""
    from sklearn.cluster import MiniBatchKMeans

    return MiniBatchKMeans(K, random_state=seed, **PUBLIC).fit(x).cluster_centers_


def faiss(x: np.ndarray, seed: int) -> np.ndarray:
    """Those of faiss."""
    from faiss import Kmeans

    # else it takes 256 frames a cluster only
    model = Kmeans(x.shape[1], K, niter=25, seed=seed, max_points_per_centroid=len(x))
    model.train(x)
    return model.centroids


def fit(features: np.ndarray, seed: int, by: Callable) -> tuple[Cost, float]:
    """What a clustering costs, and its inertia."""
    from espnet_dice.labels import kmeans

    found: list[np.ndarray] = []
    cost = cost_of(lambda: found.append(by(features, seed)))
    return cost, kmeans.inertia(features, found[0])


def rows(options: Any) -> Iterator[Row]:
    """Speed and inertia beside both, and the peak on the largest sample that the stage takes."""
    import torch

    from espnet_dice.stages.kmeans import SAMPLE_FRAMES

    torch.set_num_threads(1)
    if options.faiss:
        sys.path.append(options.faiss)
    features = mixture(FRAMES)
    peers = [ours, quick, *([faiss] if importlib.util.find_spec("faiss") else [])]
    turns = {by: [] for by in peers}
    fit(features[:5000], 0, ours)  # imports
    for seed in range(TURNS):
        for by in peers:
            turns[by].append(fit(features, seed, by))
    theirs, their_inertia = fit(features, 0, public)
    cost = median([c for c, _ in turns[ours]])
    inertia = np.array([i for _, i in turns[ours]])
    speed = quartiles([theirs.cpu_s / c.cpu_s for c, _ in turns[ours]])
    name = "MiniBatchKMeans, n_init 20"
    yield Row("k-means", name, "times faster", speed, "kmeans", cost, theirs)
    figure = quartiles(inertia / their_inertia)
    yield Row("its inertia", name, "of its inertia", figure, "kmeans inertia")
    if faiss in turns:
        costs, inertias = zip(*turns[faiss], strict=True)
        beside = "faiss, 25 iterations, its seeding"
        named = {quick: "k-means, one seeding, one iteration on all frames", ours: "k-means"}
        for by, name in named.items():
            took, left = zip(*turns[by], strict=True)
            speed = quartiles([a.cpu_s / b.cpu_s for a, b in zip(costs, took, strict=True)])
            goal = "kmeans faiss" if by is quick else None
            yield Row(name, beside, "times faster", speed, goal, median(took), median(costs))
            figure = quartiles(np.array(left) / np.array(inertias))
            yield Row("its inertia", beside, "of its inertia", figure, "kmeans faiss inertia")
    else:
        yield Row("k-means", "faiss (not installed)", "", None, "kmeans faiss", cost)
    root = Path(__file__).resolve().parents[2]
    took = used.run([sys.executable, "-c", PEAK, str(SAMPLE_FRAMES)], root)
    size = fixed(took.peak_bytes / (4 * DIM * SAMPLE_FRAMES))
    yield Row(
        f"peak memory, {SAMPLE_FRAMES} frames: {took.peak_bytes / 1e9:.1f} GB",
        "those frames in float32",
        "times",
        size,
    )
