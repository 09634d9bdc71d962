"""Seeding of k-means: a part of the frames, k-means++ on it, and swaps of centroids.

Frames (n, D) are weighted: each stands for so many of the whole sample.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from espnet_dice.io.errors import DataError

if TYPE_CHECKING:
    import torch

CHUNK = 8192
"""Frames at a time: bounds the (frames, K) products to 16 MB at K = 500."""
NEAR = 1e-5
"""Of |x|² + |c|²: squared distances below it are mostly what float32 has rounded."""


def check_different(x: torch.Tensor, wanted: int) -> None:
    """Refuse fewer than ``wanted`` different frames; looks no further than it must."""
    different: set[bytes] = set()
    for part in x.split(CHUNK):
        different.update(row.tobytes() for row in (part + 0.0).cpu().numpy())  # -0.0 is 0.0
        if len(different) >= wanted:
            return
    raise too_few(len(different), wanted)


def too_few(different: int, wanted: int) -> DataError:
    return DataError(
        f"only {different} of the frames differ, {wanted} clusters were asked for: is the speech "
        "silent? Else give fewer --clusters"
    )


def sample(
    x: torch.Tensor, centre: torch.Tensor, wanted: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """About ``wanted`` frames less their centre, and how many frames each of them stands for.

    Half of the chance is the same for all frames, half goes by the squared distance to the centre
    (Bachem, Lucic & Krause, "Scalable k-Means Clustering via Lightweight Coresets", 2018): where
    tails are heavy the inertia is that of few frames, and an even sample has none of them. Frames
    whose chance is more than 1 are taken, and leave the chances of the rest to the rest.

    Returns:
        (n, D) float32; weights (n,) float32.
    """
    import torch

    if len(x) <= wanted:
        return x - centre, x.new_ones(len(x))
    squared = torch.cat([(p - centre).double().square().sum(1) for p in x.split(CHUNK)]).cpu()
    chance = torch.ones_like(squared)
    rest = torch.arange(len(x))
    while True:
        left = wanted - (len(x) - len(rest))
        far = squared[rest] / squared[rest].sum().clamp(min=1e-300)
        chance[rest] = left * (far + 1 / len(rest)) / 2
        sure = chance[rest] >= 1
        if not sure.any():
            break
        chance[rest[sure]] = 1.0
        rest = rest[~sure]
    taken = torch.rand(len(x), generator=generator, dtype=torch.float64) < chance
    at = taken.nonzero().flatten()
    weights = (1 / chance[at]).to(x.device, torch.float32)
    return x[at.to(x.device)] - centre, weights


def plus_plus(
    x: torch.Tensor, weights: torch.Tensor, k: int, generator: torch.Generator
) -> torch.Tensor:
    """Greedy k-means++ (Arthur & Vassilvitskii 2007): of 2 + ln K candidates the best is taken."""
    import torch

    trials = 2 + int(math.log(k))
    norms = x.square().sum(1)
    draws = torch.rand(1, generator=generator, dtype=torch.float64).to(x.device)
    at = _drawn(weights, draws)
    nearest = torch.full_like(norms, torch.inf)
    chosen: list[int] = []
    while True:
        away = (norms[at, None] - 2 * (x[at] @ x.T) + norms).clamp_(min=0)
        best = int((torch.minimum(nearest, away) * weights).double().sum(1).argmin())
        chosen.append(int(at[best]))
        if len(chosen) == k:
            return x[torch.tensor(chosen, device=x.device)]
        away = away[best]
        # equal frames have no distance, different ones have one, whatever rounding leaves
        near = (away <= NEAR * (norms + norms[chosen[-1]])).nonzero().flatten()
        away[near] = (x[near].double() - x[chosen[-1]]).square().sum(1).to(away.dtype)
        nearest = torch.minimum(nearest, away)
        draws = torch.rand(trials, generator=generator, dtype=torch.float64).to(x.device)
        if not bool((nearest > 0).any()):
            raise too_few(len(chosen), k)
        at = _drawn(nearest * weights, draws)


def _drawn(weights: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Indices of (n,) weights, by draws from [0, 1); never one of weight 0."""
    import torch

    cumulative = weights.double().cumsum(0)
    at = torch.searchsorted(cumulative, draws * cumulative[-1], right=True)
    return at.clamp_(max=int((weights > 0).nonzero()[-1]))


def swap(
    x: torch.Tensor, weights: torch.Tensor, c: torch.Tensor, tries: int, generator: torch.Generator
) -> torch.Tensor:
    """Move centroids to where they save more than where they were.

    Lattanzi & Sohler, "A Better k-means++ Algorithm via Local Search", ICML 2019: a frame is drawn
    by its squared distance; if it is worth more as a centroid than some other, it takes its place.

    Args:
        x: frames, (n, D).
        weights: theirs, (n,).
        c: centroids, (K, D), K > 1.
        tries: frames that are drawn.

    Returns:
        (K, D), of no more inertia than ``c``.
    """
    import torch

    c, norms = c.clone(), x.square().sum(1)
    nearest, own = _two_nearest(x, norms, c)
    for _ in range(tries):
        first, second = nearest.T
        if not bool((first > 0).any()):
            break
        draws = torch.rand(1, generator=generator, dtype=torch.float64).to(x.device)
        at = int(_drawn(first * weights, draws))
        away = (norms - 2 * (x @ x[at]) + norms[at]).clamp_(min=0)
        kept = torch.minimum(first, away) * weights
        # without a centroid its frames go to their second or to the new one
        more = torch.minimum(second, away) * weights - kept
        lost = torch.bincount(own[:, 0], more.double(), minlength=len(c))
        out = int(lost.argmin())
        if float(kept.double().sum() + lost[out]) < float((first * weights).double().sum()):
            c[out] = x[at]
            again = (own == out).any(1)
            nearest, order = torch.cat([nearest, away[:, None]], 1).topk(2, largest=False)
            own = torch.cat([own, torch.full_like(own[:, :1], out)], 1).gather(1, order)
            nearest[again], own[again] = _two_nearest(x[again], norms[again], c)
    return c


def _two_nearest(
    x: torch.Tensor, norms: torch.Tensor, c: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances to the nearest two centroids, and which these are, (n, 2) each."""
    import torch

    of_c = c.square().sum(1)
    parts = [(of_c - 2 * (p @ c.T)).topk(2, largest=False) for p in x.split(CHUNK)]
    least, ids = (torch.cat(two) for two in zip(*parts, strict=True))
    return (least + norms[:, None]).clamp_(min=0), ids
