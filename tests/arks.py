"""An archive with its index, for what reads both."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from espnet_dice.io.arks import write_ark, write_scp


def write_ark_scp(
    matrices: Iterable[tuple[str, np.ndarray]],
    ark: str | Path,
    scp: str | Path,
    listed_as: str | Path | None = None,
) -> dict[str, tuple[int, int]]:
    """Write both; utterance → (rows, columns).

    Args:
        matrices: by utterance.
        ark: the archive.
        scp: its index.
        listed_as: path of the archive in the index, for a directory that is renamed later.
    """
    index = write_ark(matrices, ark)
    listed = Path(listed_as or ark)
    write_scp(((utt, listed, offset) for utt, (offset, _, _) in index.items()), scp)
    return {utt: (rows, columns) for utt, (_, rows, columns) in index.items()}
