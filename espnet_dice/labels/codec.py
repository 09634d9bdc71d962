"""A frame's feature as a few bytes, from which its distances to all K centroids follow.

With z the nearest centroid and r = x - c_z the residual,

    |x - c_i|² = |r|² + |c_z - c_i|² - 2 <r, c_i - c_z>.

The hard label z is stored as it is, |r| in 16 bits; |c_z - c_i|² is a table. What is left are the K
inner products <r, c_i>: they are coded on their own principal directions (over frames), each
direction with as many bits as its variance deserves (reverse water-filling), uniformly quantised.

Coding the residual instead of the feature is what makes this small: what the hard label says need
not be said again, and the nearest distance, to which a small τ is most sensitive, stays exact.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.labels import targets
from espnet_dice.labels.codebook import MAX_BITS, MAX_CLUSTERS, WORD, Codebook

TAUS = (1.0, 2.0, 5.0, 10.0)
"""Temperatures at which a codebook's error is measured; the paper's are 1, 5 and 10."""
SPREAD_TAUS = (0.25, 0.5, *TAUS)
"""Those at which users see how sharp soft labels are, to choose one."""
TAU, MAX_KL, MAX_BYTES = 1.0, 1e-3, 128
HEADROOM = 4.0
"""Stored distances reach this many times the largest one of the sample."""
CHUNK = 8192
"""Records decoded at a time: bounds the bits, as floats, to 32 MB at 128 bytes a frame."""
FEWEST_FRAMES, MOST_FRAMES = 64, 12288
"""Of a sample: fewer say nothing, more change nothing and cost memory in float64."""


def distances(
    records: torch.Tensor, codebook: Codebook | Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """L2 distances (not squared) of coded frames to all centroids.

    One matrix product of the code's bits, in float32 also under autocast: bfloat16 would undo the
    code.

    Args:
        records: (…, width) integers, as a :class:`~espnet_dice.labels.store.Reader` gives them.
        codebook: a codebook, or its :meth:`Codebook.as_dict` on the records' device.

    Returns:
        (…, K) float32; the smallest is that of the hard label.

    Raises:
        DataError: records of another width.
        ConfigError: the codebook is one of hard labels only.
    """
    tables = codebook.as_dict() if isinstance(codebook, Codebook) else codebook
    between, bit_scores, own_step = (tables[k] for k in ("between", "bit_scores", "own_step"))
    width = 2 + len(bit_scores) // WORD
    if records.size(-1) != width:
        raise DataError(
            f"labels have {records.size(-1)} words a frame, their codebook has {width}: they come "
            "from another label store"
        )
    with torch.no_grad(), torch.autocast(records.device.type, enabled=False):
        rows = records.reshape(-1, width)
        parts = [_decode(part, between, bit_scores, own_step) for part in rows.split(CHUNK)]
        return torch.cat(parts).reshape(*records.shape[:-1], len(between))


def _decode(
    rows: torch.Tensor, between: torch.Tensor, bit_scores: torch.Tensor, own_step: torch.Tensor
) -> torch.Tensor:
    ids = rows[:, :1].long()
    own = (rows[:, 1:2] * own_step) ** 2
    places = torch.arange(WORD, device=rows.device, dtype=rows.dtype)
    bits = ((rows[:, 2:, None] >> places) & 1).flatten(1).to(bit_scores.dtype)
    # levels are counted from the middle of their range: a bit stands for ± half of its weight
    inner = (bits - 0.5) @ bit_scores
    squared = own + between[ids[:, 0]] - 2 * (inner - inner.gather(1, ids))
    # no other centroid is nearer than that of the hard label
    return torch.maximum(squared, own).sqrt()


def fit(
    centroids: np.ndarray,
    sample: np.ndarray,
    tau: float = TAU,
    max_kl: float = MAX_KL,
    max_bytes: int = MAX_BYTES,
) -> Codebook:
    """The smallest code that is good enough, or the best one of ``max_bytes``.

    A quarter of the sample is kept back to measure the error on.

    Args:
        centroids: (K, D).
        sample: (frames, D) features in random order; the first 12288 are used.
        tau: the smallest temperature that training will use: a smaller one needs more bytes.
        max_kl: mean KL in nats from exact to decoded soft labels, at ``tau`` and above.
        max_bytes: of a frame's record, the two of the hard label included.

    Returns:
        The codebook; a warning is logged where ``max_bytes`` are too few for ``max_kl``.

    Raises:
        ConfigError: K above 65536, fewer than 4 bytes, or options out of range.
        DataError: a sample that is too small, NaN, or of another dimension.
    """
    centroids = np.ascontiguousarray(centroids, np.float32)
    if len(centroids) > MAX_CLUSTERS:
        raise ConfigError(f"K = {len(centroids)}: a label store holds at most {MAX_CLUSTERS}")
    if max_bytes < 4 or not (tau > 0 and max_kl > 0):
        raise ConfigError("soft labels need at least 4 bytes a frame, and tau and max_kl above 0")
    if len(sample) < FEWEST_FRAMES:
        raise DataError(
            f"{len(sample)} frames are too few to fit the label code to, at least {FEWEST_FRAMES}: "
            "give more speech, or --soft false for hard labels only"
        )
    sample = np.asarray(sample[:MOST_FRAMES], np.float64)
    held = len(sample) // 4
    tested = sample[:held]
    try:
        plan = _Plan(centroids, sample[held:])
        exact = targets.distances(tested, centroids)
    except ValueError as err:
        raise DataError(f"sample of features: {err}") from err
    taus = sorted({*TAUS, float(tau)})
    spread = {t: _spread(exact, t) for t in sorted({*SPREAD_TAUS, *taus})}

    def measured(n_bytes: int) -> Codebook:
        code = plan.codebook(n_bytes)
        return replace(code, kl=_kl(code, tested, exact, taus), spread=spread)

    def worst(code: Codebook) -> float:
        # a label that is nearly one-hot at τ may be harder to tell at a larger one
        return max(kl for t, kl in code.kl.items() if t >= tau)

    low, high = 4, max_bytes - max_bytes % 2
    code = measured(high)
    if worst(code) > max_kl:
        logging.warning(
            "soft labels at τ ≥ %g: a mean KL of %.1e nats with %d bytes a frame, where %.1e was "
            "asked for: give more bytes (--max_bytes of the labels stage), or train with a larger "
            "τ",
            tau,
            worst(code),
            code.bytes_per_frame,
            max_kl,
        )
        return code
    while low < high:
        middle = (low + high) // 4 * 2
        tried = measured(middle)
        if worst(tried) <= max_kl:
            code, high = tried, middle
        else:
            low = middle + 2
    return code


def _kl(
    codebook: Codebook, features: np.ndarray, exact: np.ndarray, taus: Sequence[float]
) -> dict[float, float]:
    records = torch.from_numpy(codebook.encode(features).astype(np.int64))
    decoded = distances(records, codebook).double().numpy()
    tiny = np.finfo(np.float64).tiny
    found = {}
    for tau in taus:
        p, q = (np.maximum(targets.from_distances(d, tau), tiny) for d in (exact, decoded))
        found[tau] = float((p * (np.log(p) - np.log(q))).sum(1).mean())
    return found


def _spread(exact: np.ndarray, tau: float) -> float:
    p = np.maximum(targets.from_distances(exact, tau), np.finfo(np.float64).tiny)
    return float(np.exp(-(p * np.log(p)).sum(1).mean()))


class _Plan:
    """Directions and quantisers of a sample, from which codebooks of any size are cut.

    The K inner products of a residual are A r with A the centred centroids; with Σ the residuals'
    covariance, their principal directions U are those of A Σ Aᵀ, and the coordinates are UᵀA r.
    """

    def __init__(self, centroids: np.ndarray, sample: np.ndarray):
        self.centroids = centroids
        ids = targets.hard_labels(sample, centroids)
        residual = sample - centroids[ids]
        a = centroids.astype(np.float64)
        a -= a.mean(0)
        values, vectors = np.linalg.eigh(residual.T @ residual / len(residual))
        root = vectors * np.sqrt(values.clip(0))
        u, deviation, _ = np.linalg.svd(a @ root, full_matrices=False)
        kept = deviation > 1e-6 * deviation.max(initial=0.0)
        self.scores, self.deviation = u[:, kept].T, deviation[kept]
        self.basis = a.T @ u[:, kept]
        farthest = float(np.sqrt((residual**2).sum(1)).max())
        self.own_step = HEADROOM * max(farthest, 1e-6) / ((1 << WORD) - 1)
        self.steps, errors = _quantisers(residual @ self.basis / self.deviation)
        gains = self.deviation[:, None] ** 2 * (errors[:-1] - errors[1:])
        # the direction of the next bit, and the next: where the error falls most
        self.order = np.argsort(-gains, axis=None, kind="stable") // MAX_BITS

    def codebook(self, n_bytes: int) -> Codebook:
        """The best code of ``n_bytes`` a frame, an even number."""
        room = 8 * (n_bytes - 4)
        bits = np.bincount(self.order[:room], minlength=len(self.deviation))
        kept = np.flatnonzero(bits)
        return Codebook(
            self.centroids,
            self.basis[:, kept],
            self.scores[kept],
            self.steps[bits[kept]] * self.deviation[kept],
            bits[kept].astype(np.int64),
            self.own_step,
        )


def _quantisers(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Uniform quantisers of 0 … 12 bits for coordinates of unit variance.

    Args:
        y: (frames, directions): one search, on at most 2^17 values, serves all directions.

    Returns:
        The best steps (13,) and their mean squared errors (13,).
    """
    y = y.ravel()[:: max(1, -(-y.size >> 17))] if y.size else np.zeros(1)
    steps, errors = [1.0], [float((y**2).mean())]
    for bits in range(1, MAX_BITS + 1):
        top = 2**bits - 1
        tried = np.geomspace(1.0, 16.0, 33) / 2**bits
        found = [
            np.square((np.clip(np.round(y / s + top / 2), 0, top) - top / 2) * s - y).mean()
            for s in tried
        ]
        best = int(np.argmin(found))
        steps.append(float(tried[best]))
        errors.append(float(found[best]))
    return np.array(steps), np.array(errors)
