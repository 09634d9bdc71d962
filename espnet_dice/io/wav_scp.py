"""Entries of ``wav.scp``: which file is meant, and where a command runs.

A relative path starts at the data directory, or (as ESPnet and Kaldi write them) at a directory up
to four levels above it or at the working directory: at the first of these where the file is. Each
line is decided by itself, and ``..`` behind a link goes where the system goes.
"""

import os
import re
import shlex
import unicodedata
from collections.abc import Sequence
from pathlib import Path

ARK_ENTRY = re.compile(r"(.+\.\w+):(\d+)")
ESCAPE = re.compile(r"\\(.)")
RANGE = re.compile(r"\[[\d:,]*\]$")
SEARCH_LEVELS = 4
"""How far above the data directory a relative path may start: ESPnet writes paths relative to its
recipe, and ``dump/raw/org/<set>`` is four levels below that."""
HINT = "paths in wav.scp are absolute, or relative to the data directory or a recipe above it"


def bases(path: Path) -> list[Path]:
    """Where relative paths may start: above the directory as it is named, then as it lies."""
    found, named = [path], path.absolute()
    while len(found) <= SEARCH_LEVELS and named.name != "..":  # "x/.." is not below "x"
        named = named.parent
        found.append(named)
    return list(dict.fromkeys([*found, *path.resolve().parents[:SEARCH_LEVELS], Path.cwd()]))


def find(bases: Sequence[Path], entry: str) -> tuple[str, str] | None:
    """(kind, resolved source) of a wav.scp entry, or None if there is no such file."""
    ark = ARK_ENTRY.fullmatch(entry)
    for base in bases:
        # no normpath: what is above a link's target is the system's to say
        if os.path.isfile(base / entry):
            return "file", str(base / entry)
        if ark and os.path.isfile(base / ark[1]):
            return "ark", str(base / entry)
    return None


def missing(path: Path, bases: Sequence[Path], entry: str) -> str:
    """What is wrong with an entry that names no file."""
    words = entry.split()
    there = [word for word in words if find(bases, word)] if len(words) > 1 else []
    if len(there) > 1:
        return (
            f"several files on a line ({', '.join(there)}): choose one; of several channels in one "
            "file, --channel takes one"
        )
    for form in ("NFC", "NFD"):
        if found := find(bases, unicodedata.normalize(form, entry)):
            return (
                f"no such file: {path / entry}; {found[1]} is there, its accents in {form}: write "
                "its name so"
            )
    rest = f"{there[0]} is there: leave the rest of the line out; " if there else ""
    shown = entry if "://" in entry else path / entry
    return f"no such file: {shown}; {rest}{hint(path, bases, entry)}"


def hint(path: Path, bases: Sequence[Path], entry: str, otherwise: str = HINT) -> str:
    """What is to be done about an entry that names no file, by how it is written.

    Args:
        path: where it starts.
        bases: where it may start, too.
        entry: is not empty.
        otherwise: is said where nothing about it is special.
    """
    if not entry.isprintable():
        return f"it has signs that do not show: {entry!a}; write it without them"
    if entry.startswith("file://"):
        return "addresses are not read: write the path alone"
    if "://" in entry:
        return "addresses are not read: download it, and write its path"
    if entry[0] in "\"'" and find(bases, entry.strip("\"'")):
        return "leave the quotes out"
    if entry[0] in "~$":
        return "~ and variables are not replaced here: write the whole path"
    if "\\" in entry and find(bases, ESCAPE.sub(r"\1", entry)):
        return "nothing is escaped here: leave \\ out"
    if "\\" in entry:
        return "it is a path of Windows: write / in it"
    if RANGE.search(entry) and find(bases, RANGE.sub("", entry)):
        return "parts of an entry are not read: leave [ ] out, and write segments"
    if (path / entry).is_dir():
        return "it is a directory"
    if (path / entry).exists():
        return "it is no plain file; what a device or a named pipe gives, a command can"
    if (path / entry).is_symlink():
        return "it is a link to nothing"
    return otherwise


def place(command: str, bases: Sequence[Path]) -> Path:
    """The directory that a command runs in.

    It is the one that has most of the files which the command names. Where none has any, it is the
    one that has most of the directories, and else the working directory, which is Kaldi's choice.
    """
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = list(lexer)
    except ValueError:  # a quote that is not closed: /bin/sh will say so
        words = command.split()
    names = {word for word in words if not word.startswith("/") and word.strip("./")}

    def files(base: Path) -> int:
        return sum(os.path.isfile(base / name) for name in names)

    def directories(base: Path) -> int:
        return sum(os.path.isdir(base / name) for name in names)

    best = max(bases, key=files)
    return best if files(best) else max((Path.cwd(), *bases), key=directories)
