"""How many samples a FLAC file holds: by its header, and by its last frame."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from espnet_dice.io.sound import tags
from espnet_dice.io.sound.containers import Disagreement, truncated

_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_BITS = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}
_START = b"fLaC\0\0\0\x22"
_START_LAST = b"fLaC\x80\0\0\x22"
"""Marker and head of STREAMINFO, where more metadata follows and where none does."""
_WINDOW = 1 << 18
"""Bytes in which the last frame is looked for, where the header does not tell the largest."""


@dataclass(frozen=True)
class StreamInfo:
    """What STREAMINFO says (RFC 9639, section 8.2).

    Attributes:
        at: where it begins in the file.
        block: samples of a block, where all blocks are alike.
        largest: bytes of the largest frame; 0 is unknown.
        channels: their number.
        bits: of a sample.
        total: samples; 0 is unknown.
    """

    at: int
    block: int
    largest: int
    channels: int
    bits: int
    total: int


def stream_info(f: BinaryIO) -> StreamInfo:
    """Read STREAMINFO."""
    f.seek(0)
    head = f.read(42)
    if head[:4] != b"fLaC" or len(head) < 42:
        raise Disagreement("no FLAC header at its beginning; replace the file")
    packed = int.from_bytes(head[18:26], "big")
    return StreamInfo(
        at=8,
        block=int.from_bytes(head[8:10], "big"),
        largest=int.from_bytes(head[15:18], "big"),
        channels=(packed >> 41 & 7) + 1,
        bits=(packed >> 36 & 31) + 1,
        total=packed & (1 << 36) - 1,
    )


def count(f: BinaryIO, size: int, info: StreamInfo) -> int:
    """Samples of a file, from the header of its last frame; nothing is decoded.

    Raises:
        Disagreement: STREAMINFO and the last frame name different numbers, or the number is unknown
            and the last frame incomplete.
    """
    window = max(2 * info.largest, 1 << 14) if info.largest else _WINDOW
    for begin in dict.fromkeys((max(0, size - window), 0)):
        f.seek(begin)
        data = f.read(size - begin)
        frames = list(_frames(data, info))
        if not info.total:
            data = data[: tags.begin(data)]
            for at, first, samples in reversed(frames):
                if _crc16(data[at:]) == 0:
                    return first + samples
            if begin == 0 and not frames:
                raise Disagreement("zero samples; remove the utterance")
            continue
        ends = {first + samples for _, first, samples in frames}
        # bytes within a frame pass as a header once in 2 GB: frames go on where others end
        frames = [
            (at, first, samples)
            for at, first, samples in frames
            if first < info.total or first in ends or _is_whole(data, at, frames)
        ]
        end = max((first + samples for _, first, samples in frames), default=0)
        fits = any(first + samples == info.total for _, first, samples in frames)
        if fits and all(first < info.total for _, first, _ in frames):
            return info.total
        if end > info.total:
            raise Disagreement(
                f"the header promises {info.total} samples, the frames go on to {end}: it was "
                "written too early, or two files were joined; write the file again (flac -d, then "
                "flac)"
            )
    if not info.total:
        raise Disagreement(
            "truncated: the header does not say how many samples there are, and the last frame is "
            "incomplete; copy the file again or remove the utterance"
        )
    raise truncated(info.total, "samples", end)


_ENDS = 3
"""How many of the next headers may be where a frame ends: the first, unless that is none either."""


def _is_whole(data: bytes, at: int, frames: list[tuple[int, int, int]]) -> bool:
    """Whether a frame with its own CRC begins there."""
    ends = sorted({tags.begin(data), len(data), *(later for later, _, _ in frames)})
    return any(_crc16(data[at:end]) == 0 for end in [e for e in ends if e > at][:_ENDS])


def is_joined(data: bytes, info: StreamInfo) -> bool:
    """Whether a second FLAC file follows the first."""
    return any(data.find(start, info.at) >= 0 for start in (_START, _START_LAST))


def with_total(data: bytes, info: StreamInfo, total: int) -> bytes:
    """The file with its number of samples written into STREAMINFO."""
    at = info.at + 10
    packed = int.from_bytes(data[at : at + 8], "big") >> 36 << 36 | total
    return data[:at] + packed.to_bytes(8, "big") + data[at + 8 :]


def _frames(data: bytes, info: StreamInfo) -> Iterator[tuple[int, int, int]]:
    """(offset, first sample, samples) of frame headers (RFC 9639, section 9.1), each with its CRC.

    A header carries 8 bits of CRC, and some 25 more must be as STREAMINFO has them.
    """
    for match in _SYNC.finditer(data):
        at = match.start()
        found = _header(data[at : at + 16].ljust(16, b"\0"), info)
        if found:
            yield at, *found


def _header(head: bytes, info: StreamInfo) -> tuple[int, int] | None:
    size_code, rate_code = head[2] >> 4, head[2] & 15
    channels, bits = head[3] >> 4, head[3] >> 1 & 7
    if size_code == 0 or rate_code == 15 or head[3] & 1 or channels > 10 or bits == 3:
        return None
    if (2 if channels > 7 else channels + 1) != info.channels:
        return None
    if bits and _BITS[bits] != info.bits:
        return None
    ones = len(f"{head[4]:08b}".split("0")[0])
    more = max(0, ones - 1)
    rest = head[5 : 5 + more]
    if ones in (1, 8) or any(c >> 6 != 2 for c in rest):
        return None
    number = head[4] & (0x7F >> ones)
    for c in rest:
        number = number << 6 | c & 63
    at = 5 + more
    if size_code < 6:
        samples = 192 if size_code == 1 else 576 << (size_code - 2)
    elif size_code < 8:
        width = size_code - 5
        samples = int.from_bytes(head[at : at + width], "big") + 1
        at += width
    else:
        samples = 256 << (size_code - 8)
    at += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if at >= len(head) or _crc8(head[:at]) != head[at]:
        return None
    return (number if head[1] & 1 else number * info.block), samples


def _table(polynomial: int, bits: int) -> list[int]:
    made, top, mask = [], 1 << (bits - 1), (1 << bits) - 1
    for value in range(256):
        value <<= bits - 8
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value & top else 0)) & mask
        made.append(value)
    return made


_CRC8, _CRC16 = _table(0x07, 8), _table(0x8005, 16)


def _crc8(data: bytes) -> int:
    crc = 0
    for c in data:
        crc = _CRC8[crc ^ c]
    return crc


def _crc16(data: bytes) -> int:
    """0 for a frame with its own CRC at its end."""
    crc = 0
    for c in data:
        crc = (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ c]
    return crc
