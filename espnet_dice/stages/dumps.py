"""A feature directory ``dump/<feats_type>/<set>`` as training and decoding read it."""

from dataclasses import dataclass
from pathlib import Path

from espnet_dice.io.errors import DataError
from espnet_dice.io.fingerprint import key_of

# conv2d subsampling needs 7 frames to make one; ESPnet stops at a shorter utterance.
MIN_FRAMES = 7


@dataclass(frozen=True)
class Dump:
    """One set of features.

    Attributes:
        path: the directory.
        key: its fingerprint.
        dim: feature dimension; 0 for raw waves.
        speech: ESPnet's "path,name,type" of the input.
        lengths: utterance → frames (raw: samples), in file order.
    """

    path: Path
    key: str
    dim: int
    speech: str
    lengths: dict[str, int]

    @property
    def name(self) -> str:
        """Name of the set."""
        return self.path.name

    @property
    def text(self) -> Path:
        """Kaldi's ``text``."""
        return self.path / "text"

    @property
    def stats(self) -> Path:
        """Global mean and variance of the set, as ESPnet's GlobalMVN reads them."""
        return self.path / "feats_stats.npz"

    @property
    def shape(self) -> Path:
        """ESPnet's shape file of the input."""
        return self.path / "feats_shape"


def load(path: str | Path) -> Dump:
    """Read a feature directory's index (not the features).

    Raises:
        StaleError: missing or unfinished.
        DataError: a shape is not readable, or an utterance is too short to train on.
    """
    path = Path(path)
    key = key_of(path, "stage 2 (features)")
    lengths: dict[str, int] = {}
    dims = set()
    lines = (path / "feats_shape").read_text(encoding="utf-8").splitlines()
    for n, line in enumerate(lines, 1):
        try:
            utt, shape = line.split()
            length, *dim = map(int, shape.split(","))
        except ValueError:
            raise DataError(f"{path / 'feats_shape'}:{n}: not 'utterance T,D': {line!r}") from None
        lengths[utt] = length
        dims.add(dim[0] if dim else 0)
    if len(dims) != 1:
        raise DataError(f"{path / 'feats_shape'}: feature dimensions differ: {sorted(dims)}")
    dim = dims.pop()
    short = [u for u, n in lengths.items() if dim and n < MIN_FRAMES]
    if short:
        raise DataError(
            f"{path}: {len(short)} utterances have fewer than {MIN_FRAMES} frames, {short[0]} for "
            "one: remove them from the data directory and run stage 2 again"
        )
    speech = f"{path / 'feats.scp'},speech,kaldi_ark" if dim else f"{path / 'wav.scp'},speech,sound"
    return Dump(path, key, dim, speech, lengths)
