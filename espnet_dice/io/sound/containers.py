"""What the header of an uncompressed container promises, beside the bytes that are there."""

import re
import struct
from dataclasses import dataclass
from typing import BinaryIO


class Disagreement(ValueError):
    """A header and what follows it do not fit together; the message says how, and the way out."""


@dataclass(frozen=True)
class Promise:
    """Bytes of samples, as a header counts them and as the file has them.

    Attributes:
        start: where the samples begin.
        promised: bytes, or None where the header was written before they were counted.
        there: bytes up to the end of the file.
        behind: bytes after the promised ones that belong to no chunk.
        field: where the header counts them, as what, and how many others with them.
    """

    start: int
    promised: int | None
    there: int
    behind: int = 0
    field: tuple[int, str, int] | None = None

    def settled(self, data: bytes) -> bytes:
        """The file with the bytes that are there written into its header."""
        if self.field is None:
            return data
        made, (at, form, others) = bytearray(data), self.field
        top = 256 ** struct.calcsize(form) - 1
        struct.pack_into(form, made, at, min(self.there + others, top))
        return bytes(made)

    @property
    def size(self) -> int:
        """Bytes of samples to read.

        Raises:
            Disagreement: the header promises more or fewer than there are.
        """
        if self.promised is None:
            return self.there
        if self.there < self.promised:
            raise truncated(self.promised, "bytes", self.there)
        if self.behind:
            raise Disagreement(
                f"the header promises {self.promised} bytes of samples, {self.behind} more follow: "
                "it was written too early, or two files were joined; write the file again "
                "(sox --ignore-length) or remove the utterance"
            )
        return self.promised


def truncated(promised: int, what: str, there: int) -> Disagreement:
    """What to raise where fewer bytes or samples are there than a header promises."""
    return Disagreement(
        f"truncated: the header promises {promised} {what}, there are {there}; "
        "copy the file again or remove the utterance"
    )


@dataclass(frozen=True)
class _Layout:
    """How a container of chunks is laid out.

    Attributes:
        first: where the first chunk begins.
        head: name and size of a chunk.
        data: name of the chunk of samples.
        inside: bytes in that chunk before the samples.
        counts_head: the size of a chunk counts its head.
        align: chunks begin at multiples of this.
    """

    first: int
    head: struct.Struct
    data: bytes
    inside: int = 0
    counts_head: bool = False
    align: int = 2


_RIFF = _Layout(12, struct.Struct("<4sI"), b"data")
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_LAYOUTS = {
    b"RIFF": _RIFF,
    b"RF64": _RIFF,
    b"BW64": _RIFF,
    b"RIFX": _Layout(12, struct.Struct(">4sI"), b"data"),
    b"AIFF": _Layout(12, struct.Struct(">4sI"), b"SSND", 8),
    b"AIFC": _Layout(12, struct.Struct(">4sI"), b"SSND", 8),
    b"8SVX": _Layout(12, struct.Struct(">4sI"), b"BODY"),
    b"16SV": _Layout(12, struct.Struct(">4sI"), b"BODY"),
    b"riff": _Layout(40, struct.Struct("<16sQ"), _W64_DATA, counts_head=True, align=8),
    b"caff": _Layout(8, struct.Struct(">4sQ"), b"data", 4, align=1),
}
_FILES = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM", b"riff", b"caff", b"fLaC", b"OggS")
_NOTES = (b"LIST", b"list", b"id3 ", b"ID3 ", b"bext", b"JUNK", b"junk", b"PAD ")


