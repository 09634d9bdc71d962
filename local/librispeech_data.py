"""Make Kaldi-style directories from LibriSpeech as it is distributed: FLAC and .trans.txt.

    python local/librispeech_data.py --corpus LibriSpeech --out data train_960 dev test_clean

``train_960`` is train-clean-100, train-clean-360 and train-other-500, ``train_460`` the first two,
``train_100`` the first, ``dev`` both dev sets; any other name is the subset of that name
(``test_clean``: test-clean). The speaker is the reader. The audio stays where it is.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from espnet_dice.io.errors import DataError, ProblemList, cli
from espnet_dice.io.fingerprint import Fingerprint, digest_files
from local.made import Row, corpus_parser, make_sets, say_made
from local.text_rules import VERSION, letters

UNIONS = {
    "train_960": ("train-clean-100", "train-clean-360", "train-other-500"),
    "train_460": ("train-clean-100", "train-clean-360"),
    "train_100": ("train-clean-100",),
    "dev": ("dev-clean", "dev-other"),
}


def chapters(corpus: Path, subsets: tuple[str, ...]) -> list[Path]:
    """Chapter directories ``SUBSET/READER/CHAPTER``, in the order of their utterances.

    Raises:
        DataError: a subset is missing or holds something else.
    """
    found = []
    for subset in subsets:
        if not (corpus / subset).is_dir():
            raise DataError(
                f"{corpus / subset}: no such subset of LibriSpeech; unpack it there, or name the "
                "corpus by --corpus, or take what ESPnet prepared by --data_dir"
            )
        here = [chapter for chapter in (corpus / subset).glob("*/*") if chapter.is_dir()]
        if not here:
            raise DataError(f"{corpus / subset}: no READER/CHAPTER directories")
        found += here
    return sorted(found, key=lambda path: f"{path.parent.name}-{path.name}-")


def transcripts(chapter: Path) -> Path:
    """``READER-CHAPTER.trans.txt`` of a chapter."""
    return chapter / f"{chapter.parent.name}-{chapter.name}.trans.txt"


def read_chapter(chapter: Path, problems: list[str]) -> Iterator[Row]:
    """The utterances of a chapter, sorted; what is wrong is noted with file and line."""
    table, reader = transcripts(chapter), chapter.parent.name
    begin = f"{reader}-{chapter.name}-"
    audio = {e.name[:-5] for e in os.scandir(chapter) if e.name.endswith(".flac")}
    rows = []
    for n, line in enumerate(table.read_text(encoding="utf-8-sig").splitlines(), 1):
        utt, said = [*line.split(maxsplit=1), "", ""][:2]
        try:
            text = letters(said)
        except ValueError as err:
            problems.append(f"{table}:{n}: {utt}: {err}")
            continue
        if not utt.startswith(begin) or not text:
            problems.append(f"{table}:{n}: expected '{begin}NNNN TRANSCRIPT', got {line[:40]!r}")
        elif utt not in audio:
            problems.append(f"{table}:{n}: {utt}: {chapter / utt}.flac is missing: unpack it again")
        else:
            audio.remove(utt)
            rows.append(Row(utt, text, reader, utt, f"{chapter.absolute()}/{utt}.flac"))
    problems += [f"{table}: {utt}: has no transcript but a .flac" for utt in sorted(audio)]
    yield from sorted(rows)


def make_librispeech(corpus: str | Path, out: str | Path, sets: list[str]) -> dict[str, int]:
    """Make the sets that are missing, or were made from something else.

    Returns:
        Set → utterances, of those that were made.

    Raises:
        DiceError: a subset is missing or holds faults, or something is in the way.
    """
    corpus, out = Path(corpus), Path(out)
    if (corpus / "LibriSpeech").is_dir():
        corpus = corpus / "LibriSpeech"

    def plan(name: str) -> tuple[Fingerprint, Iterator[Row]]:
        subsets = UNIONS.get(name, (name.replace("_", "-"),))
        found = chapters(corpus, subsets)
        lost = [str(t) for t in map(transcripts, found) if not t.is_file()]
        if lost:
            raise ProblemList(str(corpus), [f"{t}: missing: unpack the subset again" for t in lost])
        held = {
            "corpus": os.path.abspath(corpus),
            "set": name,
            "subsets": subsets,
            "rules": VERSION,
        }
        digest = digest_files(map(transcripts, found))
        mark = Fingerprint("librispeech_data", held, {"transcripts": digest})
        return mark, _rows(corpus, found)

    return make_sets(out, sets, plan)


def _rows(corpus: Path, found: list[Path]) -> Iterator[Row]:
    problems: list[str] = []
    for chapter in found:
        yield from read_chapter(chapter, problems)
    if problems:  # what was written is thrown away
        raise ProblemList(str(corpus), problems)


def main() -> None:
    """The command."""
    a = corpus_parser(
        __doc__, "LibriSpeech, or the directory that holds it", "names of sets"
    ).parse_args()
    say_made(a.out, make_librispeech(a.corpus, a.out, a.sets))


if __name__ == "__main__":
    cli(main)
