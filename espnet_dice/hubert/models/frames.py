"""How samples and frames of a HuBERT-like model correspond.

The convolution stem (kernels 10, 3, 3, 3, 3, 2, 2; strides 5, 2, 2, 2, 2, 2, 2) has no padding:
frame ``t`` sees the samples ``[320 t, 320 t + 400)`` and nothing else. So a crop that begins at a
multiple of 320 samples has exactly the frames of the whole utterance, and labels need no shifting.
"""

SAMPLE_RATE = 16000
KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)
STRIDE = 320
"""Samples between two frames: the product of the strides, 20 ms."""
RECEPTIVE = 400
"""Samples that one frame sees, 25 ms."""


def n_frames(samples: int) -> int:
    """Frames of an utterance; 0 below 400 samples."""
    return max(0, (samples - RECEPTIVE) // STRIDE + 1)


def n_samples(frames: int) -> int:
    """The fewest samples that have ``frames`` frames."""
    return RECEPTIVE + STRIDE * (frames - 1) if frames else 0


def first_sample(frame: int) -> int:
    """Where the samples of a frame begin."""
    return STRIDE * frame
