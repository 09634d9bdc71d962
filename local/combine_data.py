"""Join Kaldi-style directories into one, as Kaldi's utils/combine_data.sh does.

    python local/combine_data.py data/train data/a_train data/b_train

The audio stays where it is; wav.scp of the new directory holds absolute paths.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from espnet_dice.io.datadir import read_data_dir
from espnet_dice.io.errors import DataError, cli
from espnet_dice.io.fingerprint import Fingerprint
from local.made import is_made, scp_entry, write_set


def combine(out: str | Path, sources: list[str | Path]) -> int:
    """Join ``sources`` into ``out``, unless that was done and nothing changed.

    Commands in wav.scp are kept; none is run.

    Returns:
        Number of utterances.

    Raises:
        DataError: an utterance, or another recording under the same name, is in two of them.
    """
    out = Path(out)
    read = {str(s): read_data_dir(s, allow_pipes=True, transcripts=False) for s in sources}
    owner: dict[str, str] = {}
    heard: dict[str, tuple[str, str]] = {}
    for source, data in read.items():
        for utt in data:
            if utt.id in owner:
                raise DataError(
                    f"{source}: utterance {utt.id} is in {owner[utt.id]} too: rename one of them"
                )
            owner[utt.id] = source
            entry = scp_entry(utt)  # of a command with the directory that it is run in
            there, other = heard.setdefault(utt.recording.id, (source, entry))
            if entry != other:
                raise DataError(
                    f"{source}: recording {utt.recording.id} is another one in {there}: rename one"
                )
    mark = Fingerprint("combine_data", {}, {source: data.key() for source, data in read.items()})
    if not is_made(out, mark, overwrite=True):
        write_set(out, [utt for data in read.values() for utt in data], mark)
    return len(owner)


def main() -> None:
    """The command."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("out", help="directory to make")
    p.add_argument("source", nargs="+", help="directories to join")
    a = p.parse_args()
    print(f"{a.out}: {combine(a.out, a.source)} utterances")


if __name__ == "__main__":
    cli(main)
