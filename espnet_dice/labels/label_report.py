"""What a label store is like: size, cluster use, agreement with an alignment."""

from pathlib import Path
from typing import Any

import numpy as np

from espnet_dice.io.errors import DataError
from espnet_dice.labels import quality, store


def compare(reader: store.Reader, alignment: Path) -> dict[str, Any]:
    """Purity and PNMI of hard labels against a frame alignment.

    Args:
        reader: the labels.
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
    names: dict[str, int] = {}
    counts: dict[int, np.ndarray] = {}
    frames = utterances = 0
    for number, line in enumerate(lines, 1):
        utt, *labels = line.split()
        if utt not in reader:
            continue
        ids = reader.ids(utt)
        if abs(len(ids) - len(labels)) > 2:
            raise DataError(
                f"{alignment}:{number}: {utt}: {len(labels)} labels, {len(ids)} frames: an "
                "alignment has one label every 20 ms"
            )
        common = min(len(ids), len(labels))
        phones = np.array([names.setdefault(name, len(names)) for name in labels[:common]])
        for phone in np.unique(phones):
            row = counts.setdefault(int(phone), np.zeros(reader.meta["clusters"], np.int64))
            row += np.bincount(ids[:common][phones == phone], minlength=len(row))
        frames, utterances = frames + common, utterances + 1
    if not frames:
        raise DataError(f"{alignment}: none of the utterances of {reader.directory}")
    joint = np.stack(list(counts.values()))
    return {**quality.agreement(joint), "frames": frames, "utterances": utterances}


def describe(directory: Path, alignment: Path | None = None) -> str:
    """One line about a store: size, cluster use, and agreement with an alignment."""
    reader = store.Reader(directory)
    meta = reader.meta
    line = (
        f"{directory}: {meta['utterances']} utterances, {meta['frames']} frames, "
        f"{meta['bytes_per_frame']} bytes each; {meta['clusters_used']} of {meta['clusters']} "
        f"clusters used, perplexity {meta['perplexity']:.1f}"
    )
    if meta["kl"]:
        line += "; KL " + ", ".join(f"{kl:.1e} (τ {tau})" for tau, kl in meta["kl"].items())
    if alignment is not None:
        a = compare(reader, alignment)
        line += (
            f"; purity {a['phone_purity']:.3f}, cluster purity {a['cluster_purity']:.3f}, PNMI "
            f"{a['pnmi']:.3f} on {a['frames']} frames"
        )
    return line
