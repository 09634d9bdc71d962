"""Test speech with noise added, for questions about uncertainty; nothing is trained on it."""

import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from espnet_dice.io import fingerprint
from espnet_dice.io.audio import AudioOptions, AudioReader
from espnet_dice.io.datadir import read_data_dir
from espnet_dice.io.errors import DataError
from espnet_dice.records import dumps, frontend


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
    dump: dumps.Dump, data: Path, snr_db: float, allow_pipes: bool = False
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
    heard = frontend.of_dump(dump.path)
    if heard is None:
        raise DataError(f"{dump.path}: does not say how its features were made; no noise for it")
    if not dump.dim:
        waves: Iterable[tuple[str, np.ndarray]] = dumps.Waves(dump).items()
    else:
        source, made = read_data_dir(data / dump.name, allow_pipes), fingerprint.read(dump.path)
        if source.key() != made["inputs"].get("data"):
            raise DataError(f"{source.path} has changed since {dump.path} was made: run stage 2")
        said = made["settings"]
        reader = AudioReader(
            AudioOptions(heard.rate, said["resample"], said["channel"], allow_pipes)
        )
        waves = ((utt.id, reader.read(utt)[0]) for utt in source)
    return {
        utt: heard.features(add_noise(samples, snr_db, zlib.crc32(utt.encode())), utt)
        for utt, samples in waves
        if utt in dump.lengths
    }
