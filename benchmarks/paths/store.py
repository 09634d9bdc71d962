"""Soft labels on disk, beside K float16 values a frame; reading them, beside a student's step.

Bound by bytes: K = 500 log-probabilities in float16 are 1000 bytes a frame. All follow from 500
distances, those from the feature's projection on the centroids' span and one norm.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Row, alternate, fixed, median, ratio
from benchmarks.paths.mixture import K, mixture
from benchmarks.paths.student_step import BATCH, FRAMES, batch, ours, training

FITTED, TESTED = 20000, 4000


def rows(options: Any) -> Iterator[Row]:
    """Bytes and KL for two smallest temperatures, then the share of a step."""
    import torch

    from espnet_dice.dice.data_type import labels
    from espnet_dice.dice.loss_terms import SoftLabels
    from espnet_dice.io.fingerprint import Fingerprint
    from espnet_dice.labels import codec, kmeans, store, targets

    torch.set_num_threads(1)
    x = mixture(FITTED + 8192 + TESTED)
    centroids = kmeans.fit(x[:FITTED], K, 0, max_iterations=5)
    tested = x[-TESTED:]
    exact = targets.hard_labels(tested, centroids)
    for tau in (1.0, 5.0):
        book = codec.fit(centroids, x[FITTED:-TESTED], tau=tau)
        name = f"soft labels for τ ≥ {tau:g}"
        size = fixed(book.bytes_per_frame / (2 * K))
        goal = "store bytes" if tau == 5.0 else None
        what = f"{name}: {book.bytes_per_frame} bytes a frame"
        yield Row(what, f"float16: {2 * K} bytes", "of its bytes", size, goal)
        kl = _kl(book, tested, tau)
        yield Row(f"{name}: KL at τ = {tau:g}", "exact", "nats", fixed(kl), "store kl")
        same = float((book.encode(tested)[:, 0] == exact).mean())
        yield Row(f"{name}: hard labels", "exact", "the same", fixed(same))

    frames = {f"u{i}": x[i * FRAMES : (i + 1) * FRAMES] for i in range(BATCH)}
    with tempfile.TemporaryDirectory() as tmp:
        store.write(Path(tmp), book, {u: book.encode(f) for u, f in frames.items()})
        Fingerprint("labels", {}, {}).finish(Path(tmp))
        loader, expand = labels(tmp), SoftLabels(tmp)

        def read() -> torch.Tensor:
            records = torch.from_numpy(np.stack([loader[u] for u in frames]))
            return expand(records, 5.0)

        step = training(ours(), batch())
        spent = alternate({"read": read, "step": step}, options.turns)
    yield Row(
        "reading and expanding",
        "a step of a narrow student",
        "of its time",
        ratio(spent["read"], spent["step"]),
        "store read",
        median(spent["read"]),
        median(spent["step"]),
    )


def _kl(book: Any, features: np.ndarray, tau: float) -> float:
    """Mean KL(exact ‖ decoded) of soft labels in nats, by SciPy."""
    import torch
    from scipy.spatial.distance import cdist
    from scipy.special import rel_entr, softmax

    from espnet_dice.labels import codec

    records = torch.from_numpy(book.encode(features).astype(np.int64))
    decoded = codec.distances(records, book).double().numpy()
    exact = softmax(-cdist(features, book.centroids) / tau, axis=1)
    return float(rel_entr(exact, softmax(-decoded / tau, axis=1)).sum(1).mean())
