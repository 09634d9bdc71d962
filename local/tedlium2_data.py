"""Make Kaldi-style directories from TED-LIUM release 2 as it is distributed: .sph and .stm.

    python local/tedlium2_data.py --corpus TEDLIUM_release2 --out data train dev test

Segments, utterances and padding are those of Kaldi's and ESPnet's recipes: what is marked
``ignore_time_segment_in_scoring`` is no utterance; segments of the training set begin 0.15 s
earlier and end 0.1 s later, and meet in the middle where they would overlap. Transcripts: upper
case, ``it 's`` joined, marks such as {NOISE} and <sil> left out; utterances of the training set
with <unk> are left out, of others the word. The speaker is the talk. The audio stays where it is:
libsndfile reads NIST SPHERE that is not packed.
"""

import os
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from espnet_dice.io.errors import DataError, ProblemList, cli
from espnet_dice.io.fingerprint import Fingerprint, digest_files
from local.made import Row, corpus_parser, make_sets, say_made
from local.text_rules import VERSION, transcript

SETS = ("train", "dev", "test")
PAD_START_S, PAD_END_S = 0.15, 0.1
NO_SPEECH = "ignore_time_segment_in_scoring"


class Segment(NamedTuple):
    """One line of an .stm file.

    Attributes:
        talk: recording.
        start, end: seconds, cut to 10 ms as in the utterance's id.
        said: its words.
        where: ``file:line``.
    """

    talk: str
    start: float
    end: float
    said: str
    where: str

    @property
    def utt(self) -> str:
        """Kaldi's id: talk, start and end in 10 ms."""
        return f"{self.talk}-{round(self.start * 100):07d}-{round(self.end * 100):07d}"


def read_stm(path: Path, problems: list[str]) -> list[Segment]:
    """The segments of one talk, in order of time; what is wrong is noted with file and line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as err:
        problems.append(f"{path}: not UTF-8 ({err.reason}, byte {err.start}); convert it by iconv")
        return []
    found: dict[tuple, Segment] = {}  # a line may be there twice
    for n, line in enumerate(lines, 1):
        if not line.strip() or line.startswith(";;"):
            continue
        try:
            talk, _, _, start, end, *words = line.split()
            begins, ends = float(start), float(end)
        except ValueError:
            problems.append(f"{path}:{n}: expected 'talk channel speaker start end <label> words'")
            continue
        if words and words[0].startswith("<") and words[0] not in ("<unk>", "<sil>"):
            del words[0]  # <o,f0,male>
        said = " ".join(words)
        if NO_SPEECH in said:
            continue
        if not 0 <= begins < ends:
            problems.append(f"{path}:{n}: start {start} s and end {end} s: expected start < end")
            continue
        begins, ends = int(begins * 100) / 100, int(ends * 100) / 100
        found.setdefault(
            (talk, begins, ends, said), Segment(talk, begins, ends, said, f"{path}:{n}")
        )
    return sorted(found.values())


def pad(spans: list[tuple[float, float]], length: float) -> list[tuple[float, float]]:
    """Longer segments of one recording, in order of time, that overlap no more than before.

    Args:
        spans: start and end in seconds.
        length: of the recording, in seconds.
    """
    wide = [[max(0.0, a - PAD_START_S), min(length, b + PAD_END_S)] for a, b in spans]
    for one, other in pairwise(wide):
        if one[1] > other[0]:
            one[1] = other[0] = 0.5 * (one[1] + other[0])
    return [(a, b) for a, b in wide]


def make_tedlium2(corpus: str | Path, out: str | Path, sets: list[str]) -> dict[str, int]:
    """Make the sets that are missing, or were made from something else.

    Returns:
        Set → utterances, of those that were made.

    Raises:
        DiceError: a set is missing or holds faults, or something is in the way.
    """
    corpus, out = Path(corpus), Path(out)
    if (corpus / "TEDLIUM_release2").is_dir():
        corpus = corpus / "TEDLIUM_release2"

    def plan(name: str) -> tuple[Fingerprint, Iterator[Row]]:
        stms = sorted((corpus / name / "stm").glob("*.stm"), key=lambda path: f"{path.stem}-")
        if not stms:
            raise DataError(
                f"{corpus / name / 'stm'}: no .stm files; --corpus is TEDLIUM_release2 with "
                f"{{{','.join(SETS)}}}/{{sph,stm}}, or take what ESPnet prepared by --data_dir"
            )
        held = {"corpus": os.path.abspath(corpus), "set": name, "rules": VERSION}
        mark = Fingerprint("tedlium2_data", held, {"stm": digest_files(stms)})
        return mark, _rows(corpus / name, stms, name)

    return make_sets(out, sets, plan)


def _rows(directory: Path, stms: list[Path], set_name: str) -> Iterator[Row]:
    problems: list[str] = []
    for stm in stms:
        segments = read_stm(stm, problems)
        if not segments:
            continue
        sph = directory / "sph" / f"{segments[0].talk}.sph"
        spans = [(s.start, s.end) for s in segments]
        if set_name.startswith("train"):
            length = _seconds(sph, stm, problems)
            spans = pad(spans, length) if length else []
        elif not sph.is_file():
            problems.append(f"{stm}: {sph} is missing: unpack it again")
        for segment, span in zip(segments, spans, strict=False):
            try:
                text = transcript(segment.said, "tedlium2", set_name)
            except ValueError as err:
                problems.append(f"{segment.where}: {segment.utt}: {err}")
                continue
            if text:
                source = str(sph.absolute())
                yield Row(segment.utt, text, segment.talk, segment.talk, source, span)
    if problems:  # what was written is thrown away
        raise ProblemList(str(directory), problems)


def _seconds(sph: Path, stm: Path, problems: list[str]) -> float | None:
    from espnet_dice.io.sound.sound import Disagreement, Sound

    try:
        sound = Sound(str(sph))
    except Disagreement as err:
        problems.append(f"{stm}: {sph} is missing or no NIST SPHERE that libsndfile reads ({err})")
        return None
    sound.close()
    return sound.frames / sound.rate


def main() -> None:
    """The command."""
    a = corpus_parser(
        __doc__, "TEDLIUM_release2, or what holds it", f"of {', '.join(SETS)}"
    ).parse_args()
    say_made(a.out, make_tedlium2(a.corpus, a.out, a.sets))


if __name__ == "__main__":
    cli(main)
