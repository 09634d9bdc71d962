"""What a label store is like: size, cluster use, agreement with an alignment."""

from pathlib import Path
from typing import Any

import numpy as np

from espnet_dice.io.errors import DataError
from espnet_dice.labels import quality, store


def compare(reader: store.Reader, alignment: Path, codebook: int = 0) -> dict[str, Any]:
    """Purity and PNMI of hard labels against a frame alignment.

    Args:
        reader: the labels.
        codebook: which of the store's.
        alignment: a line an utterance, ``utt label label …`` at 50 Hz; of utterances whose length
            differs from the labels' by up to two frames the common part is taken.

    Returns:
        See :func:`quality.agreement`; and ``frames`` and ``utterances`` that were compared.

    Raises:
        DataError: missing, nothing in common with the labels, or of another frame rate.
    """
    try:
        lines = alignment.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{alignment}: no such alignment") from None
    clusters = store.each(reader.meta)[codebook]["clusters"]
    names: dict[str, int] = {}
    counts: dict[int, np.ndarray] = {}
    frames = utterances = 0
    for number, line in enumerate(lines, 1):
        utt, *labels = line.split()
        if utt not in reader:
            continue
        ids = reader.ids(utt).reshape(reader.frames(utt), -1)[:, codebook]
        if abs(len(ids) - len(labels)) > 2:
            raise DataError(
                f"{alignment}:{number}: {utt}: {len(labels)} labels, {len(ids)} frames: an "
                "alignment has one label every 20 ms"
            )
        common = min(len(ids), len(labels))
        phones = np.array([names.setdefault(name, len(names)) for name in labels[:common]])
        for phone in np.unique(phones):
            row = counts.setdefault(int(phone), np.zeros(clusters, np.int64))
            row += np.bincount(ids[:common][phones == phone], minlength=len(row))
        frames, utterances = frames + common, utterances + 1
    if not frames:
        raise DataError(f"{alignment}: none of the utterances of {reader.directory}")
    joint = np.stack(list(counts.values()))
    return {**quality.agreement(joint), "frames": frames, "utterances": utterances}


def describe(directory: Path, alignment: Path | None = None) -> str:
    """Size of a store, use of its clusters, and agreement with an alignment.

    One line; of several codebooks one more line each.
    """
    reader = store.Reader(directory)
    meta, books = reader.meta, store.each(reader.meta)
    size = (
        f"{directory}: {meta['utterances']} utterances, {meta['frames']} frames, "
        f"{meta['bytes_per_frame']} bytes each"
    )
    kl = ""
    if meta["kl"]:
        kl = "; KL " + ", ".join(f"{kl:.1e} (τ {tau})" for tau, kl in meta["kl"].items())
    if len(books) == 1:
        return f"{size}; {_use(meta)}{kl}{_agreement(reader, alignment)}"
    lines = [
        f"  codebook {n}, layer {one['layer']}: {_use(one)}{_agreement(reader, alignment, n)}"
        for n, one in enumerate(books)
    ]
    return "\n".join([f"{size}{kl}", *lines])


def _use(meta: dict[str, Any]) -> str:
    return (
        f"{meta['clusters_used']} of {meta['clusters']} clusters used, perplexity "
        f"{meta['perplexity']:.1f}"
    )


def _agreement(reader: store.Reader, alignment: Path | None, codebook: int = 0) -> str:
    if alignment is None:
        return ""
    a = compare(reader, alignment, codebook)
    return (
        f"; purity {a['phone_purity']:.3f}, cluster purity {a['cluster_purity']:.3f}, PNMI "
        f"{a['pnmi']:.3f} on {a['frames']} frames"
    )
