"""Frames of an MPEG audio file: where one stream follows another, and how many samples it holds."""

import io
import itertools
import re
from dataclasses import dataclass

from espnet_dice.io.sound import tags
from espnet_dice.io.sound.containers import Disagreement, truncated

SYNC = re.compile(rb"\xff[\xe2-\xff]")
_SAME = 0xFFFE0C00
"""Bits of a header that do not change within a stream: version, layer and sampling rate."""
_KBPS = {
    (3, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""kbit/s by (version 3 = MPEG-1, 2 = MPEG-2 and 2.5; layer 3 = I, 2 = II, 1 = III)."""


@dataclass(frozen=True)
class Stream:
    """One stream.

    Attributes:
        data: a file of it, without tags of other programs.
        samples: of its frames, with what the encoder added.
        counted: its first frame counts the others in a Xing or Info tag, which libmpg123
            understands; of others it guesses the length from the first bit rate.
    """

    data: bytes
    samples: int
    counted: bool


def read_streams(data: bytes) -> list[Stream]:
    """The streams of a file, one after the other.

    Raises:
        Disagreement: a count that is not that of the frames, or an incomplete last frame.
    """
    groups: list[tuple[int | None, list[tuple[int, int]]]] = []
    shape = None
    for at, size in _walk(data):
        tagged, last = _tagged(data[at : at + size]), shape
        shape = _shape(_header(data, at)) if tagged is None else None
        if tagged is not None or not groups or last not in (None, shape):
            groups.append((tagged, []))
        groups[-1][1].append((at, size))
    if not groups:
        raise Disagreement("no MPEG audio frame in it; replace the file")
    made = []
    ends = [frames[0][0] for _, frames in groups[1:]] + [len(data)]
    for (tagged, frames), end in zip(groups, ends, strict=True):
        audio = frames if tagged is None else frames[1:]
        promised = tagged or None
        complete = [frame for frame in audio if sum(frame) <= len(data)]
        if not audio:
            raise Disagreement("no sound in its MPEG frames; replace the file")
        if promised is not None and len(complete) > promised:
            raise Disagreement(
                f"the header promises {promised} frames, there are {len(complete)}: it was written "
                "too early, or files were joined; write the file again (ffmpeg -i IN -c copy OUT)"
            )
        if promised is not None and len(complete) < promised:
            raise truncated(promised, "frames", len(complete))
        if len(complete) < len(audio):
            raise Disagreement(
                "truncated: the last frame is incomplete; copy the file again or remove the "
                "utterance"
            )
        if promised is None:
            _check_gaps(data, audio, end)
        counted = promised is not None and b"VBRI" not in data[frames[0][0] : audio[0][0]]
        begin = frames[0][0] if counted else audio[0][0]
        samples = len(audio) * _samples(_header(data, begin))
        made.append(Stream(data[begin : sum(audio[-1])], samples, counted))
    return made


def _check_gaps(data: bytes, frames: list[tuple[int, int]], end: int) -> None:
    """See that nothing but tags lies between frames that nobody counted, and up to ``end``."""
    f = io.BytesIO(data)
    for frame, (following, _) in itertools.pairwise([*frames, (end, 0)]):
        at = tags.end(f, sum(frame))
        if at < following and (data[at:following].strip(b"\0\r\n") or following - at >= frame[1]):
            raise Disagreement(
                f"damaged: {following - at} bytes behind MPEG frame {frames.index(frame)} are no "
                "frames, and the file does not say how many there should be; replace the file"
            )


def _walk(data: bytes):
    """(offset, bytes) of each frame; tags are passed over, and so is what is no frame."""
    f, kind = io.BytesIO(data), None
    at = tags.end(f, 0)
    while at + 4 <= len(data):
        header = _header(data, at)
        size = _size(header)
        known = kind is not None and header & _SAME == kind
        if size and (known or _follows(data, at, size, header)):
            yield at, size
            kind, at = header & _SAME, at + size
        elif (end := tags.end(f, at)) > at:
            at, kind = end, None
        else:
            match = SYNC.search(data, at + 1)
            at, kind = (match.start(), None) if match else (len(data), None)


def _header(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _follows(data: bytes, at: int, size: int, header: int) -> bool:
    """Whether a frame of the same kind, a tag or the end follows a first frame."""
    end = at + size
    following = data[end : end + 4]
    if end == len(data) or following[:3] in (b"TAG", b"ID3", b"APE"):
        return True
    return len(following) == 4 and _header(data, end) & _SAME == header & _SAME


def _size(header: int) -> int:
    """Bytes of a frame, 0 if this is no header."""
    version, layer = header >> 19 & 3, header >> 17 & 3
    bitrate, rate = header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or version == 1 or layer == 0 or bitrate in (0, 15) or rate == 3:
        return 0
    bits = 1000 * _KBPS[3 if version == 3 else 2, layer][bitrate - 1]
    hertz = (44100, 48000, 32000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    pad = header >> 9 & 1
    if layer == 3:
        return (12 * bits // hertz + pad) * 4
    return _samples(header) // 8 * bits // hertz + pad


def _samples(header: int) -> int:
    """Samples of a frame."""
    version, layer = header >> 19 & 3, header >> 17 & 3
    if layer == 3:
        return 384
    return 576 if layer == 1 and version != 3 else 1152


def _side(header: int) -> int:
    """Where a tag lies in a frame of layer III."""
    mono, mpeg1 = header >> 6 & 3 == 3, header >> 19 & 3 == 3
    return 4 + ((17 if mono else 32) if mpeg1 else (9 if mono else 17))


def _shape(header: int) -> tuple[int, bool]:
    """What a stream keeps, and mono or not."""
    return header & _SAME, header >> 6 & 3 == 3


def _tagged(frame: bytes) -> int | None:
    """How many frames a Xing, Info or VBRI tag counts, 0 if none; None where there is no tag."""
    for at in {_side(_header(frame, 0)), 36}:
        if frame[at : at + 4] in (b"Xing", b"Info"):
            return int.from_bytes(frame[at + 8 : at + 12], "big") if frame[at + 7] & 1 else 0
    if frame[36:40] == b"VBRI":
        return int.from_bytes(frame[50:54], "big")
    return None
