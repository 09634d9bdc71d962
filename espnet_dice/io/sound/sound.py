"""One file of audio, whose samples are counted and compared with what its header promises.

One rule for every format and container: the number of samples that a header promises, the number
that follows from the file itself, and the number that the decoder gives must agree. Where a header
does not say a number (a recording written to a pipe), the file's own counts. Where two numbers
differ, :class:`Disagreement` names both; nothing is shortened or lengthened.

Opening a file costs a look at its header and, in FLAC, at its last frame; only MPEG audio and Ogg
are read whole (not decoded), because their headers do not count what follows. The number of samples
that is known then is what the decoder must give later, when samples are read.
"""

import io
import re
from typing import Any, BinaryIO

import numpy as np

from espnet_dice.io.sound import containers, flac, mp3, ogg, tags
from espnet_dice.io.sound.containers import Disagreement, truncated
from espnet_dice.io.sound.decoder import Piped, decoded, length, opened

_WIDTH = {"PCM_S8": 1, "PCM_U8": 1, "ULAW": 1, "ALAW": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4}
_WIDTH |= {"FLOAT": 4, "DOUBLE": 8}
"""Bytes of a sample; other codecs have blocks, which libsndfile counts."""
_LOGGED = {
    "AIFF": r"Frame count read from 'COMM' chunk \((\d+)\)",
    "AVR": r"Frames\s*: (\d+)",
    "MAT5": r"Cols\s*: (\d+)",
    "MPC2K": r"Frames\s*: (\d+)",
    "SDS": r"Frames\s*: (\d+)",
    "WVE": r"Data length (\d+) should be",
}
"""Where libsndfile's log names the samples that a header promises, or (SDS) that are there."""
_INEXACT = ("VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III")
"""After a seek libsndfile gives other samples, most of all near the end, or none."""
_BLOCKS_COUNTED = (("AIFF", "IMA_ADPCM"), ("AIFF", "GSM610"))
_UNCHECKED = ("MAT4", "PAF")
"""What follows the samples, or a cut within a block, is not seen in them."""
_PADDING = 1 << 13
"""What an encoder may add to MPEG audio: two numbers of 12 bits."""
_BEYOND = 480000
"""Samples; no page of Vorbis holds so many."""


