"""MFCC with deltas (kaldi-native-fbank): what the first iteration of HuBERT clusters."""

import numpy as np

from espnet_dice.features.fbank import run
from espnet_dice.features.wave import check_wave, int16_scale

N_CEPS = 13
WINDOW = 2
"""Frames on either side of a delta (Kaldi's and torchaudio's default: a span of 5)."""


def mfcc(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    """13 cepstra with their first and second deltas, 25 ms every 10 ms.

    As HuBERT's recipe (fairseq's ``dump_mfcc_feature.py``) has them: Kaldi's defaults, no energy,
    no normalisation, deltas over ±2 frames with the edges repeated; whole frames only.

    Args:
        wave: (samples,) int16 (others: :func:`wave.as_mono`), or float in [-1, 1].
        sample_rate: in Hz.

    Returns:
        (frames, 39) float32, at 100 Hz.

    Raises:
        ValueError: a wave that is not mono, of integers or of floats in [-1, 1], or NaN in it.
    """
    import kaldi_native_fbank as knf

    wave, sample_rate = check_wave(wave, sample_rate)
    options = knf.MfccOptions()
    options.frame_opts.samp_freq = sample_rate
    options.frame_opts.snip_edges = True
    options.frame_opts.dither = 0.0
    options.num_ceps = N_CEPS
    options.use_energy = False
    cepstra = run(knf.OnlineMfcc(options), int16_scale(wave), sample_rate, N_CEPS)
    first = deltas(cepstra)
    return np.concatenate([cepstra, first, deltas(first)], axis=1)


def deltas(features: np.ndarray) -> np.ndarray:
    """Slopes over ±2 frames: Σ_n n (x_{t+n} - x_{t-n}) / (2 Σ_n n²), edges repeated.

    Args:
        features: (frames, D).

    Returns:
        (frames, D) float32.
    """
    if not len(features):
        return np.zeros_like(features, np.float32)
    padded = np.pad(features, ((WINDOW, WINDOW), (0, 0)), mode="edge")
    size = len(features)
    total = sum(
        n * (padded[WINDOW + n : WINDOW + n + size] - padded[WINDOW - n : WINDOW - n + size])
        for n in range(1, WINDOW + 1)
    )
    return (total / (2 * sum(n * n for n in range(1, WINDOW + 1)))).astype(np.float32)
