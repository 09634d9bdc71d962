"""Transcripts and sentences, read line by line and checked against a token list."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from espnet_dice.io import texts
from espnet_dice.io.errors import DataError, ProblemList
from espnet_dice.records.tokens import BLANK, EOS, SPACE, UNKNOWN, TokenList

MOST_PROBLEMS = 1000
"""After these a text is not read on: a list of millions helps nobody."""
RESERVED = (BLANK, UNKNOWN, EOS, "<s>", "</s>", SPACE, "▅")
"""What the tokens, and SentencePiece's marks in a text that it learns from, are written with."""


@dataclass
class Unseen:
    """Characters outside of a learnt list, each of which is read as <unk>.

    Attributes:
        characters: the different ones.
        utterances: with any of them.
        number: how often there is one.
        first: file, line and utterance.
    """

    characters: set[str] = field(default_factory=set)
    utterances: int = 0
    number: int = 0
    first: str = ""

    def add(self, where: str, characters: set[str], number: int) -> None:
        """What one utterance has."""
        self.characters |= characters
        self.utterances += 1
        self.number += number
        self.first = self.first or where


def check_text(path: str | Path, known: TokenList, unseen: Unseen | None = None) -> dict[str, str]:
    """All of :func:`read_text`: utterance → transcript, in file order."""
    return dict(read_text(path, known, unseen))


def read_text(
    path: str | Path, known: TokenList | None, unseen: Unseen | None = None
) -> Iterator[tuple[str, str]]:
    """Read a text line by line and check that it holds characters of the token list only.

    A language model's text may be larger than memory: lines are not kept.

    Args:
        path: Kaldi's ``text`` ("utterance words …"), or a ``….txt`` with bare sentences, whose
            utterances are then called ``<stem>-<line>``; both may end in ``.gz``, too.
        known: the token list; None: one is to be learnt from this text.
        unseen: gets what a learnt list does not know, which is no problem then.

    Yields:
        utterance, transcript; words are separated by single spaces.

    Raises:
        ProblemList: at the end, naming file, line and utterance of each problem.
    """
    path = Path(path)
    name = texts.unpacked_name(path)
    bare, stem = name.endswith(".txt"), name.removesuffix(".txt")
    problems: list[str] = []
    last, ascending, n = "", True, 0
    for n, line in enumerate(_lines(path), 1):
        utt, *words = line.split() or [""]
        if bare:
            utt, words = f"{stem}-{n:07d}", line.split()
        where = f"{path}:{n}: utterance {utt or '(no id)'}"
        if not words:
            problems.append(f"{where}: empty transcript; remove it")
            continue
        ascending = ascending and utt > last
        last, transcript = utt, " ".join(words)
        foreign = set(transcript) - known.characters if known else set()
        if known is None or known.learnt:
            problems += [
                f"{where}: {mark!r} is a mark of the token list itself; leave it out"
                for mark in RESERVED
                if mark in transcript
            ]
        if foreign and known.learnt and unseen is not None:
            unseen.add(where, foreign, sum(c in foreign for c in transcript))
        elif foreign:
            shown = " ".join(map(repr, sorted(foreign)))
            hint = _hint(transcript, known)
            problems.append(f"{where}: {shown} not in the token list; {hint}")
        if len(problems) > MOST_PROBLEMS:
            problems.append(f"{path}:{n}: too many problems; the rest was not read")
            break
        yield utt, transcript
    if not n:
        problems.append(f"{path}: empty file; make it again")
    if not bare and not ascending:  # else no id can be there twice
        problems += _twice(path)
    if problems:
        size = f"{len(known.entries)} tokens" if known else "tokens of a list"
        raise ProblemList(f"{path} cannot be written with the {size}", problems)


def _hint(transcript: str, known: TokenList) -> str:
    if known.learnt:
        return "it was learnt from other texts: let it be learnt from this one, too"
    lower = transcript != transcript.upper()
    return "transcripts are upper-case" if lower else "write it in letters"


def _lines(path: Path) -> Iterator[str]:
    try:
        yield from texts.lines(path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: prepare the set first (stages 1 and 2)") from None


def _twice(path: Path) -> Iterator[str]:
    seen: set[str] = set()
    for n, line in enumerate(_lines(path), 1):
        utt, _ = texts.split_id(line)
        if utt in seen:
            yield f"{path}:{n}: utterance {utt}: listed twice; keep one"
        seen.add(utt)
