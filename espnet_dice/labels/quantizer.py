"""Centroids in a directory, with what they were made from; and those that somebody else made.

A quantizer is one codebook, or several: every number of clusters of every layer, all of the first
layer, then all of the second, and so on.
"""

import io
import logging
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from espnet_dice.io import checksums, fingerprint
from espnet_dice.io.errors import ConfigError, DataError, StaleError
from espnet_dice.io.untrusted import pickled_arrays
from espnet_dice.io.untrusted.inert import fields

MAX_CLUSTERS = 1 << 16
"""What the 16 bits of a label count."""
ZIP = b"PK"
CENTROIDS = "centroids.npy"
STAGE = "k-means (stage 3; of MFCC stage 2)"


@dataclass(frozen=True)
class Quantizer:
    """Centroids of a layer, or of several.

    Attributes:
        codebooks: (K, D) float32 each.
        layers: of each codebook.
        key: fingerprint of the directory.
        source_key: of the features that were clustered (:mod:`sources`).
        made_from: the whole fingerprint record.
    """

    codebooks: tuple[np.ndarray, ...]
    layers: tuple[int, ...]
    key: str
    source_key: str
    made_from: dict[str, Any]

    @property
    def centroids(self) -> np.ndarray:
        """Those of the only codebook, (K, D)."""
        (only,) = self.codebooks
        return only

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Of each codebook, the values [begin, end) of the source's features that it is of."""
        ends: dict[int, int] = {}
        for layer, centroids in zip(self.layers, self.codebooks, strict=True):
            if layer not in ends:
                ends[layer] = max(ends.values(), default=0) + centroids.shape[1]
        return [
            (ends[layer] - centroids.shape[1], ends[layer])
            for layer, centroids in zip(self.layers, self.codebooks, strict=True)
        ]


def save(directory: Path, *codebooks: np.ndarray) -> list[Path]:
    """Write the centroids; the caller finishes the directory's fingerprint.

    Args:
        directory: that is there.
        codebooks: (K, D) each.

    Returns:
        The files.
    """
    paths = [directory / name for name in _names(len(codebooks))]
    for path, centroids in zip(paths, codebooks, strict=True):
        packed = io.BytesIO()  # to a file on a full disk numpy writes a part, and does not say why
        np.save(packed, np.ascontiguousarray(centroids, np.float32), allow_pickle=False)
        path.write_bytes(packed.getbuffer())
    return paths


def of_each(layer: int | Sequence[int], clusters: int | Sequence[int]) -> list[tuple[int, int]]:
    """(layer, K) of each codebook, in the order in which they are kept."""
    return [(one, k) for one in all_of(layer) for k in all_of(clusters)]


def all_of(values: int | Sequence[int]) -> tuple[int, ...]:
    """A layer or several, a number of clusters or several, as a tuple."""
    return (values,) if isinstance(values, int) else tuple(values)


def load(directory: str | Path) -> Quantizer:
    """Read a quantizer that the k-means stage made.

    Raises:
        StaleError: missing, unfinished or damaged.
    """
    directory = Path(directory)
    key = fingerprint.key_of(directory, STAGE)
    record = fingerprint.read(directory)
    if "source" not in record["inputs"]:
        raise StaleError(f"{directory} is no quantizer: run {STAGE} first")
    checksums.verify(directory)
    said = record["settings"]
    layers = tuple(one for one, _ in of_each(said.get("layer", 0), said.get("clusters", 0)))
    codebooks = []
    for path in (directory / name for name in _names(len(layers))):
        if not path.is_file():
            raise StaleError(f"{path}: missing; remove {directory}, run {STAGE} again")
        codebooks.append(read(path))
    return Quantizer(tuple(codebooks), layers, key, record["inputs"]["source"], record)


def _names(number: int) -> list[str]:
    if number == 1:
        return [CENTROIDS]
    stem, _, kind = CENTROIDS.partition(".")
    return [f"{stem}.{n}.{kind}" for n in range(number)]


def read(path: str | Path, trust_pickle: bool = False) -> np.ndarray:
    """Centroids from a file of somebody's own.

    Args:
        path: ``.npy`` with (K, D) numbers, or the pickle of a scikit-learn KMeans, by joblib or
            not, such as the public ``hubert_base_ls960_L9_km500.bin``. Its ``cluster_centers_``
            are taken out of it, and nothing in it is run or imported.
        trust_pickle: unpickle a file of another kind (compressed, say), which can run any code
            that its maker put into it.

    Returns:
        (K, D) float32.

    Raises:
        ConfigError: it is missing, or a pickle whose centroids cannot be taken out without running
            it, and ``trust_pickle`` is false.
        DataError: it holds no centroids.
    """
    path = Path(path)
    try:
        with open(path, "rb") as f:
            head = f.read(6)
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"{path}: no such file of centroids") from None
    if head.startswith(ZIP):
        raise DataError(f"{path}: an .npz archive: write its array alone, with np.save")
    if head == b"\x93NUMPY":
        try:
            found = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as err:
            raise DataError(
                f"{path}: damaged, or holds Python objects ({err}): write it again"
            ) from None
    else:
        found = _pickled(path, trust_pickle)
    if found.ndim != 2 or 0 in found.shape or found.dtype.kind not in "fiu":
        raise DataError(f"{path}: expected centroids (K, D), found {found.dtype} {found.shape}")
    if len(found) > MAX_CLUSTERS:
        raise DataError(f"{path}: {len(found)} centroids; labels have at most {MAX_CLUSTERS}")
    bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(bad):
        raise DataError(
            f"{path}: centroids are NaN or infinite, row {bad[0] + 1} for one: make them again"
        )
    same = len(found) - len(np.unique(found, axis=0))
    if same:
        logging.warning("%s: %d centroids are there twice: these labels are never used", path, same)
    return np.ascontiguousarray(found, np.float32)


def _pickled(path: Path, trust_pickle: bool) -> np.ndarray:
    """``cluster_centers_`` of a pickle, or the array that it is."""
    try:
        return _centers(pickled_arrays.read(path), path)
    except DataError as err:
        if trust_pickle:
            return _unpickle(path)
        raise ConfigError(
            f"{err}: no centroids can be taken out without running it, which can be any code. If "
            "you trust its maker, give --trust_pickle true; else ask for them as .npy"
        ) from err


def _centers(root: Any, path: Path) -> np.ndarray:
    found = fields(root).get("cluster_centers_", root)
    if not isinstance(found, pickled_arrays.Array) or found.values is None:
        name = getattr(root, "origin", type(root).__name__)
        raise DataError(f"{path}: a pickled {name} without numbers as cluster_centers_")
    return found.values


def _unpickle(path: Path) -> np.ndarray:
    try:
        import joblib

        model = joblib.load(path)
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, ValueError) as err:
        raise DataError(
            f"{path}: cannot be unpickled here ({err}): it may need the scikit-learn that it was "
            "written with; write its cluster_centers_ to a .npy file there"
        ) from None
    found = getattr(model, "cluster_centers_", model)
    if not isinstance(found, np.ndarray):
        raise DataError(f"{path}: a pickled {type(model).__name__} has no cluster_centers_")
    return found
