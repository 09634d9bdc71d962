"""Pages of an Ogg file (RFC 3533): whether all are there, and where one stream follows another."""

import io
import struct
import zlib
from dataclasses import dataclass

from espnet_dice.io.sound import tags
from espnet_dice.io.sound.containers import Disagreement

_HEAD = struct.Struct("<4sBBqIIIB")
_FIRST, _LAST = 2, 4
_FULL = 4096
"""libogg begins a page when the last one holds so many bytes, or when it is told to."""
_REVERSED = bytes(int(f"{c:08b}"[::-1], 2) for c in range(256))


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        start: where it begins.
        end: where it ends.
        sizes: bytes of each piece of a packet in it; 255 is a piece that is followed by another.
        flags: 2 begins a stream, 4 ends it.
        granule: samples up to its end, in the codec's own count; -1 if no packet ends in it.
        serial: its stream.
        number: its place in the stream.
    """

    start: int
    end: int
    sizes: bytes
    flags: int
    granule: int
    serial: int
    number: int

    @property
    def body(self) -> int:
        """Bytes of packets in it."""
        return sum(self.sizes)

    @property
    def runs_on(self) -> bool:
        """Its last packet goes on in the next page."""
        return self.sizes[-1:] == b"\xff"


def read_pages(data: bytes) -> list[Page]:
    """All pages of a file.

    Raises:
        Disagreement: a page that is damaged, incomplete or missing.
    """
    made: list[Page] = []
    numbers: dict[int, int] = {}
    at = 0
    while at < len(data):
        if data[at : at + 4] != b"OggS"[: len(data) - at]:
            passed = tags.end(io.BytesIO(data), at)
            if passed == at and data[at:].strip(b"\0\n"):
                raise Disagreement(
                    f"damaged: what follows Ogg page {len(made) - 1} is none; replace the file"
                )
            at = passed if passed > at else len(data)
            continue
        if at + _HEAD.size > len(data):
            raise _incomplete(made)
        _, _, flags, granule, serial, number, crc, count = _HEAD.unpack_from(data, at)
        sizes = data[at + _HEAD.size : at + _HEAD.size + count]
        end = at + _HEAD.size + count + sum(sizes)
        if len(sizes) < count or end > len(data):
            raise _incomplete(made)
        if _crc(data[at:end]) != crc:
            raise Disagreement(f"damaged: Ogg page {len(made)} has a wrong checksum; replace it")
        expected = number if flags & _FIRST else numbers.get(serial, -1) + 1
        if number != expected:
            raise Disagreement(
                f"truncated: Ogg pages {expected} to {number - 1} are missing; copy the file again "
                "or remove the utterance"
            )
        numbers[serial] = number
        made.append(Page(at, end, sizes, flags, granule, serial, number))
        at = end
    return made


def links(pages: list[Page]) -> list[list[Page]]:
    """Pages by the streams that follow each other; those that run side by side stay together."""
    made: list[list[Page]] = []
    for page in pages:
        begins = page.flags & _FIRST and not (made and made[-1][-1].flags & _FIRST)
        if begins or not made:
            made.append([])
        made[-1].append(page)
    return made


def check_counts(data: bytes, link: list[Page]) -> None:
    """See that the pages of a stream count samples upwards, to the last.

    Raises:
        Disagreement: a count below the one before, or none on the last page.
    """
    head = data[link[0].end - link[0].body : link[0].end]
    skipped = int.from_bytes(head[10:12], "little") if head[:8] == b"OpusHead" else 0
    counts: dict[int, int] = {}
    for at, page in enumerate(link):
        before = counts.get(page.serial, 0)
        if page is link[-1]:
            before = max(before, skipped)
        if page.granule >= 0:
            counts[page.serial] = page.granule
        if page.granule < before and (page.granule >= 0 or page is link[-1]):
            raise Disagreement(
                f"damaged: Ogg page {at} counts {page.granule} samples up to its end, and what is "
                f"before it has {before}; replace the file"
            )


def has_end(link: list[Page]) -> bool:
    """Whether its last page says that it is the last."""
    return bool(link[-1].flags & _LAST)


def was_flushed(link: list[Page]) -> bool:
    """Whether a Vorbis stream ends with a page that was closed before it was full.

    libogg fills pages, so the page that is not full is the last.
    """
    bodies = [page.body for page in link if page.granule != 0]
    return bool(bodies) and bodies[-1] < _FULL and all(n >= _FULL for n in bodies[:-1])


def is_trimmed(data: bytes, link: list[Page]) -> bool:
    """Whether an Opus stream ends within its last packets, which only a last page may say.

    Opus says in the first two bytes of a packet how long it is (RFC 6716, section 3.1).
    """
    held, before, packet = 0, 0, b""
    for page in link:
        at = page.end - page.body
        held = 0
        for size in page.sizes:
            packet += data[at : at + min(size, 2)]
            at += size
            if size < 255:
                held, packet = held + _duration(packet), b""
        if page is not link[-1] and page.granule >= 0:
            before = page.granule
    return held > link[-1].granule - before


def _duration(packet: bytes) -> int:
    """Samples of an Opus packet, at 48 kHz."""
    if len(packet) < 2:
        return 0
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        frame = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:
        frame = (480, 960)[config & 1]
    else:
        frame = 120 << (config & 3)
    return frame * (1 if code == 0 else packet[1] & 63 if code == 3 else 2)


def ended(data: bytes, link: list[Page], more: int = 0) -> bytes:
    """A stream whose last page says that it is the last.

    Args:
        data: the file.
        link: the stream's pages.
        more: add this to its last count of samples.
    """
    last = link[-1]
    page = bytearray(data[last.start : last.end])
    page[5] |= _LAST
    page[6:14] = struct.pack("<q", last.granule + more)
    page[22:26] = struct.pack("<I", _crc(bytes(page)))
    return data[link[0].start : last.start] + bytes(page)


def no_end() -> Disagreement:
    """What to raise where the last page is missing."""
    return Disagreement(
        "truncated: the last Ogg page is missing (none is marked as the last); copy the file "
        "again, write it again if it was recorded so (ffmpeg -i IN -c copy OUT), or remove the "
        "utterance"
    )


def _incomplete(pages: list[Page]) -> Disagreement:
    if not pages:
        return Disagreement("unreadable audio (not one whole Ogg page); replace the file")
    return Disagreement(
        "truncated: the last Ogg page is incomplete; copy the file again or remove the utterance"
    )


def _crc(page: bytes) -> int:
    """The checksum of a page: zlib's polynomial, with the bits the other way round."""
    zeroed = page[:22] + bytes(4) + page[26:]
    crc = zlib.crc32(zeroed.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)
