"""Make Kaldi-style directories from WSJ as LDC distributes it: disks of .wv1, .dot and .ndx files.

    python local/wsj_data.py --corpus WSJ --out data train_si284 test_dev93 test_eval92

WSJ holds the disks, 11-1.1 … 11-15.1 (LDC93S6B) and 13-1.1 … 13-34.1 (LDC94S13B), anywhere up to
three levels down. The lists are those of Kaldi's and ESPnet's recipes; transcripts by the rules
``wsj`` of ``local/text_rules.py``. Where .wv1 is packed (shorten), as on LDC's disks, wav.scp has
``sph2pipe -f wav FILE |``, which the later stages run with --allow_pipes true; NIST SPHERE that is
not packed is read as it is. libsndfile cannot unpack shorten, so sph2pipe must be installed.
"""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from espnet_dice.io.errors import ConfigError, DataError, ProblemList, cli
from espnet_dice.io.fingerprint import Fingerprint, digest_files
from local.decoders import readable
from local.made import Row, corpus_parser, make_sets, say_made
from local.text_rules import VERSION, wsj

SI84 = "11-13.1/wsj0/doc/indices/train/tr_s_wv1.ndx"
INDICES = {
    "train_si84": (SI84,),
    "train_si284": (SI84, "13-34.1/wsj1/doc/indices/si_tr_s.ndx"),
    "test_dev93": ("13-34.1/wsj1/doc/indices/h1_p0.ndx",),
    "test_eval92": ("11-13.1/wsj0/doc/indices/test/nvp/si_et_20.ndx",),
    "test_eval93": ("13-32.1/wsj1/doc/indices/wsj1/eval/h1_p0.ndx",),
}
WITHOUT_TRANSCRIPTS = "11-2.1/wsj0/si_tr_s/401"
MOVED = {"test_eval93": ("13_32_1", "13_33_1")}
"""An index that names the wrong disk: wrong, right."""


def find_disks(corpus: Path) -> dict[str, Path]:
    """Name of a disk (``11-13.1``) → its directory."""
    found: dict[str, Path] = {}
    for depth in ("*", "*/*", "*/*/*"):
        for path in sorted(corpus.glob(depth)):
            if re.fullmatch(r"1[13]-\d+\.\d", path.name) and path.is_dir():
                found.setdefault(path.name, path)
    if not found:
        raise DataError(
            f"{corpus}: no disks of WSJ (11-1.1, 13-1.1 …); name their directory by --corpus, or "
            "take what Kaldi or ESPnet prepared by --data_dir"
        )
    return found


def on_disk(name: str, disks: dict[str, Path]) -> Path:
    """``11-13.1/wsj0/…`` → its path.

    Raises:
        DataError: the disk is missing.
    """
    disk, _, rest = name.partition("/")
    if disk not in disks:
        raise DataError(f"{name}: no disk {disk} (there are: {', '.join(sorted(disks))})")
    return disks[disk] / rest


def read_index(path: Path, moved: tuple[str, str], problems: list[str]) -> Iterator[str]:
    """The files that an index lists, as ``11-1.1/wsj0/si_tr_s/01i/01ic0201.wv1``."""
    if not path.is_file():
        raise DataError(f"{path}: missing; the disk is not whole")
    for n, line in enumerate(path.read_text(encoding="ascii", errors="replace").splitlines(), 1):
        if not line.strip() or line.startswith(";"):
            continue
        entry = re.fullmatch(r"(1[13])_(\d+)_(\d):\s*/?(\S+?)(\.wv1)?\s*", line.replace(*moved))
        if entry is None:
            problems.append(f"{path}:{n}: expected 'DISK:FILE', got {line!r}")
            continue
        name = f"{entry[1]}-{entry[2]}.{entry[3]}/{entry[4]}.wv1"
        if not name.startswith(WITHOUT_TRANSCRIPTS):
            yield name


