"""What the header of an uncompressed container promises, beside the bytes that are there."""

import itertools
import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from espnet_dice.io.sound import tags


class Disagreement(ValueError):
    """A header and what follows it do not fit together; the message says how, and the way out."""


@dataclass(frozen=True)
class Promise:
    """Bytes of samples, as a header counts them and as the file has them.

    Attributes:
        start: where the samples begin.
        promised: bytes, or None where the header was written before they were counted.
        there: bytes up to the end of the file; where none are promised, up to its notes.
        behind: bytes after the promised ones that belong to no chunk and no tag.
        zeros: all of those are zero.
        field: where the header counts them, as what, and how many others with them.
    """

    start: int
    promised: int | None
    there: int
    behind: int = 0
    zeros: bool = False
    field: tuple[int, str, int] | None = None

    def settled(self, data: bytes) -> bytes:
        """The file up to its notes, with the bytes that are there written into its header."""
        made = bytearray(data[: self.start + self.there])
        if self.field is None:
            return bytes(made)
        at, form, others = self.field
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
        if self.behind and self.zeros:
            raise Disagreement(
                f"the header promises {self.promised} bytes of samples, {self.behind} zeros "
                "follow, padding or silence; write the file again (sox IN OUT leaves them out, "
                "with --ignore-length it takes them in) or remove the utterance"
            )
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
_NOTES = (b"LIST", b"list", b"id3 ", b"ID3 ", b"bext", b"JUNK", b"junk", b"PAD ", b"cue ", b"smpl")
_NOTES += (b"inst", b"fact", b"PEAK", b"levl", b"DISP", b"iXML", b"_PMX", b"afsp", b"COMM", b"COMT")
_NOTES += (b"ANNO", b"NAME", b"AUTH", b"(c) ", b"MARK", b"INST", b"APPL", b"MIDI", b"AESD", b"FVER")
_LONGEST_NOTES = 1 << 22
"""Bytes at the end of a file in which notes are looked for; 1 << 20 of them take 15 ms."""
_SECOND = re.compile(rb"(?:RIFF|RIFX|RF64)....WAVE", re.DOTALL)
_NOTE = re.compile(b"|".join(map(re.escape, (*_NOTES, b"TAG", b"ID3", b"APETAGEX"))))


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
        return _settle(f, size, start, _said(promised), (8, f"{order}I", 0))
    layout = _LAYOUTS.get(head[8:12] if head[:4] == b"FORM" else head[:4])
    return _chunks(f, size, begin, layout, alone) if layout else None


def _chunks(f: BinaryIO, size: int, begin: int, layout: _Layout, alone: bool) -> Promise | None:
    at, long_at, long_size = layout.first, 0, 0
    while at + layout.head.size <= size:
        f.seek(begin + at)
        name, length = layout.head.unpack(f.read(layout.head.size))
        body = at + layout.head.size
        if name == b"ds64":  # RF64 and BW64: riff size and data size in 64 bits
            long_at = body + 8
            long_size = struct.unpack("<QQ", f.read(16).ljust(16, b"\0"))[1]
        if name == layout.data:
            if long_at and length in (0, 0xFFFFFFFF):
                length = long_size
            start = body + layout.inside
            if name == b"SSND":
                start += int.from_bytes(f.read(4), "big")
            said = _said(length - layout.head.size if layout.counts_head else length)
            if said is not None and said > start - body:
                return _settle(f, size, start, said - (start - body), None, layout, alone)
            form = layout.head.format[0] + layout.head.format[-1]
            others = start - (at if layout.counts_head else body)
            field = (body - struct.calcsize(form), form, others)
            if long_at:  # libsndfile looks there
                field = long_at, "<Q", 0
            return _settle(f, size, start, None, field, layout, alone)
        length -= layout.head.size if layout.counts_head else 0
        if length < 0:
            break
        at = body + length
        at += -at % layout.align
    return None


def _settle(
    f: BinaryIO,
    size: int,
    start: int,
    promised: int | None,
    field: tuple[int, str, int] | None = None,
    layout: _Layout | None = None,
    alone: bool = True,
) -> Promise:
    """A promise, with a look at what lies behind the samples."""
    there = max(0, size - start)
    if not alone:
        return Promise(start, promised, there, field=field)
    if promised is None:
        return Promise(start, None, _uncounted(f, start, size, layout), field=field)
    end = start + promised
    if layout:
        end = _aligned(f, end, layout)
    end = _passed(f, end, size, layout)
    f.seek(end)
    rest = f.read() if end < size else b""
    zeros = not rest.strip(b"\0")
    if rest == b"\n" or (layout and zeros and len(rest) < layout.head.size):  # padding
        rest = b""
    return Promise(start, promised, there, len(rest), zeros)


def _uncounted(f: BinaryIO, start: int, size: int, layout: _Layout | None) -> int:
    """Bytes of samples that nobody counted: up to the notes that go on to the end of the file.

    A name of four letters whose sizes lead to the end of the file, to the byte, is none by chance.
    """
    f.seek(start)
    data = f.read()
    if b"WAVE" in data and _SECOND.search(data):  # the first is the faster look
        raise Disagreement(
            "a second file begins within its samples, which its header does not count; take the "
            "two apart or remove the utterance"
        )
    names = _NOTE.finditer(data, max(0, len(data) - _LONGEST_NOTES))
    for at in itertools.chain([0], (name.start() for name in names)):
        if 0 <= _passed(f, start + at, size, layout) - size < (layout.align if layout else 1):
            return at
    return len(data)


def _passed(f: BinaryIO, at: int, size: int, layout: _Layout | None) -> int:
    """Where the chunks and tags end that begin at ``at``."""
    before = -1
    while before < at < size:
        before, at = at, tags.end(f, at)
        f.seek(at)
        if layout and at == before and len(head := f.read(layout.head.size)) == layout.head.size:
            name, length = layout.head.unpack(head)
            end = at + length + (0 if layout.counts_head else layout.head.size)
            if end > at and _is_chunk(name, end <= size):
                at = _aligned(f, end, layout)
    return at


def _aligned(f: BinaryIO, end: int, layout: _Layout) -> int:
    """Where the next chunk begins; some programs leave out the padding before it."""
    f.seek(end)
    bare = f.read(4) in _NOTES or tags.end(f, end) > end
    return end if bare else end + -end % layout.align


def _said(size: int) -> int | None:
    """A size, or None for those that programs write when they do not know it.

    ffmpeg: 0 or all ones; sox: 0x7FFFF000, in AIFF 0x7F000000; arecord: 0x7FFFFFFF, 0x80000000.
    Some round these down, or take off headers; others add headers or pads.
    """
    streamed = 0x7F000000 <= size <= 0x7F000100 or 0x7FFF0000 <= size <= 0x80000100
    streamed |= 0xFFFF0000 <= size <= 0xFFFFFFFF or size >= 2**62
    return None if streamed or size == 0 else size


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
    if packed := re.search(rb"embedded-(\w+)", head):
        raise Disagreement(
            f"a SPHERE file packed by {packed[1].decode()}; let a command unpack it "
            "(sph2pipe -f wav FILE |)"
        )
    samples = fields.get(b"sample_count", 0)
    if samples < 1:
        return _settle(f, size, start, None)
    width = fields.get(b"sample_n_bytes", 1 if b"law" in head else 2)
    promised = samples * fields.get(b"channel_count", 1) * width
    return _settle(f, size, start, promised)