class Sound:
    """Audio that can be read, with its number of samples.

    Args:
        source: a file's path, or the bytes of one.

    Attributes:
        rate: in Hz.
        channels: their number.
        frames: samples of each channel.
        plain: libsndfile, given the path, reads the same.

    Raises:
        Disagreement: the file is not as long as its header promises, or unreadable.
    """

    def __init__(self, source: str | bytes):
        self._source = source
        with self._stream() as f:
            at = tags.end(f, 0)
            f.seek(at)
            head = f.read(4)
            # libsndfile passes over one tag, and then counts the bytes of the rest wrongly
            if at and head and not mp3.SYNC.match(head):
                self._source = head + f.read()
        with self._stream() as f:
            self._promise = promise = containers.read_promise(f, f.seek(0, 2))
            # its size comes first: asked for, it says what is wrong
            streamed = promise is not None and promise.size >= 0 and promise.promised is None
            f.seek(0)
            is_ogg = f.read(4) == b"OggS"
        # soundfile asks for the rate of what is named .raw, without a look into it
        raw = isinstance(source, str) and source.lower().endswith(".raw")
        self.plain = self._source is source and not raw
        self._parts: list[Any] = []
        if is_ogg:  # libsndfile may not open one without its last page
            self._open_ogg()
        elif streamed:
            self._replace(self._promise.settled(self._bytes()))
        else:
            self._parts = [opened(self._source)]
        first = self._parts[0]
        self.rate, self.channels = first.samplerate, first.channels
        self._whole: np.ndarray | None = None
        self._flac: flac.StreamInfo | None = None
        check = {"FLAC": self._check_flac, "MP3": self._check_mp3}
        try:
            if not is_ogg:
                check.get(first.format, self._check_container)()
        except BaseException:
            self.close()
            raise
        for part in self._parts[1:]:
            if (part.samplerate, part.channels) != (self.rate, self.channels):
                self.close()
                raise Disagreement(
                    f"joined of {self.rate} Hz, {self.channels} channels and {part.samplerate} Hz, "
                    f"{part.channels} channels; take the parts apart"
                )
        self.frames = sum(part.frames for part in self._parts)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Samples from ``start`` on, up to ``stop``: (samples, channels) float32.

        They are those of the whole file, which is decoded once where the codec cannot seek to the
        sample, and kept.

        Raises:
            Disagreement: the decoder gives fewer than were promised, or fails.
        """
        if self._whole is None and len(self._parts) == 1 and self._parts[0].seekable():
            part = self._parts[0]
            if part.subtype not in _INEXACT:
                return decoded(part, start, stop)
        if self._whole is None:
            self._whole = np.concatenate([decoded(p, 0, p.frames) for p in self._parts])
        return self._whole[start:stop]

    def check_end(self) -> None:
        """See that nothing follows the last sample, which only a look through all bytes can show.

        Raises:
            Disagreement: a second FLAC file follows.
        """
        if self._flac is not None and flac.is_joined(self._bytes(), self._flac):
            raise Disagreement(
                f"a second FLAC file follows the {self.frames} samples of the first; "
                "take them apart, or decode each and write one file"
            )

    def close(self) -> None:
        """Close the file."""
        for part in self._parts:
            part.close()

    def _stream(self) -> BinaryIO:
        if isinstance(self._source, bytes):
            return io.BytesIO(self._source)
        try:
            return open(self._source, "rb")
        except OSError as err:
            raise Disagreement(f"unreadable audio ({err.strerror}); replace the file") from err

    def _bytes(self) -> bytes:
        with self._stream() as f:
            return f.read()

    def _replace(self, *parts: bytes) -> None:
        self.close()
        self.plain = False
        self._parts = [opened(part) for part in parts]

    def _check_container(self) -> None:
        part = self._parts[0]
        if self._promise is not None:
            size, width = self._promise.size, _WIDTH.get(part.subtype)
            if width and size // (width * part.channels) != part.frames:
                raise _misread(size // (width * part.channels), part.frames)
        if part.format in _UNCHECKED or part.subtype.startswith("MPEG"):
            raise Disagreement(
                f"a {part.format} file of {part.subtype}, whose length cannot be checked; "
                "write it as WAV or FLAC"
            )
        log = part.extra_info
        if part.format == "VOC" and "Seems to be a" in log:
            raise Disagreement(
                "its blocks do not end where the file does: truncated, or of several blocks; "
                "write it again as WAV"
            )
        promised = re.findall(_LOGGED.get(part.format, r"(?!)"), log)
        if not promised or not self.plain or (part.format, part.subtype) in _BLOCKS_COUNTED:
            return
        said, there = int(promised[-1]), part.frames
        if part.format == "SDS":  # the log has what is there, to the end of a packet
            said, there = there, max(there, said - 59) if said > there else said
        if said != there:
            raise _misread(said, there)

    def _check_flac(self) -> None:
        with self._stream() as f:
            self._flac = info = flac.stream_info(f)
            total = flac.count(f, f.seek(0, 2), info)
        if not info.total:
            self._replace(flac.with_total(self._bytes(), info, total))

    def _open_ogg(self) -> None:
        data = self._bytes()
        links = ogg.links(ogg.read_pages(data))
        for link in links:
            if not ogg.has_end(link) and (link[-1].runs_on or link[-1].granule < 0):
                raise ogg.no_end()
            ogg.check_counts(data, link)
        if len(links) == 1 and ogg.has_end(links[0]) and links[0][-1].end == len(data):
            self._parts = [opened(self._source)]
            return
        parts = []
        for link in links:
            made = ogg.ended(data, link)
            if not ogg.has_end(link) and not _has_real_end(data, link):
                raise ogg.no_end()
            parts.append(made)
        self._replace(*parts)

    def _check_mp3(self) -> None:
        streams = mp3.read_streams(self._bytes())
        if len(streams) > 1 or not streams[0].counted:
            self._replace(*(stream.data for stream in streams))
        for at, (part, stream) in enumerate(zip(self._parts, streams, strict=True)):
            if not stream.counted:
                self._parts[at] = Piped(part, stream)
            elif not stream.samples - _PADDING <= part.frames <= stream.samples:
                raise _misread(stream.samples, part.frames)


def _has_real_end(data: bytes, link: list[ogg.Page]) -> bool:
    """Whether the last page is the last, though it does not say so."""
    if b"OpusHead" in data[link[0].start : link[0].end]:
        return ogg.is_trimmed(data, link)
    if ogg.was_flushed(link):
        return True
    # the last page says where within its packets the end is: they hold more
    return length(ogg.ended(data, link, _BEYOND)) > length(ogg.ended(data, link))


def _misread(promised: int, there: int) -> Disagreement:
    if there < promised:
        return truncated(promised, "samples", there)
    return Disagreement(
        f"the header promises {promised} samples, there are {there}: it was written too early; "
        "write the file again (as WAV or FLAC) or remove the utterance"
    )