class Transcripts:
    """The .dot files of all disks, read speaker by speaker."""

    def __init__(self, disks: Iterable[Path]):
        self.files = {
            name[:6].lower(): Path(place, name)
            for disk in disks
            for place, _, names in os.walk(disk)
            for name in names
            if re.fullmatch(r"\w{6}00\.dot", name, re.IGNORECASE)
        }
        self._read = cache(self._lines)

    def __call__(self, utt: str) -> tuple[str, str]:
        """Transcript as it is and ``file:line`` of an utterance.

        Raises:
            ValueError: it has none.
        """
        session = utt[:6]
        if session not in self.files:
            raise ValueError(f"no transcripts {session}00.dot on the disks")
        found = self._read(session)
        if utt not in found:
            raise ValueError(f"no line for it in {self.files[session]}")
        return found[utt]

    def _lines(self, session: str) -> dict[str, tuple[str, str]]:
        path, found = self.files[session], {}
        for n, line in enumerate(path.read_text(encoding="latin-1").splitlines(), 1):
            entry = re.fullmatch(r"(.*)\((\w{8})\)\s*", line)
            if entry:
                found[entry[2].lower()] = entry[1], f"{path}:{n}"
        return found


def make_wsj(
    corpus: str | Path, out: str | Path, sets: list[str], sph2pipe: str | None = None
) -> dict[str, int]:
    """Make the sets that are missing, or were made from something else.

    Args:
        sph2pipe: the program, for .wv1 that is packed; default: that of ``PATH``.

    Returns:
        Set → utterances, of those that were made.

    Raises:
        DiceError: a disk or a transcript is missing, a program is, or something is in the way.
    """
    corpus, out = Path(corpus), Path(out)
    for name in sets:
        if name not in INDICES:
            raise ConfigError(f"WSJ: no set {name!r}; there are {', '.join(INDICES)}")
    disks = find_disks(corpus)
    tool = sph2pipe or shutil.which("sph2pipe")
    read: list[Transcripts] = []  # once, and only if a set is made

    def rows(name: str, listed: list[str]) -> Iterator[Row]:
        if not read:
            read.append(Transcripts(disks.values()))
        yield from _rows(f"{corpus}: {name}", listed, disks, read[0], tool)

    def plan(name: str) -> tuple[Fingerprint, Iterator[Row]]:
        indices = [on_disk(index, disks) for index in INDICES[name]]
        problems: list[str] = []
        moved = MOVED.get(name, ("", ""))
        listed = [file for index in indices for file in read_index(index, moved, problems)]
        if problems:
            raise ProblemList(f"{corpus}: {name}", problems)
        held = {"corpus": os.path.abspath(corpus), "set": name, "sph2pipe": tool, "rules": VERSION}
        mark = Fingerprint("wsj_data", held, {"indices": digest_files(indices)})
        return mark, rows(name, listed)

    return make_sets(out, sets, plan)


def _rows(
    what: str, listed: list[str], disks: dict[str, Path], texts: Transcripts, tool: str | None
) -> Iterator[Row]:
    problems: list[str] = []
    for name in sorted(listed, key=lambda file: Path(file).name.lower()):
        audio = on_disk(name, disks)
        utt = audio.stem.lower()
        where = audio
        try:
            packed = not readable(audio)
            said, where = texts(utt)
            text = wsj(said)
        except OSError as err:
            problems.append(f"{audio}: {err.strerror}; the disk is not whole")
            continue
        except ValueError as err:
            problems.append(f"{where}: {utt}: {err}")
            continue
        if packed and tool is None:
            raise DataError(
                f"{audio}: packed by shorten, which libsndfile does not read: install sph2pipe "
                "(ESPnet: tools/installers/install_sph2pipe.sh), or name it by --sph2pipe"
            )
        place = str(audio.absolute())
        source = f"{shlex.quote(tool)} -f wav {shlex.quote(place)} |" if packed else place
        if text:
            yield Row(utt, text, utt[:3], utt, source)
    if problems:  # what was written is thrown away
        raise ProblemList(what, problems)


def main() -> None:
    """The command."""
    p = corpus_parser(__doc__, "directory that holds the disks", f"of {', '.join(INDICES)}")
    p.add_argument("--sph2pipe", help="the program (default: that of PATH)")
    a = p.parse_args()
    say_made(a.out, make_wsj(a.corpus, a.out, a.sets, a.sph2pipe))


if __name__ == "__main__":
    cli(main)
