"""Which frames k-means sees: a random sample of bounded size, whatever the corpus.

The choice depends on the utterances' ids and lengths and on the seed alone, so it is known before
any speech is read, and no more speech is read than it needs.
"""

from collections.abc import Mapping
from zlib import crc32

import numpy as np

from espnet_dice.dice.frames import n_frames

SPREAD = 4
"""Chosen utterances hold this many times the frames that are kept: neighbouring frames are alike,
and every frame costs a teacher's forward pass."""
BYTES_PER_VALUE = 4 * 2
"""float32, once for the sample and at most once more while k-means works on it."""


def choose(lengths: Mapping[str, int], max_frames: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Choose frames.

    Args:
        lengths: utterance → samples.
        max_frames: how many at most.
        seed: another choice for each.

    Returns:
        Utterance → its chosen frames, sorted; in the order of the ids.
    """
    frames = {utt: n for utt in sorted(lengths) if (n := n_frames(lengths[utt]))}
    taken = frames
    if sum(frames.values()) > SPREAD * max_frames:
        taken, held = {}, 0
        for utt in sorted(frames, key=lambda utt: (crc32(f"{seed} {utt}".encode()), utt)):
            taken[utt] = frames[utt]
            held += frames[utt]
            if held >= SPREAD * max_frames:
                break
    utts = sorted(taken)
    ends = np.cumsum([taken[utt] for utt in utts], dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    if total > max_frames:
        rng = np.random.default_rng(seed)
        places = np.sort(rng.choice(total, max_frames, replace=False))
    else:
        places = np.arange(total)
    edges = np.searchsorted(places, ends)
    starts = np.concatenate([[0], edges[:-1]]).astype(int) if len(edges) else []
    return {
        utt: places[a:b] - (end - taken[utt])
        for utt, a, b, end in zip(utts, starts, edges, ends, strict=True)
        if b > a
    }


def most_frames(dim: int, limit_bytes: float = 2e9) -> int:
    """How many frames of ``dim`` values k-means can hold in ``limit_bytes``."""
    return int(limit_bytes // (BYTES_PER_VALUE * dim))
