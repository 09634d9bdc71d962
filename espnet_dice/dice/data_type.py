"""Label stores as data of ESPnet: ``DIR,labels,dice_labels`` and ``DIR,labels,dice_ids``."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

HELP = (
    "A label store of espnet_dice: its directory, or a file in it."
    "\n\n"
    "   exp/labels/train/labels.scp\n"
    "   ..."
)


class Labels(Mapping):
    """utterance → labels as ESPnet's dataset takes them: signed integers, a row a frame.

    Args:
        path: directory of the store, or a file in it.
        ids_only: the hard labels alone, (T,), of C codebooks (T, C), instead of records, (T, W).
    """

    def __init__(self, path: str | Path, ids_only: bool = False):
        from espnet_dice.labels.store import Reader

        path = Path(path)
        self.reader = Reader(path.parent if path.is_file() else path)
        self.ids_only = ids_only

    def __getitem__(self, utt: str) -> np.ndarray:
        found = self.reader.ids(utt) if self.ids_only else self.reader[utt]
        return np.asarray(found).astype(np.int32)

    def __iter__(self) -> Iterator[str]:
        return iter(self.reader)

    def __len__(self) -> int:
        return len(self.reader)


def labels(path: str) -> Labels:
    """Loader of ``dice_labels``: records (T, W), the hard labels first."""
    return Labels(path)


def ids(path: str) -> Labels:
    """Loader of ``dice_ids``: hard labels (T,), of C codebooks (T, C)."""
    return Labels(path, ids_only=True)


DICE_LABELS = {"func": labels, "kwargs": [], "help": HELP}
DICE_IDS = {"func": ids, "kwargs": [], "help": HELP}
