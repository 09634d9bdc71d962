"""Phones and their times, of forced alignments: ZeroSpeech's item files, CTM, Praat's TextGrid.

An **item** file has a line ``#file onset offset #phone prev-phone next-phone speaker`` at its head
and seconds in its lines. A **CTM** has lines ``utterance channel start duration phone``, as Kaldi's
``get_train_ctm_phones.sh`` writes them. A **TextGrid** is named after its utterance and has an
interval tier called ``phones``, as the Montreal Forced Aligner writes it; a directory of them is
read whole. Times are those of the utterance, not of a recording that ``segments`` cuts.

Phones are what the file calls them, stress and position marks included. Silence is no phone, but
may be a neighbour.
"""

import logging
import re
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from espnet_dice.io import texts
from espnet_dice.io.errors import DataError, ProblemList
from espnet_dice.records import textgrid

SILENCE = "SIL"
"""What stands beside a phone where no phone does."""
_SILENT = re.compile(r"(|sil|sp|spn|nsn|pau|epi|h#|<eps>|<sil>)(_[BIES])?", re.IGNORECASE)
HEAD = "#file"
TOLERANCE_S = 0.05
"""How far behind the end of an utterance a phone may end: aligners count in frames."""
ADJACENT_S = 0.015
"""Phones that are no further apart are neighbours."""
RATE = 50
"""Frames of a model in a second."""
KINDS = (
    "an item file ('#file onset offset #phone prev-phone next-phone speaker'), a CTM ('utterance "
    "channel start duration phone'), a TextGrid or a directory of them"
)


@dataclass(frozen=True, slots=True)
class Phone:
    """One spoken phone.

    Attributes:
        utt: utterance.
        onset, offset: in seconds.
        name: of the phone.
        before, after: its neighbours.
        speaker: who says it; empty where the file does not say.
        where: ``file:line``, for messages.
    """

    utt: str
    onset: float
    offset: float
    name: str
    before: str
    after: str
    speaker: str
    where: str


Alignment = dict[str, list[Phone]]
"""utterance → phones in order of time."""


def add_option(parser: ArgumentParser, why: str, required: bool = False) -> None:
    """``--alignment``, for :func:`read`.

    Args:
        why: what it is for, for the help.
        required: whether it has to be given.
    """
    parser.add_argument(
        "--alignment",
        nargs="+",
        type=Path,
        default=None if required else [],
        required=required,
        metavar="FILE",
        help=f"phones' times, {why}: item files, CTM, TextGrids or directories of them",
    )


def read(
    paths: Sequence[Path],
    seconds: Mapping[str, float],
    speakers: Mapping[str, str] | None = None,
) -> Alignment:
    """Read alignments and check them against the speech.

    Args:
        paths: files, or directories of TextGrids.
        seconds: utterance → length. Utterances that are not in it are left out.
        speakers: utterance → speaker, for files that name none.

    Raises:
        DataError: a file is missing, of no known format, or has no utterance of the speech.
        ProblemList: lines that cannot be read, and times that are not in the utterance.
    """
    problems: list[str] = []
    found: Alignment = {}
    strange: dict[str, str] = {}
    for path in paths:
        for phone in _phones(path, problems):
            length = seconds.get(phone.utt)
            if length is None:
                strange.setdefault(phone.utt, phone.where)
            elif not 0 <= phone.onset < phone.offset <= length + TOLERANCE_S:
                problems.append(
                    f"{phone.where}: {phone.utt}: {phone.name} from {phone.onset:g} to "
                    f"{phone.offset:g} s, in an utterance of {length:.2f} s; times are in seconds "
                    "from its beginning"
                )
            else:
                if not phone.speaker and speakers is not None:
                    phone = replace(phone, speaker=speakers[phone.utt])
                found.setdefault(phone.utt, []).append(phone)
    names = ", ".join(map(str, paths))
    if problems:
        raise ProblemList(names, problems)
    if not found:
        one = next((f", it has {utt!r} ({where})" for utt, where in strange.items()), "")
        raise DataError(
            f"{names}: none of the utterances, such as {next(iter(seconds), 'none')!r}{one}: is it "
            "the alignment of other speech?"
        )
    if strange:
        logging.info("%s: %d other utterances, left out", names, len(strange))
    return {utt: sorted(found[utt], key=lambda phone: phone.onset) for utt in found}


