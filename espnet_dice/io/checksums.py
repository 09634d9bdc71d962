"""CRC-32 of what a stage made: noted when a directory is whole, compared before another reads it.

Disks lose bits and copies break off without a word, and nothing complains of a flipped byte in a
feature. The sums are in the directory's fingerprint, beside its key; a core compares 4 GB a second.
What is found damaged is moved aside and the directory no longer counts as whole, so that the stage
that made it makes it again when it is next run, the same to the byte.
"""

import logging
import os
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from espnet_dice.io import fingerprint
from espnet_dice.io.errors import StaleError

DAMAGED = ".damaged"
Sums = dict[str, list[int]]
"""Name → [bytes, CRC-32]; a directory counts as all its files in the order of their names."""
THREADS = 4
BLOCK = 1 << 20
MUCH = 1e9
_seen: set[tuple[str, str]] = set()


def of(paths: Iterable[str | Path]) -> Sums:
    """The sums of files and directories, by their names."""
    return {Path(path).name: _sum(Path(path)) for path in paths}


def verify(directory: str | Path) -> None:
    """Compare what is in a directory with what was made, once in a process unless it changes.

    A directory without sums, a user's own or of a version that noted none, is taken as it is.

    Args:
        directory: of a stage.

    Raises:
        StaleError: a file is missing, cut short or altered; it was moved aside.
    """
    directory = Path(directory)
    record = fingerprint.read(directory) or {}
    sums: Mapping[str, list[int]] = record.get(fingerprint.SUMS, {})
    mark = (str(directory.absolute()), _times(directory / name for name in sums))
    if mark in _seen or not sums:
        return
    size = sum(size for size, _ in sums.values())
    if size > MUCH:
        logging.info("%s: comparing %.0f GB with their checksums", directory, size / 1e9)
    with ThreadPoolExecutor(THREADS) as threads:  # zlib computes without Python's lock
        said = threads.map(lambda item: _compare(directory / item[0], item[1]), sums.items())
        bad = {name: what for name, what in zip(sums, said, strict=True) if what}
    if bad:
        raise _damaged(directory, record, bad)
    _seen.add(mark)


def _sum(path: Path) -> list[int]:
    size = crc = 0
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_dir():
            continue
        with open(file, "rb") as f:
            while block := f.read(BLOCK):
                size, crc = size + len(block), zlib.crc32(block, crc)
    return [size, crc]


def _compare(path: Path, wanted: list[int]) -> str:
    """What is wrong with a file, or nothing."""
    try:
        found = _sum(path)
    except FileNotFoundError:
        return "missing"
    if found[0] != wanted[0]:
        return f"{found[0]} bytes where {wanted[0]} were written"
    return "" if found == wanted else "its bytes are not those that were written (checksum)"


def _damaged(directory: Path, record: dict, bad: Mapping[str, str]) -> StaleError:
    name, what = next(iter(bad.items()))
    more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
    try:
        for damaged in bad:
            aside(directory / damaged)
        fingerprint.unfinish(directory, record)
        way_out = f"run the stage that made it again ({record['stage']}): it makes it anew"
    except OSError as err:
        way_out = f"remove {directory} ({err.strerror}), and make it again ({record['stage']})"
    return StaleError(f"{directory / name}: {what}{more}; is the disk sound? {way_out}")


def _times(paths: Iterable[Path]) -> str:
    try:
        return fingerprint.digest_stat(paths)
    except OSError:
        return ""


def aside(path: Path) -> None:
    """Rename a damaged file, so that nobody takes it for whole."""
    if path.exists():
        os.replace(path, path.with_name(path.name + DAMAGED))
