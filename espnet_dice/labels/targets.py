"""Hard and soft labels of features: the targets of DiceHuBERT (arXiv 2507.02911, Eq. 2 and 3).

Everything is computed in float64: an assignment costs under one percent of the teacher's forward
even so, and a label then depends on the feature alone, not on which frames stand beside it in a
matrix product.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # NumPy users must not pay the import of torch
    import torch

    Array = np.ndarray | torch.Tensor

SOFT_TAU = 5.0
"""τ of soft labels where a loss names none; the paper's ablation has 1, 5 and 10."""
CHUNK = 4096
"""Frames at a time: bounds the (frames, K) distances to 16 MB at K = 500."""


def distances(features: Array, centroids: Array) -> Array:
    """L2 distances (not squared): ρ(H, H_i) of Eq. 3.

    Args:
        features: (frames, D), NumPy or torch.
        centroids: (K, D), NumPy or torch.

    Returns:
        (frames, K) float64, of the library and on the device of ``features``.

    Raises:
        ValueError: shapes that do not go together, or features that are NaN or infinite.
    """
    xp, x, c = _pair(features, centroids)
    return _distances(xp, x, c)


def hard_labels(features: Array, centroids: Array) -> Array:
    """Index of the nearest centroid, the lowest one where several are equally near.

    Args:
        features: (frames, D), NumPy or torch.
        centroids: (K, D).

    Returns:
        (frames,) int64, of the library and on the device of ``features``.

    Raises:
        ValueError: see :func:`distances`.
    """
    xp, x, c = _pair(features, centroids)
    if len(x) <= CHUNK:
        return _distances(xp, x, c).argmin(1)
    parts = [_distances(xp, x[i : i + CHUNK], c).argmin(1) for i in range(0, len(x), CHUNK)]
    return xp.concatenate(parts)


def soft_labels(features: Array, centroids: Array, tau: float) -> Array:
    """p(i | H) = softmax_i(-ρ(H, H_i) / τ) with ρ the L2 distance (Eq. 3).

    Args:
        features: (frames, D), NumPy or torch.
        centroids: (K, D).
        tau: temperature, > 0.

    Returns:
        (frames, K), of the library, device and floating type of ``features``.

    Raises:
        ValueError: τ is not positive, or see :func:`distances`.
    """
    labels = from_distances(distances(features, centroids), tau)
    if _library(features) is not np:
        return labels.to(features.dtype if features.is_floating_point() else labels.dtype)
    kind = np.asarray(features).dtype
    return labels.astype(kind if kind.kind == "f" else labels.dtype)


def from_distances(distances: Array, tau: float) -> Array:
    """Eq. 3 where the distances are known: (…, K) → (…, K) of the same type.

    Raises:
        ValueError: τ is not positive.
    """
    if not tau > 0:
        raise ValueError(f"the temperature τ must be > 0, not {tau}")
    xp = _library(distances)
    # the nearest centroid has the largest logit
    p = xp.exp((_least(xp, distances) - distances) / tau)
    return p / p.sum(-1)[..., None]


def margins(features: Array, centroids: Array) -> Array:
    """How much nearer the nearest centroid is than the next one, (frames,) float64.

    A distance changes by no more than the feature does, so a label is safe from an error of ε in
    the feature where the margin is above 2 ε.
    """
    d = distances(features, centroids)
    if d.shape[1] < 2:
        return d[:, 0] + float("inf")
    if _library(d) is np:
        two = np.partition(d, 1, axis=1)
        return two[:, 1] - two[:, 0]
    two = d.topk(2, dim=1, largest=False).values
    return two[:, 1] - two[:, 0]


def _distances(xp: Any, x: Array, c: Array) -> Array:
    squared = (x * x).sum(1)[:, None] + (c * c).sum(1) - 2 * (x @ c.T)
    return squared.clip(0) ** 0.5


def _least(xp: Any, d: Array) -> Array:
    return d.min(-1, keepdims=True) if xp is np else d.amin(-1, keepdim=True)


def _library(array: Array) -> Any:
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(array, torch.Tensor) else np


def _pair(features: Array, centroids: Array) -> tuple[Any, Array, Array]:
    """Both as float64 of the features' library, moved to where the centroids' mean is 0."""
    xp = _library(features)
    if xp is np:
        x = np.asarray(features, dtype=np.float64)
        c = np.asarray(centroids.cpu() if _library(centroids) is not np else centroids, np.float64)
        finite = np.isfinite(x).all()
    else:
        x = features.detach().to(xp.float64)
        c = xp.as_tensor(centroids, dtype=xp.float64, device=x.device)
        finite = bool(xp.isfinite(x).all())
    if x.ndim != 2 or c.ndim != 2 or x.shape[1] != c.shape[1] or not len(c):
        raise ValueError(
            f"features (frames, D) and centroids (K, D) expected: got {tuple(x.shape)} and "
            f"{tuple(c.shape)}"
        )
    if not finite:
        raise ValueError("features are NaN or infinite")
    # distances stay the same, |x|² + |c|² - 2xc cancels less
    centre = c.mean(0)
    return xp, x - centre, c - centre