def read_promise(f: BinaryIO, size: int, begin: int = 0, alone: bool = True) -> Promise | None:
    """What the header of a file promises of its samples.

    Args:
        f: what holds the file, to seek in.
        size: bytes from ``begin`` on.
        begin: where the file begins.
        alone: the file ends where ``f`` does; else what follows the samples is not looked at.

    Returns:
        None for a container that is not known here.
    """
    f.seek(begin)
    head = f.read(24)
    if head.startswith(b"NIST_1A"):
        return _sphere(f, size)
    if head[:4] in (b".snd", b"dns.") and len(head) == 24:
        order = ">" if head[:4] == b".snd" else "<"
        start, promised = struct.unpack_from(f"{order}II", head, 4)
        there = max(0, size - start)
        field = 8, f"{order}I", 0
        return Promise(start, _said(promised), there, max(0, there - promised), field)
    layout = _LAYOUTS.get(head[8:12] if head[:4] == b"FORM" else head[:4])
    return _chunks(f, size, begin, layout, alone) if layout else None


def _chunks(f: BinaryIO, size: int, begin: int, layout: _Layout, alone: bool) -> Promise | None:
    at, long_size, found = layout.first, None, None
    while at + layout.head.size <= size:
        f.seek(begin + at)
        name, length = layout.head.unpack(f.read(layout.head.size))
        body = at + layout.head.size
        if name == b"ds64":  # RF64 and BW64: riff size and data size in 64 bits
            long_size = struct.unpack("<QQ", f.read(16).ljust(16, b"\0"))[1]
        if name == layout.data and found is None:
            if length == 0xFFFFFFFF and long_size is not None:
                length = long_size
            start = body + layout.inside
            if name == b"SSND":
                start += int.from_bytes(f.read(4), "big")
            said = _said(length - layout.head.size if layout.counts_head else length)
            if said is None or said <= start - body:
                form = layout.head.format[0] + layout.head.format[-1]
                others = start - (at if layout.counts_head else body)
                field = (body - struct.calcsize(form), form, others)
                return Promise(start, None, max(0, size - start), field=field)
            found = Promise(start, said - (start - body), max(0, size - start))
            if not alone:
                return found
        elif found and not _is_chunk(name, body + length <= size):
            break
        length -= layout.head.size if layout.counts_head else 0
        if length < 0:
            break
        at = body + length
        at += -at % layout.align
    if found is None or size <= at:
        return found
    f.seek(begin + at)
    if not f.read(layout.head.size).strip(b"\0") and size - at < layout.head.size:
        return found  # padding
    return Promise(found.start, found.promised, found.there, size - at)


def _said(size: int) -> int | None:
    """A size, or None for those that programs write when they do not know it.

    ffmpeg: 0 or all ones; sox: 0x7FFFF000, in AIFF 0x7F000000; arecord: 0x7FFFFFFF, 0x80000000.
    Headers or pads may have been added to them.
    """
    for unknown in (0x7F000000, 0x7FFFF000, 0x7FFFFFFF, 0x80000000):
        if unknown <= size <= unknown + 0x100:
            return None
    return None if size == 0 or 0xFFFFFF00 <= size <= 0xFFFFFFFF or size >= 2**62 else size


def _is_chunk(name: bytes, fits: bool) -> bool:
    """Whether what follows the samples is a chunk, rather than samples or another file."""
    if name[:4] in _NOTES:
        return True  # notes that were cut take no samples with them
    printable = all(32 <= c < 127 for c in name[:4])
    return fits and printable and name[:4] not in (*_FILES, b"data", b"SSND", b"BODY")


def _sphere(f: BinaryIO, size: int) -> Promise | None:
    f.seek(8)
    length = f.readline(16).strip()
    if not length.isdigit():
        return None
    start = int(length)
    f.seek(0)
    head = f.read(start)
    fields = {name: int(n) for name, n in re.findall(rb"(?m)^(\w+) -\w+ (-?\d+)\s*$", head)}
    there = max(0, size - start)
    samples = fields.get(b"sample_count", 0)
    if samples < 1:
        return Promise(start, None, there)
    width = fields.get(b"sample_n_bytes", 1 if b"law" in head else 2)
    promised = samples * fields.get(b"channel_count", 1) * width
    return Promise(start, promised, there, max(0, there - promised))
