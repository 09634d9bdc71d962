"""Centroids in a directory, with what they were made from; and those that somebody else made."""

import io
import logging
import pickle
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
STAGE = "stage 3 (k-means)"


@dataclass(frozen=True)
class Quantizer:
    """Centroids of a layer.

    Attributes:
        centroids: (K, D) float32.
        key: fingerprint of the directory.
        source_key: of the features that were clustered (:mod:`sources`).
        made_from: the whole fingerprint record.
    """

    centroids: np.ndarray
    key: str
    source_key: str
    made_from: dict[str, Any]


def save(directory: Path, centroids: np.ndarray) -> None:
    """Write the centroids; the caller finishes the directory's fingerprint."""
    packed = io.BytesIO()  # into a file on a full disk numpy writes a part, and does not say why
    np.save(packed, np.ascontiguousarray(centroids, np.float32), allow_pickle=False)
    (directory / CENTROIDS).write_bytes(packed.getbuffer())


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
    if not (directory / CENTROIDS).is_file():
        raise StaleError(f"{directory / CENTROIDS}: missing; remove {directory}, run {STAGE} again")
    return Quantizer(read(directory / CENTROIDS), key, record["inputs"]["source"], record)


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
