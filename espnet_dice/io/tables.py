"""The tables of a data directory: one line an id, checked line by line."""

import os
import re
import unicodedata
from array import array
from collections.abc import Mapping
from pathlib import Path

from espnet_dice.io.sound.beginnings import packed_by

CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
"""What no table has: line ends of other systems, and what a disk's fault leaves."""
UTF = {b"\xff\xfe\0\0": 32, b"\0\0\xfe\xff": 32, b"\xff\xfe": 16, b"\xfe\xff": 16}
"""What texts of other encodings begin with."""


def unreadable(data: bytes) -> str | None:
    """Why a file that begins so is no text in UTF-8, and what to do about it; None: it may be."""
    if tool := packed_by(data):
        return f"packed by {tool}; unpack it"
    for begin, bits in UTF.items():
        if data.startswith(begin):
            return f"UTF-{bits}; convert it: iconv -f UTF-{bits} -t UTF-8"
    return None


class Table:
    """One table as ``rows``: id → rest of the line, in the order of the file.

    A corpus has millions of rows: what each costs in memory decides the machine.

    Args:
        path: the file.
        problems: where a line for everything that is wrong goes.
        hint: what to do where the file is missing or empty.
        optional: a missing file is no problem.
    """

    def __init__(self, path: Path, problems: list[str], hint: str, optional: bool = False):
        self.path = path
        self.rows: dict[str, str] = {}
        self.numbers = array("Q")  # lines of the rows
        self._lines: dict[str, int] | None = None
        self._problems = problems
        if optional and not os.path.lexists(path):
            return
        if not path.is_file():
            what = "a link to nothing" if path.is_symlink() else "missing"
            problems.append(f"{path}: {'a directory' if path.is_dir() else what}; {hint}")
            return
        with open(path, "rb") as f:
            if not any(line.strip() for line in f):
                problems.append(f"{path}: empty; {hint}")
                return
            f.seek(0)
            if why := unreadable(f.read(10)):
                problems.append(f"{path}: {why}")
                return
            f.seek(0)
            for number, raw in enumerate(f, 1):
                self._add(number, raw.removesuffix(b"\n"))

    def _add(self, number: int, raw: bytes) -> None:
        try:
            # each line may have a mark: files that began with one were joined
            line = raw.decode("utf-8-sig").strip(" \t\r")
        except UnicodeDecodeError as err:
            utt = raw.split()[0].decode("utf-8", "backslashreplace")
            byte = raw[err.start]
            self.say(number, f"{utt}: not UTF-8 (byte 0x{byte:02x}); convert the file with iconv")
            return
        if not line:
            self.say(number, "blank line; remove it")
            return
        if control := CONTROL.search(line):
            sign, first = f"U+{ord(control[0]):04X}", (line.split() or [line])[0]
            self.say(number, f"{_shown(first)}: a control character ({sign}); write it again")
            return
        key, *rest = re.split(r"[ \t]+", line, maxsplit=1)
        if not key.isprintable():
            self.say(
                number, f"{_shown(key)}: an id with a space or sign that does not show; rename it"
            )
            return
        if key in self.rows:
            self.say(number, f"{key}: listed twice (first on line {self.line(key)}); keep one")
            return
        self.rows[key] = rest[0] if rest else ""
        self.numbers.append(number)
        if self._lines is not None:
            self._lines[key] = number

    def say(self, number: int, problem: str) -> None:
        """Note a problem of a line."""
        self._problems.append(f"{self.path}:{number}: {problem}")

    def line(self, key: str) -> int:
        """The line of an id, for a message."""
        if self._lines is None:
            self._lines = dict(zip(self.rows, self.numbers, strict=True))
        return self._lines[key]

    def where(self, key: str) -> str:
        """``file:line`` of an id, for a message."""
        return f"{self.path}:{self.line(key)}"


def _shown(key: str) -> str:
    """An id with what does not show, spelt out."""
    return ascii(key)[1:-1]


def check_sides(audio: Table, others: tuple[Table, ...], problems: list[str]) -> None:
    """Note the ids that one table has and another lacks, or writes with other signs."""
    for other in others:
        if not other.rows or not audio.rows:
            continue
        spare = [k for k in other.rows if k not in audio.rows]
        alike = {unicodedata.normalize("NFC", k): k for k in spare}
        twins = set()
        for key in (k for k in audio.rows if k not in other.rows):
            twin = alike.get(unicodedata.normalize("NFC", key))
            if twin is not None:
                twins.add(twin)
                problems.append(
                    f"{audio.where(key)}: {key}: {_shown(key)} here, {_shown(twin)} in "
                    f"{other.where(twin)}: accents written in two ways; write the ids alike"
                )
                continue
            problems.append(
                f"{audio.where(key)}: {key}: has no line in {other.path}; add it or remove this one"
            )
        for key in (k for k in spare if k not in twins):
            problems.append(
                f"{other.where(key)}: {key}: has no line in {audio.path}; add it or remove this one"
            )


def check_transcripts(text: Table, allowed: Mapping[str, str] | None, needed: bool) -> None:
    """Note the transcripts that are empty, or cannot be written.

    Args:
        text: utterance → transcript; problems go there.
        allowed: characters, each with the name of the list that has it; None: all.
        needed: an empty transcript is a problem.
    """
    for (key, transcript), number in zip(text.rows.items(), text.numbers, strict=True):
        if not transcript and needed:
            text.say(number, f"{key}: empty transcript; write one or remove the utterance")
        elif allowed is not None:
            bad = [c for c in dict.fromkeys(transcript) if c not in allowed]
            if bad:
                name = next(iter(allowed.values()), "the token list")
                listed = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in bad[:5])
                upper = all(c.upper() in allowed for c in bad)
                hint = "write it in upper case" if upper else "normalise the transcript"
                text.say(number, f"{key}: {listed} not in {name}; {hint}")
