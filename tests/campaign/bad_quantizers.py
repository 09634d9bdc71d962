"""Centroids that are wrong, their own and other people's."""

import pickle
from pathlib import Path

import numpy as np

from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.stages import features, kmeans, labels
from tests.campaign.catalogue import Command, case
from tests.corpus import make_corpus

AREA = "Quantizers"
MFCC = 39


def centroids(k: int = 4, dim: int = MFCC) -> np.ndarray:
    """(k, dim) numbers."""
    return np.random.default_rng(0).normal(size=(k, dim))


def given(found: np.ndarray | bytes, *more: str, name: str = "km.npy") -> Command:
    """The command that takes centroids from a file, for MFCC."""
    if isinstance(found, bytes):
        Path(name).write_bytes(found)
    else:
        np.save(name, found)
    argv = ["--source", "mfcc", "--layer", "0", "--given", name, "--dump", "dump/raw"]
    return kmeans.main, [*argv, "--sets", "d", "--out", "quantizer", "--nj", "1", *more]


def speech() -> None:
    """dump/raw/d."""
    make_corpus(Path("d"))
    features.make_features("d", "dump/raw/d", "raw")


def cluster(*more: str) -> Command:
    """The command that makes a quantizer of MFCC."""
    speech()
    argv = ["--source", "mfcc", "--layer", "0", "--dump", "dump/raw", "--sets", "d"]
    return kmeans.main, [*argv, "--out", "quantizer", "--nj", "1", *more]


@case(AREA, "the file is not there", "km.npy: No such file", "name")
def missing() -> Command:
    main, argv = given(b"")
    Path("km.npy").unlink()
    return main, argv


@case(AREA, "an empty file", "km.npy: neither", "--trust_pickle", "as .npy")
def empty() -> Command:
    return given(b"")


@case(
    AREA,
    "a `.npy` cut short",
    "km.npy: damaged",
    "write it again",
    theirs=r"(?<=objects \().*?(?=\))",
)
def cut() -> Command:
    main, argv = given(centroids())
    path = Path("km.npy")
    path.write_bytes(path.read_bytes()[:-8])
    return main, argv


@case(
    AREA,
    "a `.npy` of Python objects",
    "km.npy: damaged, or holds Python objects",
    "again",
    theirs=r"(?<=objects \().*?(?=\))",
)
def objects() -> Command:
    return given(np.array([[{}]], dtype=object))


@case(AREA, "a `.npz`", "km.npz: an .npz archive", "np.save")
def archive() -> Command:
    main, argv = given(b"", name="km.npz")
    np.savez("km.npz", centroids())
    return main, argv


@case(AREA, "a pickle of something else", "km.bin", "dict", "--trust_pickle true")
def other_pickle() -> Command:
    return given(pickle.dumps({"means": [1.0]}), name="km.bin")


@case(AREA, "one dimension", "km.npy: expected centroids (K, D)", "(39,)")
def flat() -> Command:
    return given(centroids(1)[0])


@case(AREA, "no centroids", "km.npy: expected centroids (K, D)", "(0, 39)")
def none() -> Command:
    return given(centroids(0))


@case(AREA, "complex numbers", "km.npy: expected centroids (K, D)", "complex128")
def complex_numbers() -> Command:
    return given(centroids().astype(complex))


@case(AREA, "NaN", "km.npy: centroids are NaN", "row 3", "make them again")
def nan() -> Command:
    found = centroids()
    found[2, 5] = np.nan
    return given(found)


@case(AREA, "of another dimension: another model's", "km.npy has 20-d", "another model")
def dimension() -> Command:
    return given(centroids(dim=20))


@case(AREA, "more centroids than 16 bits count", "km.npy", "65537", "65536")
def too_many() -> Command:
    return given(np.arange(65537 * MFCC, dtype=np.float32).reshape(-1, MFCC))


@case(
    AREA,
    "`--clusters` beside centroids of another number",
    "--clusters 100",
    "km.npy has 4",
    "leave --clusters out",
)
def clusters_beside() -> Command:
    return given(centroids(), "--clusters", "100")


@case(AREA, "no clusters", "--clusters 0", "at least 1")
def no_clusters() -> Command:
    return cluster("--clusters", "0")


@case(
    AREA,
    "more clusters than frames",
    "dump/raw/d: 44 frames are fewer than 5000 clusters",
    "or fewer --clusters",
)
def few_frames() -> Command:
    return cluster("--clusters", "5000")


@case(AREA, "no frames to sample", "--sample_frames 0", "at least")
def no_frames() -> Command:
    return cluster("--clusters", "4", "--sample_frames", "0")


@case(
    AREA, "features, not waveforms, to cluster", "dump/fbank/d holds features", "--feats_type raw"
)
def of_features() -> Command:
    make_corpus(Path("d"))
    features.make_features("d", "dump/fbank/d", "fbank")
    argv = ["--source", "mfcc", "--layer", "0", "--clusters", "4", "--dump", "dump/fbank"]
    return kmeans.main, [*argv, "--sets", "d", "--out", "quantizer", "--nj", "1"]


def label(source: str = "mfcc") -> Command:
    """The command that labels with ``quantizer``."""
    argv = ["--source", source, "--layer", "0", "--quantizer", "quantizer", "--dump", "dump/raw"]
    return labels.main, [*argv, "--sets", "d", "--out", "labels", "--soft", "false", "--nj", "1"]


@case(AREA, "labels before k-means", "quantizer is missing", "stage 3")
def labels_first() -> Command:
    speech()
    return label()


@case(
    AREA, "a quantizer of another layer or teacher", "quantizer was not made from layer", "stage 3"
)
def other_teacher() -> Command:
    speech()
    Path("quantizer").mkdir()
    np.save("quantizer/centroids.npy", centroids())
    Fingerprint("kmeans", {}, {"source": "another"}).finish("quantizer")
    return label()


@case(AREA, "a directory of another stage as quantizer", "dump/raw/d is no quantizer", "stage 3")
def other_stage() -> Command:
    speech()
    main, argv = label()
    return main, [*argv, "--quantizer", "dump/raw/d"]


@case(AREA, "the centroids of a finished quantizer are gone", "quantizer/centroids.npy", "stage 3")
def no_centroids() -> Command:
    speech()
    Fingerprint("kmeans", {}, {"source": "mfcc39_50hz"}).finish("quantizer")
    return label()
