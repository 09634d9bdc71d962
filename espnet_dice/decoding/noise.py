"""Test speech with noise added, for questions about uncertainty; nothing is trained on it."""

import zlib
from pathlib import Path

import numpy as np

from espnet_dice.records import feature_dir, frontend
from espnet_dice.records.spoken import Spoken


def add_noise(samples: np.ndarray, snr_db: float, seed: int) -> np.ndarray:
    """White Gaussian noise at a signal-to-noise ratio over the whole utterance.

    Args:
        samples: (samples,) float32; digital silence stays as it is.
        snr_db: 10 log10 of the ratio of mean powers.
        seed: of the noise.

    Returns:
        (samples,) float32, not clipped.
    """
    noise = np.random.default_rng(seed).standard_normal(len(samples))
    power = np.mean(np.square(samples, dtype=np.float64)) / 10 ** (snr_db / 10)
    return (samples + np.sqrt(power) * noise).astype(np.float32)


def noisy_inputs(
    dump: feature_dir.FeatureDir, data: Path, snr_db: float, allow_pipes: bool = False
) -> dict[str, np.ndarray]:
    """What the recognisers are given of a set with noise: features of noisy samples, in memory.

    Args:
        dump: the set; its features are computed again in the same way.
        data: directory with the set's data directory, where its audio is.
        snr_db: the noise, which each utterance's id seeds.
        allow_pipes: run wav.scp entries that are shell commands.

    Returns:
        utterance → (frames, dim) or (samples,) float32.

    Raises:
        DataError: the audio is not there, or is not what the features were made from.
    """
    spoken, heard = Spoken(dump, data, allow_pipes), frontend.of_dump(dump.path)
    return {
        utt: heard.features(add_noise(spoken(utt), snr_db, zlib.crc32(utt.encode())), utt)
        for utt in dump.lengths
    }
