"""Lines of a text for a language model or a token list: Kaldi's, or sentences; packed or not."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from espnet_dice.io.errors import DataError
from espnet_dice.io.tables import UTF16

GZIP = b"\x1f\x8b"


def lines(path: Path) -> Iterator[str]:
    """The lines, without their ends and without byte-order marks; a file of any size.

    A mark may be on any line: files that each had one were joined. What gzip packed is unpacked,
    whatever the file is called.

    Raises:
        DataError: the file is not UTF-8, or damaged.
    """
    with open(path, "rb") as f:
        head = f.read(2)
    if head in UTF16:
        raise DataError(f"{path}: UTF-16; convert it: iconv -f UTF-16 -t UTF-8")
    packed = head == GZIP or path.suffix == ".gz"
    n = 0
    try:
        with (gzip.open if packed else open)(path, "rt", encoding="utf-8-sig") as f:
            for line in f:
                n += 1
                yield line.rstrip("\n").removeprefix("\ufeff")
    except UnicodeDecodeError as err:
        raise DataError(f"{path}: not UTF-8 ({err}); convert it with iconv") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as err:
        raise DataError(
            f"{path}: line {n + 1} cannot be read ({err}); copy the file again"
        ) from None


def split_id(line: str) -> tuple[str, str]:
    """The id and the rest of a line of Kaldi's; spaces, tabs or others are between."""
    utt, *rest = line.split(maxsplit=1) or [""]
    return utt, rest[0] if rest else ""


def unpacked_name(path: Path) -> str:
    """The file's name without a last ``.gz``."""
    return path.name.removesuffix(".gz")
