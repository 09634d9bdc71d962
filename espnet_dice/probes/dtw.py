"""Dynamic time warping of many small distance matrices at once."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np


def dtw(d: np.ndarray) -> np.ndarray:
    """Mean distance along the cheapest path, of matrices of one size.

    Steps go one on in either or both sequences, all of weight 1. The cost is divided by the length
    of the path that is read back from the end, which takes a diagonal step where it costs no more
    than another: Libri-Light's ``dtw.pyx``. Length is carried forward beside cost, so no path is
    read back.

    Args:
        d: (P, N, M), not empty.

    Returns:
        (P,) float64.
    """
    cost = np.empty((d.shape[1], d.shape[2], d.shape[0]))
    cost[...] = np.moveaxis(d, 0, 2)
    length = np.ones(cost.shape, np.int32)
    np.cumsum(cost[0], 0, out=cost[0])
    np.cumsum(cost[:, 0], 0, out=cost[:, 0])
    length[0] = np.arange(1, d.shape[2] + 1)[:, None]
    length[:, 0] = np.arange(1, d.shape[1] + 1)[:, None]
    for i in range(1, d.shape[1]):
        for j in range(1, d.shape[2]):
            up, left, diagonal = cost[i - 1, j], cost[i, j - 1], cost[i - 1, j - 1]
            least, steps = (
                np.minimum(left, up),
                np.where(left <= up, length[i, j - 1], length[i - 1, j]),
            )
            length[i, j] += np.where(diagonal <= least, length[i - 1, j - 1], steps)
            cost[i, j] += np.minimum(diagonal, least)
    return cost[-1, -1] / length[-1, -1]


def dtw_all(matrices: Sequence[np.ndarray]) -> np.ndarray:
    """The same for matrices of any sizes, (N, M) each → (P,), those of one size together."""
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, matrix in enumerate(matrices):
        groups[matrix.shape].append(place)
    found = np.empty(len(matrices))
    for places in groups.values():
        found[places] = dtw(np.stack([matrices[i] for i in places]))
    return found
