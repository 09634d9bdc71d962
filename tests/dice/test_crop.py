"""Crops on frame boundaries: labels of exactly the frames that are left."""

import numpy as np
import pytest
import torch

from espnet_dice.dice import crop
from espnet_dice.hubert.models.frames import KERNELS, STRIDES, n_frames


def stem_frames(samples: int) -> int:
    """Frames that torch's own convolutions make."""
    for kernel, stride in zip(KERNELS, STRIDES, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def first_samples(speech: np.ndarray) -> np.ndarray:
    """What frame t sees first, by a plain stem: sample 320 t, if samples are their own number."""
    x = torch.from_numpy(speech).double()[None, None]
    for kernel, stride in zip(KERNELS, STRIDES, strict=True):
        weight = torch.zeros(1, 1, kernel, dtype=torch.float64)
        weight[..., 0] = 1
        x = torch.conv1d(x, weight, stride=stride)
    return x[0, 0].numpy()


@pytest.mark.parametrize("chunk", range(8))
def test_labels_and_frames_agree_at_every_length(chunk):
    """All lengths from 400 to 4000 samples, and every crop of each."""
    for samples in range(400 + chunk * 450, min(400 + (chunk + 1) * 450, 4001)):
        frames = n_frames(samples)
        assert frames == stem_frames(samples)
        speech, labels = np.arange(samples), np.arange(frames)
        for wanted in range(1, frames + 1):
            for start in range(frames - wanted + 1):
                s, z = crop.cut(speech, labels, start, wanted)
                assert stem_frames(len(s)) == wanted == len(z)
                assert s[0] == 320 * start and z[0] == start


def test_a_crops_frames_see_what_their_labels_saw():
    samples = np.arange(16000, dtype=np.float64)
    whole = first_samples(samples)
    labels = whole.astype(np.int64)  # a label that says which samples it is of
    rng = np.random.default_rng(0)
    offsets = []
    for _ in range(200):
        wanted = int(rng.integers(1, len(labels) + 1))
        start = crop.crop_start(len(labels), wanted, rng)
        speech, cut = crop.cut(samples, labels, start, wanted)
        offsets.append((first_samples(speech) - cut) / 320)
    assert np.abs(np.concatenate(offsets)).max() == 0


def test_every_start_is_drawn():
    rng = np.random.default_rng(0)
    drawn = np.bincount([crop.crop_start(10, 7, rng) for _ in range(4000)])
    assert len(drawn) == 4 and np.abs(drawn / 1000 - 1).max() < 0.1
    assert crop.crop_start(10, 7, None) == 1 and crop.crop_start(7, 7, rng) == 0


def test_records_are_cut_along_their_frames():
    labels = np.arange(49 * 3).reshape(49, 3)
    _, cut = crop.cut(np.zeros(16000), labels, 5, 4)
    assert np.array_equal(cut, labels[5:9])
    assert crop.cut(np.zeros(16000), None, 5, 4)[1] is None


@pytest.mark.parametrize(("start", "frames"), [(-1, 3), (0, 0), (47, 3)])
def test_a_crop_beyond_the_utterance_is_refused(start, frames):
    with pytest.raises(ValueError, match="of 49"):
        crop.cut(np.zeros(16000), np.zeros(49), start, frames)
    with pytest.raises(ValueError, match="50"):
        crop.crop_start(49, 50, None)
