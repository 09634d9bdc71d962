"""Make Kaldi-style directories for libri20: DIR/{train,dev,test}.

    python local/libri20_data.py --libri20 LIBRI20 --out data

LIBRI20 holds train/, dev/ and test/, each with wav.scp, text and utt2spk: 2.7 h of LibriSpeech's
dev-clean, 16, 2 and 2 speakers, Ogg Opus at 16 kHz, which soundfile reads, and phones' times as
phones.item, which are copied where they are there. The sets must share no speaker and no utterance.
The audio stays where it is; wav.scp holds absolute paths.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from espnet_dice.io.audio import AudioReader
from espnet_dice.io.datadir import DataDir, read_data_dir
from espnet_dice.io.errors import DataError, cli
from espnet_dice.io.fingerprint import Fingerprint, digest_files
from local.made import is_made, write_set

SETS = ("train", "dev", "test")
ALIGNMENT = "phones.item"


def check_apart(sets: Mapping[str, DataDir]) -> None:
    """Refuse sets that overlap: a dev or test set would then not tell how unseen voices fare.

    Raises:
        DataError: naming a speaker or an utterance that is in two sets.
    """
    for one, other in combinations(sets, 2):
        voices = sorted(set(sets[one].speakers) & set(sets[other].speakers))
        if voices:
            raise DataError(
                f"{sets[one].path} and {sets[other].path}: speaker {voices[0]} is in both "
                f"(shared: {len(voices)}); libri20 is split by speaker"
            )
        shared = sorted({u.id for u in sets[one]} & {u.id for u in sets[other]})
        if shared:
            raise DataError(
                f"{sets[one].path} and {sets[other].path}: {shared[0]} is in both "
                f"(shared: {len(shared)})"
            )


def make_libri20(libri20: str | Path, out: str | Path) -> dict[str, DataDir]:
    """Make the directories that are missing or were made from something else.

    Returns:
        Set name → what ``libri20`` holds.

    Raises:
        DiceError: ``libri20`` is no such corpus or holds faults, its audio cannot be read here, or
            something is in the way.
    """
    libri20, out = Path(libri20), Path(out)
    if not all((libri20 / name / "wav.scp").is_file() for name in SETS):
        wanted = "{" + ",".join(SETS) + "}"
        raise DataError(
            f"{libri20}: no libri20: expected {wanted}, each with wav.scp, text, utt2spk"
        )
    sets = {name: read_data_dir(libri20 / name) for name in SETS}
    check_apart(sets)
    held = {"libri20": os.path.abspath(libri20)}
    todo = []
    for name, data in sets.items():
        times = [path for path in (libri20 / name / ALIGNMENT,) if path.exists()]
        inputs = {"data": data.key()} | ({"times": digest_files(times)} if times else {})
        mark = Fingerprint("libri20_data", held | {"set": name}, inputs)
        if not is_made(out / name, mark, overwrite=True):
            AudioReader().read(data.utterances[0])  # a libsndfile without Opus is told here
            todo.append((name, mark, times))
    for name, mark, times in todo:
        write_set(out / name, list(sets[name]), mark, times)
    if not todo:
        print(f"{out}: made already, nothing to do")
    return sets


def main() -> int:
    """The command."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--libri20", required=True, help="libri20 in Kaldi style")
    p.add_argument("--out", required=True, help="directory of the data directories")
    a = p.parse_args()
    for name, data in make_libri20(a.libri20, a.out).items():
        words = sum(len(u.text.split()) for u in data)
        print(
            f"{name:5s} {len(data):4d} utterances {len(data.speakers):3d} speakers {words:6d} words"
        )
    return 0


if __name__ == "__main__":
    cli(main)
