"""Cutting an utterance on a frame boundary, so that labels and audio stay together exactly.

Frame t of the whole utterance sees the samples [320 t, 320 t + 400). A crop that begins at sample
320 s has the frames s, s + 1, … and no others, so its labels are those of the whole utterance from
s on: nothing is rounded.
"""

import numpy as np

from espnet_dice.hubert.models.frames import first_sample, n_frames, n_samples


def crop_start(frames: int, wanted: int, rng: np.random.Generator | None) -> int:
    """The first frame of a crop.

    Args:
        frames: of the utterance.
        wanted: of the crop; at most ``frames``.
        rng: every start is equally likely; None takes the middle.
    """
    if wanted > frames:
        raise ValueError(f"a crop of {wanted} frames from an utterance of {frames}")
    spare = frames - wanted
    return spare // 2 if rng is None else int(rng.integers(spare + 1))


def cut(
    speech: np.ndarray, labels: np.ndarray | None, start: int, frames: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Samples and labels of the frames [start, start + frames).

    Args:
        speech: (samples,).
        labels: one row a frame of the whole utterance, or None.
        start: first frame of the crop.
        frames: of the crop.

    Returns:
        Samples that make exactly ``frames`` frames, and their labels.
    """
    if start < 0 or frames < 1 or start + frames > n_frames(len(speech)):
        raise ValueError(f"frames {start} to {start + frames} of {n_frames(len(speech))}")
    begin = first_sample(start)
    cut_labels = None if labels is None else labels[start : start + frames]
    return speech[begin : begin + n_samples(frames)], cut_labels
