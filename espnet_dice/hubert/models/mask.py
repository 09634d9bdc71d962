"""Which frames are hidden from the student: spans, drawn for each utterance by itself.

HuBERT's setting (fairseq's ``mask_prob 0.80, mask_length 10``): 8 % of the frames begin a span of
10, spans may overlap, and about 57 % of the frames are masked. ``mask_prob`` is the share that
spans would cover if they never overlapped, not the share of starts.
"""

from collections.abc import Sequence
from zlib import crc32

import numpy as np
import torch

MASK_PROB, MASK_LENGTH = 0.80, 10


def span_mask(
    frames: int,
    rng: np.random.Generator,
    mask_prob: float = MASK_PROB,
    mask_length: int = MASK_LENGTH,
) -> np.ndarray:
    """The mask of one utterance, which depends on its own length only.

    The number of spans is ``mask_prob * frames / mask_length``, rounded up or down at random, at
    least one. A span is never longer than half the utterance, so that a very short one, too, is
    masked in part.

    Args:
        frames: T of the utterance.
        rng: what is drawn from.
        mask_prob: 0 masks nothing.
        mask_length: frames of a span.

    Returns:
        (T,) bool, True where masked; for T ≥ 2 at least one frame is masked and one is not. A
        single frame stays unmasked.
    """
    mask = np.zeros(frames, dtype=bool)
    if mask_prob <= 0 or frames < 2:
        return mask
    length = min(mask_length, frames // 2)
    number = int(mask_prob * frames / length + rng.random())
    places = frames - length + 1
    starts = rng.choice(places, size=min(max(number, 1), places), replace=False)
    mask[(starts[:, None] + np.arange(length)).ravel()] = True
    if mask.all():
        mask[rng.integers(frames)] = False
    return mask


def pad_masks(masks: Sequence[np.ndarray], frames: int) -> torch.Tensor:
    """Masks of a batch, (B, T) bool; what lies behind an utterance's end is not masked."""
    out = torch.zeros(len(masks), frames, dtype=torch.bool)
    for row, mask in zip(out, masks, strict=True):
        row[: len(mask)] = torch.from_numpy(mask)
    return out


def utterance_rng(seed: int, utt: str) -> np.random.Generator:
    """Random numbers for one utterance: another batch or process changes nothing about them."""
    return np.random.default_rng([seed, crc32(utt.encode())])
