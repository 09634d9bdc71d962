"""Take sets from Kaldi-style directories that are there: ESPnet's ``data/`` or ``dump/raw``.

    python local/take_data.py --data_dir ESPNET/egs2/wsj/asr1/data --text_rules wsj \\
        --out data train_si284 test_dev93 test_eval92

Nothing in --data_dir is changed. In ``--out`` the audio has absolute paths, transcripts are written
with A-Z, apostrophe and space (``local/text_rules.py``), and a command that only unpacks a file
which libsndfile reads (sph2pipe, flac) becomes that file. Other commands keep their place; no
command is run here, and none later without --allow_pipes true.
"""

import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from espnet_dice.io.datadir import Recording, Utterance, read_data_dir
from espnet_dice.io.errors import ConfigError, DataError, ProblemList, cli
from espnet_dice.io.fingerprint import Fingerprint
from local.decoders import placed
from local.made import is_made, write_set
from local.text_rules import RULES, VERSION, transcript


def parse_names(entries: Iterable[str]) -> dict[str, str]:
    """``SET`` or ``SET=THEIR_SET`` → our name: theirs.

    Raises:
        ConfigError: an entry has another form.
    """
    names = {}
    for entry in entries:
        ours, equals, theirs = entry.partition("=")
        if not ours or (equals and not theirs):
            raise ConfigError(f"{entry!r}: write SET, or SET=NAME where it has another name there")
        names[ours] = theirs or ours
    return names


def take_sets(
    data_dir: str | Path,
    out: str | Path,
    names: dict[str, str],
    text_rules: str = "none",
    tools: str | None = None,
) -> dict[str, tuple[int, int]]:
    """Make the sets that are missing, or were made from something else.

    Args:
        data_dir: directory of Kaldi-style directories.
        out: where the sets go.
        names: our name of a set → its name in ``data_dir``.
        text_rules: see ``local/text_rules.py``.
        tools: search path for programs in wav.scp; default: ``PATH``.

    Returns:
        Set → utterances taken, utterances left out.

    Raises:
        DiceError: a set is not there or holds faults; something else is in the way.
    """
    data_dir, out = Path(data_dir), Path(out)
    if not data_dir.is_dir():
        raise DataError(f"{data_dir}: no such directory; it should hold {', '.join(names)}")
    counts = {}
    for ours, theirs in names.items():
        source = data_dir / theirs
        if not (source / "wav.scp").is_file():
            there = sorted(p.parent.name for p in data_dir.glob("*/wav.scp"))
            raise DataError(
                f"{data_dir}: no set {theirs!r} with wav.scp (there: {', '.join(there) or '-'}); "
                "where a set has another name: --data_names SET=NAME"
            )
        if source.resolve() == (out / ours).resolve():
            raise ConfigError(f"{source}: is the recipe's own; leave --data_dir out to use it")
        data = read_data_dir(source, allow_pipes=True, transcripts=False)
        held = {"set": ours, "from": os.path.abspath(source), "text_rules": text_rules}
        held |= {"rules": VERSION, "tools": tools}
        mark = Fingerprint("take_data", held, {"data": data.key()})
        if is_made(out / ours, mark, overwrite=True):
            continue
        taken = _taken(source, data, ours, text_rules, tools)
        write_set(out / ours, taken, mark)
        counts[ours] = len(taken), len(data) - len(taken)
    return counts


def _taken(
    source: Path, data: Iterable[Utterance], name: str, text_rules: str, tools: str | None
) -> list[Utterance]:
    problems: list[str] = []
    places: dict[str, Recording | None] = {}
    kept = []
    for utt in data:
        recording = utt.recording
        if recording.id not in places:
            places[recording.id] = placed(recording, tools, problems)
        try:
            text = transcript(utt.text, text_rules, name)
        except ValueError as err:
            problems.append(
                f"{source / 'text'}: {utt.id}: {err}; or take transcripts as they are: "
                "--text_rules none, --token_type char or bpe"
            )
            continue
        # one that never had a transcript is speech for dice1, and for kd1's stage 1 to refuse
        if (text or not utt.text) and places[recording.id]:
            kept.append(replace(utt, text=text or "", recording=places[recording.id]))
    if problems:
        raise ProblemList(str(source), problems)
    if not kept:
        raise DataError(f"{source}: no transcript is left by --text_rules {text_rules}")
    return kept


def main() -> None:
    """The command."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--data_dir", required=True, help="Kaldi-style directories, one a set")
    p.add_argument("--out", required=True, help="where the sets go")
    p.add_argument("--text_rules", choices=RULES, default="none", help="default: none")
    p.add_argument("sets", nargs="+", help="names: SET, or SET=NAME if it is called NAME there")
    a = p.parse_args()
    report(a.out, take_sets(a.data_dir, a.out, parse_names(a.sets), a.text_rules))


def report(out: str | Path, counts: dict[str, tuple[int, int]]) -> None:
    """Say what was taken."""
    for name, (taken, left) in counts.items():
        print(f"{out}/{name}: {taken} utterances" + (f", {left} left out" if left else ""))
    if not counts:
        print(f"{out}: made already, nothing to do")


if __name__ == "__main__":
    cli(main)
