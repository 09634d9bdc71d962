"""Make Kaldi-style directories for AN4: DIR/{train,dev,test}.

    python local/an4_data.py --an4 AN4 --out data

AN4 holds train/ and test/, or, as ESPnet's recipe prepares it, train_nodev/, train_dev/ and test/.
Without a dev set, some training speakers are split off for it: evenly spaced in the sorted list,
so that women and men (f…, m…) are in both. The audio stays where it is; wav.scp holds absolute
paths.
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from espnet_dice.io.datadir import DataDir, Utterance, read_data_dir
from espnet_dice.io.errors import ConfigError, DataError, ProblemList, cli
from espnet_dice.io.fingerprint import Fingerprint
from local.decoders import placed
from local.made import is_made, write_set

LAYOUTS = (
    {"train": "train_nodev", "dev": "train_dev", "test": "test"},
    {"train": "train", "test": "test"},
)


def find_sets(an4: Path) -> dict[str, Path]:
    """Set name → directory under ``an4``; without ``dev`` where AN4 has none yet."""
    for layout in LAYOUTS:
        if all((an4 / d / "wav.scp").is_file() for d in layout.values()):
            return {name: an4 / d for name, d in layout.items()}
    wanted = " or ".join("{" + ",".join(x.values()) + "}" for x in LAYOUTS)
    raise DataError(f"{an4}: no AN4: expected {wanted}, each with wav.scp, text and utt2spk")


def split_speakers(utterances: list[Utterance], n: int) -> dict[str, list[Utterance]]:
    """Take ``n`` speakers out of the training set for the dev set.

    Raises:
        ConfigError: ``n`` is not between 1 and the number of speakers less one.
    """
    speakers = sorted({u.speaker for u in utterances})
    if not 1 <= n < len(speakers):
        raise ConfigError(f"--dev_speakers {n}: there are {len(speakers)}; leave one for training")
    dev = {speakers[(2 * i + 1) * len(speakers) // (2 * n)] for i in range(n)}
    return {
        "train": [u for u in utterances if u.speaker not in dev],
        "dev": [u for u in utterances if u.speaker in dev],
    }


def _placed(data: DataDir, tools: str | None, problems: list[str]) -> list[Utterance]:
    places = {u.recording.id: u.recording for u in data}
    found = {name: placed(recording, tools, problems) for name, recording in places.items()}
    return [replace(u, recording=found[u.recording.id] or u.recording) for u in data]


def make_an4(
    an4: str | Path, out: str | Path, dev_speakers: int = 10, tools: str | None = None
) -> dict[str, list[Utterance]]:
    """Make the directories that are missing or were made from something else.

    A command of wav.scp that only unpacks a file which libsndfile reads, as in ESPnet's AN4,
    becomes that file; no command is run.

    Returns:
        Set name → its utterances.

    Raises:
        DiceError: ``an4`` is no AN4 directory or holds faults, or something is in the way.
    """
    out = Path(out)
    found = find_sets(Path(an4))
    read: dict[str, DataDir] = {k: read_data_dir(d, allow_pipes=True) for k, d in found.items()}
    problems: list[str] = []
    sets = {name: _placed(data, tools, problems) for name, data in read.items()}
    if problems:
        raise ProblemList(str(an4), problems)
    if "dev" not in sets:
        sets |= split_speakers(sets["train"], dev_speakers)
    inputs = {name: data.key() for name, data in read.items()}
    held = {"an4": os.path.abspath(an4), "dev_speakers": None if "dev" in found else dev_speakers}
    marks = {
        n: Fingerprint("an4_data", held | {"set": n}, inputs) for n in ("train", "dev", "test")
    }
    todo = [n for n, mark in marks.items() if not is_made(out / n, mark, overwrite=True)]
    for name in todo:
        write_set(out / name, sets[name], marks[name])
    if not todo:
        print(f"{out}: made already, nothing to do")
    return sets


def main() -> int:
    """The command."""
    p = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--an4", required=True, help="AN4 in Kaldi style")
    p.add_argument("--out", required=True, help="directory of the data directories")
    p.add_argument(
        "--dev_speakers", type=int, default=10, help="speakers split off for dev (default: 10)"
    )
    a = p.parse_args()
    for name, rows in make_an4(a.an4, a.out, a.dev_speakers).items():
        speakers = len({u.speaker for u in rows})
        words = sum(len(u.text.split()) for u in rows)
        print(f"{name:5s} {len(rows):4d} utterances {speakers:3d} speakers {words:5d} words")
    return 0


if __name__ == "__main__":
    cli(main)
