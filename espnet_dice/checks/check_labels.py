"""Signs that labels teach nothing: dead clusters, one that takes all."""

from pathlib import Path

import numpy as np

from espnet_dice.checks.run_warning import RunWarning, percent
from espnet_dice.io import fingerprint
from espnet_dice.io.json_files import read_json
from espnet_dice.labels import store

FRAMES = 20
"""A cluster: in fewer frames of the set some are unused by chance."""
MOST, TIMES = 0.2, 5
"""One cluster dominates that has this share of all frames, and so many times its own."""
UTTERANCES = 2000


def use_of(directory: Path) -> list[np.ndarray]:
    """Frames of each cluster, (K,) a codebook, in up to 2000 utterances spread over a store."""
    reader = store.Reader(directory)
    utts = list(reader)
    uses = [np.zeros(one["clusters"], np.int64) for one in store.each(reader.meta)]
    for utt in utts[:: -(-len(utts) // UTTERANCES)]:
        for counts, ids in zip(uses, reader.ids(utt).T.reshape(len(uses), -1), strict=True):
            counts += np.bincount(ids, minlength=len(counts))
    return uses


def dead(meta: dict, where: str) -> RunWarning | None:
    """Clusters that no frame of a whole set has.

    Args:
        meta: ``store.json``, of one codebook.
        where: for the warning.
    """
    used, clusters = meta.get("clusters_used"), meta["clusters"]
    if used is None or used == clusters or meta["frames"] < FRAMES * clusters:
        return None
    return RunWarning(
        where,
        f"{clusters - used} of {clusters} clusters are dead: none of {meta['frames']} frames is "
        "in them",
        (
            "more clusters than kinds of frames",
            "the quantizer was made from other speech, or from another layer's scale",
            "sample_frames too small for so many clusters",
        ),
        "take fewer --clusters, or a larger --sample_frames",
    )


def dominating(counts: np.ndarray, where: str) -> RunWarning | None:
    """A cluster that has far more than its share.

    Args:
        counts: frames of each cluster, (K,).
        where: for the warning.
    """
    share = counts.max() / max(1, counts.sum())
    if share <= max(MOST, TIMES / len(counts)):
        return None
    return RunWarning(
        where,
        f"cluster {counts.argmax()} has {percent(share)} of the frames",
        (
            "silence, or silent files",
            "features whose first dimensions are far larger than the rest",
            "a layer that tells little: the first or the last",
        ),
        "hear some utterances; try another --layer, or cut the silence",
    )


def check(labels: Path) -> list[RunWarning]:
    """The labels of ``exp/labels/<tag>``, by its largest set: what a student learns from."""
    made = [
        (meta["frames"], path, meta)
        for path in sorted(labels.glob("*/"))
        if not path.name.startswith(".")
        and (fingerprint.read(path) or {}).get("done")
        and (meta := read_json(path / store.META))
    ]
    if not made:
        return []
    _, path, meta = max(made, key=lambda entry: entry[0])
    found: list[RunWarning | None] = []
    for number, (one, counts) in enumerate(zip(store.each(meta), use_of(path), strict=True)):
        several = f", codebook {number}" if isinstance(meta["clusters"], list) else ""
        where = f"labels/{labels.name}/{path.name}{several}"
        found += [dead(one, where), dominating(counts, where)]
    return [f for f in found if f]
