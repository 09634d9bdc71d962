"""Tags that other programs put before or behind audio: ID3 (both versions) and APE."""

import io
import re
from typing import BinaryIO

_BEGIN = re.compile(rb"TAG|ID3|APETAGEX")
_HEAD = 32


def end(f: BinaryIO, at: int) -> int:
    """Where the tags end that begin at ``at``, by their sizes; ``at`` where none does."""
    f.seek(at)
    while size := _size(f.read(_HEAD)):
        at += size
        f.seek(at)
    return at


def begin(data: bytes) -> int:
    """Where the tags begin that fill the rest of ``data``; its end where none do."""
    f = io.BytesIO(data)
    places = (match.start() for match in _BEGIN.finditer(data))
    return next((at for at in places if end(f, at) == len(data)), len(data))


def _size(head: bytes) -> int:
    """Bytes of the tag that begins with ``head``; 0 if none does."""
    if head[:3] == b"TAG":
        return 128
    if head[:8] == b"APETAGEX" and len(head) == _HEAD:
        return 32 + int.from_bytes(head[12:16], "little")
    if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 128:
        a, b, c, d = head[6:10]
        return 10 + (a << 21 | b << 14 | c << 7 | d) + (10 if head[5] & 16 else 0)
    return 0