def on_frames(phones: Sequence[Phone], frames: int) -> list[str]:
    """The phone in which the centre of each frame is, of 20 ms each; empty where there is none.

    Raises:
        DataError: phones overlap.
    """
    names = [""] * frames
    end = 0.0
    for phone in phones:
        if phone.onset < end - 1e-6:
            raise DataError(
                f"{phone.where}: {phone.utt}: {phone.name} begins at {phone.onset:g} s, before the "
                f"phone ahead of it ends ({end:g} s): labels need each phone's own times, not "
                "those of triphones"
            )
        end = phone.offset
        for t in range(_frame(phone.onset), min(frames, _frame(phone.offset))):
            names[t] = phone.name
    return names


def check_frames(alignment: Alignment, frames: Mapping[str, int]) -> None:
    """Refuse, before labels are made, phones that these cannot be compared with.

    Args:
        alignment: of one or more utterances.
        frames: utterance → number of frames.

    Raises:
        DataError: phones overlap, or none is where the centre of a frame is.
    """
    held = [any(on_frames(spoken, frames[utt])) for utt, spoken in alignment.items()]
    if not any(held):
        raise no_frame(alignment)


def no_frame(alignment: Alignment) -> DataError:
    """What to raise where no phone holds a frame."""
    first = next(spoken[0] for spoken in alignment.values())
    return DataError(
        f"{first.where}: {first.utt}: no frame of 20 ms lies in a phone of it, nor of other "
        "utterances: are its times in seconds?"
    )


def _frame(seconds: float) -> int:
    """The first frame whose centre is not before a time."""
    return max(0, -int(-(seconds * RATE - 0.5 - 1e-6) // 1))


def _phones(path: Path, problems: list[str]) -> Iterator[Phone]:
    if path.is_dir():
        files = sorted(path.rglob("*.TextGrid"))
        if not files:
            raise DataError(f"{path}: no *.TextGrid; an alignment is {KINDS}")
        for file in files:
            yield from _of_textgrid(file)
    elif not path.exists():
        raise DataError(f"{path}: no such alignment")
    elif path.suffix == ".TextGrid":
        yield from _of_textgrid(path)
    else:
        lines = enumerate(texts.lines(path), 1)
        _, head = next(lines, (1, ""))
        if head.startswith(HEAD):
            yield from _of_item(path, lines, problems)
        else:
            spans = _of_ctm(path, [(1, head), *lines], problems)
            yield from _neighbours(spans)


def _of_item(path: Path, lines: Iterable[tuple[int, str]], problems: list[str]) -> Iterator[Phone]:
    for number, line in lines:
        where = f"{path}:{number}"
        try:
            utt, onset, offset, name, before, after, speaker = line.split()
            phone = Phone(
                utt, texts.number(onset), texts.number(offset), name, before, after, speaker, where
            )
        except ValueError:
            problems.append(f"{where}: expected 'file onset offset phone prev next speaker'")
            continue
        if not _SILENT.fullmatch(name):
            yield phone


def _of_ctm(path: Path, lines: Iterable[tuple[int, str]], problems: list[str]) -> list[Phone]:
    phones: list[Phone] = []
    for number, line in lines:
        if not line.strip() or line.startswith(";;"):
            continue
        where = f"{path}:{number}"
        try:
            utt, _, start, duration, name, *_ = line.split()
            onset = texts.number(start)
            phones.append(
                Phone(utt, onset, onset + texts.number(duration), name, "", "", "", where)
            )
        except ValueError:
            if not phones and not problems:
                raise DataError(f"{where}: {line[:60]!r}: an alignment is {KINDS}") from None
            problems.append(f"{where}: expected 'utterance channel start duration phone'")
    if not phones and not problems:
        raise DataError(f"{path}: empty; an alignment is {KINDS}")
    return sorted(phones, key=lambda phone: (phone.utt, phone.onset))


def _of_textgrid(path: Path) -> Iterator[Phone]:
    spans = textgrid.intervals(path, "phones")
    yield from _neighbours(
        [Phone(path.stem, *span[:3], "", "", "", f"{path}:{span.line}") for span in spans]
    )


def _neighbours(phones: Sequence[Phone]) -> Iterator[Phone]:
    """Phones in order, silence taken out, each with its neighbours."""
    for place, phone in enumerate(phones):
        if _SILENT.fullmatch(phone.name):
            continue
        before, after = SILENCE, SILENCE
        if place and _adjacent(phones[place - 1], phone):
            before = phones[place - 1].name
        if place + 1 < len(phones) and _adjacent(phone, phones[place + 1]):
            after = phones[place + 1].name
        yield replace(phone, before=before, after=after)


def _adjacent(one: Phone, other: Phone) -> bool:
    silent = _SILENT.fullmatch(one.name) or _SILENT.fullmatch(other.name)
    return one.utt == other.utt and not silent and other.onset - one.offset <= ADJACENT_S
