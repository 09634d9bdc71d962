"""Global mean and variance of features, in the file that ESPnet's ``global_mvn`` reads."""

from pathlib import Path

import numpy as np

from espnet_dice.io.atomic import atomic_file
from espnet_dice.io.errors import DataError

KEYS = ("count", "sum", "sum_square")


class GlobalStats:
    """Sums over all frames of a set, in float64.

    Statistics of shards are made apart and merged; the result is the same.

    Args:
        dim: feature dimension; taken from the first utterance if None.
    """

    def __init__(self, dim: int | None = None):
        self.count = 0
        self.sum = None if dim is None else np.zeros(dim)
        self.sum_square = None if dim is None else np.zeros(dim)

    def add(self, features: np.ndarray) -> None:
        """Take the frames (frames, dim) of one utterance.

        Raises:
            ValueError: another dimension than before, NaN or infinity; nothing is added then.
        """
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or (self.sum is not None and features.shape[1] != len(self.sum)):
            want = "dim" if self.sum is None else len(self.sum)
            raise ValueError(f"features must be (frames, {want}): got {features.shape}")
        if not np.isfinite(features).all():
            raise ValueError("features are NaN or infinite")
        self._accumulate(len(features), features.sum(axis=0), np.square(features).sum(axis=0))

    def merge(self, other: "GlobalStats") -> None:
        """Take what ``other`` has counted."""
        if other.sum is None:
            return
        if self.sum is not None and len(self.sum) != len(other.sum):
            raise ValueError(f"statistics of {len(other.sum)} and {len(self.sum)} dimensions")
        self._accumulate(other.count, other.sum, other.sum_square)

    def _accumulate(self, count: int, total: np.ndarray, square: np.ndarray) -> None:
        if self.sum is None:
            self.sum, self.sum_square = np.zeros(len(total)), np.zeros(len(total))
        self.count += count
        self.sum += total
        self.sum_square += square

    @property
    def mean(self) -> np.ndarray:
        """(dim,) mean over all frames."""
        self._require_frames()
        return self.sum / self.count

    @property
    def std(self) -> np.ndarray:
        """(dim,) standard deviation over all frames (dividing by their number)."""
        mean = self.mean
        return np.sqrt(np.maximum(self.sum_square / self.count - mean * mean, 0.0))

    def _require_frames(self) -> None:
        if not self.count:
            raise DataError("no frames to take the mean and variance of: the set is empty")

    def save(self, path: str | Path) -> None:
        """Write ``feats_stats.npz`` (keys count, sum, sum_square), whole or not at all."""
        self._require_frames()
        with atomic_file(path, "wb") as f:
            np.savez(f, count=self.count, sum=self.sum, sum_square=self.sum_square)

    @classmethod
    def load(cls, path: str | Path) -> "GlobalStats":
        """Read ``feats_stats.npz``; ``DataError`` if it is damaged or something else."""
        try:
            with np.load(path) as stored:
                values = {key: stored[key] for key in KEYS}
        except FileNotFoundError:
            raise
        except Exception as err:  # np.load raises many kinds for a damaged file
            raise DataError(
                f"{path}: not the statistics of features ({err}): delete it and run the features "
                "stage again"
            ) from err
        stats = cls()
        stats._accumulate(int(values["count"]), values["sum"], values["sum_square"])
        return stats
