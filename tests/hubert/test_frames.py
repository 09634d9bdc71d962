"""Frame counts against the convolutions themselves, for every length from 400 samples up."""

import pytest
import torch

from espnet_dice.hubert.models import frames


def stem_length(samples: int) -> int:
    for kernel, stride in zip(frames.KERNELS, frames.STRIDES, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def test_frames_of_every_length():
    assert [frames.n_frames(n) for n in range(400, 40001)] == [
        stem_length(n) for n in range(400, 40001)
    ]


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_shorter_than_one_frame(samples):
    assert frames.n_frames(samples) == 0


def test_fewest_samples():
    for n in range(1, 500):
        assert frames.n_frames(frames.n_samples(n)) == n
        assert frames.n_frames(frames.n_samples(n) - 1) == n - 1


def test_a_crop_on_a_frame_has_the_frames_of_the_whole():
    torch.manual_seed(0)
    x = torch.randn(1, 1, 8000, dtype=torch.float64)
    layers = [
        torch.nn.Conv1d(1 if i == 0 else 2, 2, kernel, stride, bias=False, dtype=torch.float64)
        for i, (kernel, stride) in enumerate(zip(frames.KERNELS, frames.STRIDES, strict=True))
    ]
    stem = torch.nn.Sequential(*layers)
    whole = stem(x)
    for first, n in ((0, 3), (5, 7), (11, 1)):
        start = frames.first_sample(first)
        part = stem(x[..., start : start + frames.n_samples(n)])
        torch.testing.assert_close(part, whole[..., first : first + n], rtol=1e-12, atol=1e-14)
