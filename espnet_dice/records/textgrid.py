"""Praat's TextGrid files, long and short, as its manual describes them.

Either is a sequence of free-standing numbers, quoted texts and flags; the words and signs that a
long file has between them are comments.
"""

import codecs
import re
from pathlib import Path
from typing import NamedTuple

from espnet_dice.io.errors import DataError

_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?<!\S)(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?!\S)|<\w+>')


class Interval(NamedTuple):
    """One interval of a tier; times in seconds, and the line of its text."""

    start: float
    end: float
    text: str
    line: int


class _Tokens:
    def __init__(self, path: Path, text: str):
        self.path, self.text = path, text
        self.matches = _TOKEN.finditer(text)
        self.line, self._seen = 1, 0

    def _next(self, what: str) -> re.Match[str]:
        match = next(self.matches, None)
        if match is None:
            raise DataError(f"{self.path}: ends where {what} should be: is it cut off?")
        self.line += self.text.count("\n", self._seen, match.start())
        self._seen = match.start()
        return match

    def flag(self) -> str:
        return self._next("a flag")[0]

    def number(self) -> float:
        match = self._next("a number")
        if match[2] is None:
            raise DataError(f"{self.path}:{self.line}: {match[0]} where a number should be")
        return float(match[2])

    def string(self) -> str:
        match = self._next("a text")
        if match[1] is None:
            raise DataError(f"{self.path}:{self.line}: {match[0]} where a quoted text should be")
        return match[1].replace('""', '"').strip()


def intervals(path: Path, tier: str) -> list[Interval]:
    """The intervals of a tier, the empty ones too.

    Args:
        path: UTF-8, or UTF-16 with a byte-order mark.
        tier: its name, or what its name ends with after ``" - "``, as that of one of several
            speakers does; upper and lower case are the same.

    Raises:
        DataError: it is no TextGrid, or has no such tier, or several.
    """
    data = path.read_bytes()
    try:
        text = data.decode(
            "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        )
    except UnicodeDecodeError as err:
        raise DataError(f"{path}: neither UTF-8 nor UTF-16 ({err})") from None
    tokens = _Tokens(path, text)
    if "ooTextFile" not in tokens.string() or tokens.string() != "TextGrid":
        raise DataError(f"{path}: no TextGrid in text form; save it as one in Praat")
    tokens.number(), tokens.number()
    tiers = int(tokens.number()) if tokens.flag() == "<exists>" else 0
    found, names = [], []
    for _ in range(tiers):
        kind, name = tokens.string(), tokens.string()
        tokens.number(), tokens.number()
        spans = []
        for _ in range(int(tokens.number())):
            start = tokens.number()
            end = tokens.number() if kind == "IntervalTier" else start
            spans.append(Interval(start, end, tokens.string(), tokens.line))
        names.append(name)
        if name.lower().rpartition(" - ")[2] == tier and kind == "IntervalTier":
            found.append(spans)
    if len(found) != 1:
        raise DataError(
            f"{path}: {len(found)} interval tiers called '{tier}', expected one; it has "
            f"{', '.join(names) or 'none'}"
        )
    return found[0]
