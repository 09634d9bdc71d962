"""The code of soft labels that all sets of one labelling share, fitted once."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from espnet_dice.hubert import upstreams
from espnet_dice.io.atomic import atomic_dir
from espnet_dice.io.errors import DataError, StaleError
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.labels import codebooks, quantizer, store
from espnet_dice.labels.codebook import Codebook
from espnet_dice.records import feature_dir

CODEBOOK_DIR = ".codebook"
SAMPLE_FRAMES = 8192
"""Frames that the code is fitted to."""


@dataclass(frozen=True)
class Coding:
    """What the code of soft labels must be.

    Attributes:
        soft: False: hard labels only, two bytes a frame.
        tau, max_kl, max_bytes: see :func:`codec.fit`.
        seed: of the frames that it is fitted to.
    """

    soft: bool = True
    tau: float = 1.0
    max_kl: float = 1e-3
    max_bytes: int = 128
    seed: int = 0


def make_codebook(
    source: str,
    layer: int | Sequence[int],
    found: quantizer.Quantizer,
    train: feature_dir.FeatureDir,
    out: Path,
    coding: Coding,
    device: str = "cpu",
    trust_pickle: bool = False,
) -> Path:
    """The file of the codebook, or of all, that the sets below ``out`` share, made if missing.

    It is kept, because another machine could fit another one to the same frames.
    """
    directory = out / CODEBOOK_DIR
    path = directory / store.CODEBOOK
    made_from = _codebook_from(found, train, coding)
    if made_from.is_done(directory) and path.is_file():
        return path
    if coding.soft:
        from threadpoolctl import threadpool_limits

        from espnet_dice.labels import codec
        from espnet_dice.labels.sample import collect

        features = upstreams.load_layer(source, layer, device, trust_pickle)
        frames = collect(features, [train], SAMPLE_FRAMES, coding.seed)
        # collected in the order of the ids: the codec keeps the first part for measuring
        frames = np.random.default_rng(coding.seed).permutation(frames)
        how = (coding.tau, coding.max_kl, coding.max_bytes)
        try:
            with threadpool_limits(1):
                made = [
                    codec.fit(centroids, frames[:, begin:end], *how)
                    for centroids, (begin, end) in zip(found.codebooks, found.spans, strict=True)
                ]
        except DataError as err:
            raise DataError(f"{train.path}: {err}") from err
        for codebook in made:
            said = ", ".join(f"{kl:.1e} at τ = {tau:g}" for tau, kl in codebook.kl.items())
            logging.info("label code: %d bytes a frame, KL %s", codebook.bytes_per_frame, said)
    else:
        made = [Codebook.hard(centroids) for centroids in found.codebooks]
    with atomic_dir(directory) as tmp:
        codebooks.save(codebooks.of(made, found.spans), tmp / store.CODEBOOK)
        made_from.finish(tmp)
    return path


def _codebook_from(
    found: quantizer.Quantizer, train: feature_dir.FeatureDir, coding: Coding
) -> Fingerprint:
    inputs = {"quantizer": found.key, "train": train.key if coding.soft else ""}
    return Fingerprint("codebook", asdict(coding), inputs)


def begun_codebook(
    found: quantizer.Quantizer, train: feature_dir.FeatureDir, out: Path, coding: Coding
) -> Path:
    """The file that was made before: parts must not fit a codebook each.

    Raises:
        StaleError: it is missing, or was made from something else.
    """
    made_from, directory = _codebook_from(found, train, coding), out / CODEBOOK_DIR
    if not made_from.is_done(directory):
        raise StaleError(
            f"{out}: these labels were not begun ({made_from.why(directory)}): give all parts the "
            "same options, after one --shard begin"
        )
    return directory / store.CODEBOOK
