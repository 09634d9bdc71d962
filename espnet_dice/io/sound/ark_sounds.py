"""Audio in Kaldi archives: the bytes of one utterance, as they would be in a file of their own."""

import mmap
import re

from espnet_dice.io.sound.beginnings import packed_by
from espnet_dice.io.sound.containers import Disagreement, read_promise, truncated

_NEXT = re.compile(rb"[^\s\0]+ (?:RIFF|RIFX|RF64|fLaC|AUDIO|NPY|PKL|\0B)")
"""What may follow an utterance: the key of the next, and how its data begin."""
_FILE = re.compile(rb"fLaC[\0\x80]\0\0\x22|RIFF....WAVE|AUDIO[\1-\x08]", re.DOTALL)
"""How audio begins, with enough bytes to be found among others."""
_LONGEST_KEY = 4096


def read_entry(source: str) -> bytes:
    """The audio file at ``archive:offset``.

    kaldiio would take a matrix too, and unpickle what is marked as a pickle; and of WAVs it reads
    8 and 16 bits only. Bytes from here are read by libsndfile, as files are.

    Args:
        source: the archive's path, a colon, the offset.

    Raises:
        Disagreement: no audio at the offset, or audio whose end is not where its header says.
    """
    path, _, offset = source.rpartition(":")
    at = int(offset)
    with open(path, "rb") as f:
        size = f.seek(0, 2)
        if at >= size:
            raise _nothing()
        with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[at : at + 5] == b"AUDIO":  # kaldiio's own: the file with its length in front
                return _measured(data, at + 5)
            if data[at : at + 4] == b"fLaC":
                return _counted(data, at, size)
            if data[at : at + 4] in (b"RIFF", b"RIFX", b"RF64"):
                return _chunked(data, at, size)
            if tool := packed_by(data[:10]):
                raise Disagreement(
                    f"the archive is packed by {tool}, which has no offsets; unpack it"
                )
    raise _nothing()


def _nothing() -> Disagreement:
    return Disagreement("no audio at this offset of the archive; make it again")


def _measured(data: mmap.mmap, at: int) -> bytes:
    width = data[at] if at < len(data) else 0
    promised = int.from_bytes(data[at + 1 : at + 1 + width], "little")
    start = at + 1 + width
    if not 1 <= width <= 8:
        raise Disagreement("unreadable archive (no length before the audio); make it again")
    if start + promised > len(data):
        raise truncated(promised, "bytes", len(data) - start)
    _check_following(data, start + promised)
    return data[start : start + promised]


def _counted(data: mmap.mmap, at: int, size: int) -> bytes:
    """A FLAC file and the next key; how much of it is meant says its own count of samples."""
    if not data[at : at + 8].endswith(b"\0\0\x22"):
        raise Disagreement("unreadable archive (no STREAMINFO in this FLAC); make it again")
    if not int.from_bytes(data[at + 18 : at + 26], "big") & (1 << 36) - 1:
        raise _endless()
    following = _FILE.search(data, at + 8)
    end = following.start() if following else size
    if following and data[end - 1 : end] != b" ":
        raise _unknown_end()
    return data[at:end]


def _chunked(data: mmap.mmap, at: int, size: int) -> bytes:
    said = 8 + int.from_bytes(data[at + 4 : at + 8], "little")
    promise = read_promise(data, size - at, at, alone=False)
    if promise is None:
        if said > size - at:
            raise truncated(said, "bytes", size - at)
        raise Disagreement("unreadable archive (no samples in this WAV); make it again")
    if promise.promised is None:
        raise _endless()
    end = promise.start + promise.size
    if data[at : at + 4] == b"RIFF" and end < said <= size - at:
        end = said  # notes behind the samples
    _check_following(data, at + end)
    return data[at : at + end]


def _check_following(data: mmap.mmap, at: int) -> None:
    rest = data[at : at + _LONGEST_KEY]
    if rest.strip(b"\0\n") and not any(_NEXT.match(rest, skip) for skip in (0, 1)):
        raise _unknown_end()


def _unknown_end() -> Disagreement:
    return Disagreement(
        "its header promises less than is there: what follows its end in the archive is no "
        "other utterance; make the archive again"
    )


def _endless() -> Disagreement:
    return Disagreement(
        "its header does not say how long it is (it was written to a pipe), and in an archive "
        "nothing else does; write each file with its length, and make the archive again"
    )
