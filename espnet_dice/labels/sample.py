"""Which frames k-means sees: a random sample of bounded size, whatever the corpus.

The choice depends on the utterances' ids and lengths and on the seed alone, so it is known before
any speech is read, and no more speech is read than it needs.
"""

import logging
from collections.abc import Mapping
from zlib import crc32

import numpy as np

from espnet_dice.hubert.models.frames import SAMPLE_RATE, n_frames
from espnet_dice.hubert.upstreams import Features
from espnet_dice.io import checksums
from espnet_dice.io.errors import DataError, DiceError
from espnet_dice.io.progress import track
from espnet_dice.records import feature_dir

SPREAD = 4
"""Chosen utterances hold this many times the frames that are kept: neighbouring frames are alike,
and every frame costs a teacher's forward pass."""
BYTES_PER_VALUE = 4
"""float32."""


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


def most_frames(*dims: int, limit_bytes: float = 2e9) -> int:
    """How many frames k-means can hold in ``limit_bytes``.

    Args:
        dims: of each layer in a feature: all are held, and while k-means works on one that again.
        limit_bytes: of both.
    """
    return int(limit_bytes // (BYTES_PER_VALUE * (sum(dims) + max(dims))))


def collect(
    source: Features, sets: list[feature_dir.FeatureDir], max_frames: int, seed: int
) -> np.ndarray:
    """The sampled frames of some sets, (frames, dim) float32.

    Raises:
        DataError: an utterance is in two sets, or no speech is long enough for a frame.
    """
    lengths: dict[str, int] = {}
    reader: dict[str, feature_dir.Waves] = {}
    for dump in sets:
        checksums.verify(dump.path)
        waves = feature_dir.Waves(dump)
        for utt, n in dump.lengths.items():
            if utt in lengths:
                raise DataError(
                    f"{dump.path}: utterance {utt} is in another set too: "
                    "give each set once, or rename it"
                )
            lengths[utt], reader[utt] = n, waves
    chosen = choose(lengths, max_frames, seed)
    if not chosen:
        raise DataError(f"{sets[0].path}: no utterance is as long as one frame (25 ms)")
    frames = np.empty((sum(map(len, chosen.values())), source.dim), np.float32)
    n = 0
    hours = sum(lengths[utt] for utt in chosen) / SAMPLE_RATE / 3600
    logging.info("k-means hears %d of %d utterances, %.2f h", len(chosen), len(lengths), hours)
    for utt in track(chosen, len(chosen), "features for k-means"):
        try:
            found = source.features(reader[utt][utt])
        except (DiceError, ValueError) as err:
            raise DataError(f"{reader[utt].path}: {utt}: {err}") from err
        kept = found[chosen[utt]].cpu().numpy()
        if not np.isfinite(kept).all():
            raise DataError(
                f"{reader[utt].path}: {utt}: its features are NaN or infinite: did "
                "the training of the model diverge?"
            )
        frames[n : n + len(kept)] = kept
        n += len(kept)
    return frames
