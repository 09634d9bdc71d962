"""Kaldi's tables that stages have written, and lines of texts that others have, packed or not."""

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from espnet_dice.io.errors import DataError
from espnet_dice.io.sound.beginnings import packed_by
from espnet_dice.io.tables import unreadable

OTHER = re.compile(r"[\0\x80-\x84\x86-\x9f]")
"""What a text has that was taken for UTF-8: zeros of UTF-16, and what is a quote elsewhere."""
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(nan|inf)")


def lines(path: Path) -> Iterator[str]:
    """The lines, without their ends and without byte-order marks; a file of any size.

    A mark may be on any line: files that each had one were joined. What gzip packed is unpacked,
    whatever the file is called.

    Raises:
        DataError: the file is not UTF-8, packed by another tool, or damaged.
    """
    with open(path, "rb") as f:
        head = f.read(10)
    packed = packed_by(head) == "gzip"
    if not packed and (why := unreadable(head)):
        raise DataError(f"{path}: {why}")
    n = 0
    try:
        with (gzip.open if packed else open)(path, "rt", encoding="utf-8-sig") as f:
            for line in f:
                n += 1
                if sign := OTHER.search(line):
                    raise DataError(
                        f"{path}: line {n}: a control character (U+{ord(sign[0]):04X}): the "
                        "file is in another encoding than UTF-8; convert it with iconv"
                    )
                yield line.rstrip("\n").removeprefix("\ufeff")
    except UnicodeDecodeError as err:
        raise DataError(f"{path}: not UTF-8 ({err}); convert it with iconv") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as err:
        raise DataError(
            f"{path}: line {n + 1} cannot be read ({err}); copy the file again"
        ) from None


def number(word: str) -> float:
    """A number as tables have it; Python's own ``1_0`` and digits of other scripts are none.

    Raises:
        ValueError: the word is no number.
    """
    if not NUMBER.fullmatch(word):
        raise ValueError(f"{word!r} is no number")
    return float(word)


def split_id(line: str) -> tuple[str, str]:
    """The id and the rest of a line of Kaldi's; spaces, tabs or others are between."""
    utt, *rest = line.split(maxsplit=1) or [""]
    return utt, rest[0] if rest else ""


def table(path: Path, again: str = "run the stage that makes it again") -> dict[str, str]:
    """A table that a stage has written: id → the rest of its line.

    Args:
        path: the file.
        again: what to do where it is missing or damaged, for the message.

    Raises:
        DataError: it is missing or not UTF-8, a line is empty, or an id is listed twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path} is missing: {again}") from None
    except UnicodeDecodeError as err:
        raise DataError(f"{path}: not UTF-8 ({err}); remove it and {again}") from None
    rows: dict[str, str] = {}
    for n, line in enumerate(text.splitlines(), 1):
        utt, rest = split_id(line)
        if not utt or utt in rows:
            what = f"listed twice: {utt}" if utt else "empty line"
            raise DataError(f"{path}:{n}: {what}; remove the directory and {again}")
        rows[utt] = rest
    return rows


def words(path: Path, again: str = "run the stage that makes it again") -> dict[str, str]:
    """The same of a ``text``: words have single spaces between them, and there may be none."""
    return {utt: " ".join(said.split()) for utt, said in table(path, again).items()}


def unpacked_name(path: Path) -> str:
    """The file's name without a last ``.gz``."""
    return path.name.removesuffix(".gz")
