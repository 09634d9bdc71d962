"""Every format and codec that libsndfile writes, whole and with a header that says another length.

    python -m tests.campaign.lengths

Each file is read as a file, from a command, as segments and, where archives hold such files, in a
Kaldi archive. The result must be the samples that soundfile decodes from the whole file, or one
:class:`DataError`; stage 1 must say the length that is read then.
"""

import collections
import dataclasses
import io
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from espnet_dice.io.audio import AudioOptions, AudioReader
from espnet_dice.io.datadir import Recording, Utterance
from espnet_dice.io.errors import DataError
from tests.corpus import RATE, noise

LONG, SHORT = 30012, 11008
"""Samples of a file, and of one that begins in the same way; the latter are whole blocks."""
ENDLESS = ("PVF", "IRCAM", "XI")
"""Formats whose headers hold no length: a part of such a file is a file."""
IN_ARKS = ("WAV", "WAVEX", "RF64", "FLAC")
ID3 = b"ID3\4\0\0\0\0\0\x16" + bytes(22)
"""A tag, which some programs put before whatever they tag."""
TOLERANCE = 1e-6
"""Of lossy codecs after seeking; others agree to the bit."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One way to read one state of one kind of file.

    Attributes:
        kind: format and codec.
        state: whole, cut, early, late, streamed or joined.
        way: file, pipe, ark, segment (within) or rest (a segment up to the end).
        outcome: right, refused or what is wrong.
    """

    kind: str
    state: str
    way: str
    outcome: str


def encoded(samples: np.ndarray, kind: tuple[str, str], rate: int = RATE) -> bytes:
    """A file's bytes."""
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=kind[0], subtype=kind[1])
    return out.getvalue()


def decoded(data: bytes) -> tuple[np.ndarray, int]:
    """What soundfile reads of a file, and the rate."""
    with soundfile.SoundFile(io.BytesIO(data)) as f:
        return f.read(f.frames, dtype="float32"), f.samplerate


def kinds() -> list[tuple[str, str]]:
    """Formats and codecs that this libsndfile writes and reads from one file without being told."""
    made = []
    for name in soundfile.available_formats():
        for codec in soundfile.available_subtypes(name):
            try:
                if name not in ("SD2", "RAW"):
                    encoded(noise(0.1), (name, codec))
                    made.append((name, codec))
            except (soundfile.SoundFileError, AssertionError):
                continue
    return made


def states(kind: tuple[str, str]) -> dict[str, bytes]:
    """The same recording with a header that says its length, more, less or nothing."""
    signal = noise(LONG / RATE)
    long, short = encoded(signal, kind), encoded(signal[:SHORT], kind)
    made = {"whole": long, "cut": long[: int(0.6 * len(long))], "tagged": ID3 + long}
    if kind[0] not in ENDLESS:
        made["joined"] = long + short
    if kind[0] == "FLAC":
        made |= {"early": flac_total(long, SHORT), "late": flac_total(long, 2 * LONG)}
        made["streamed"] = flac_total(long, 0)
    elif kind[0] == "OGG":
        last = long.rindex(b"OggS")
        made["late"] = long[:last]  # what is missing says how much
        made["unended"] = long[:last] + ogg_page(long[last:], flags=0)
    elif kind[0] == "MP3":
        at = long.index(b"Xing") + 8 if b"Xing" in long else long.index(b"Info") + 8
        made["early"] = long[:at] + struct.pack(">I", 9) + long[at + 4 :]
        made["late"] = long[:at] + struct.pack(">I", 999) + long[at + 4 :]
    elif kind[0] not in ENDLESS:
        made |= {"early": short + long[len(short) :], "late": long[: len(short)]}
        made |= streamed(long, kind[0])
    return made


def flac_total(data: bytes, total: int) -> bytes:
    """A FLAC file whose header says another number of samples."""
    packed = int.from_bytes(data[18:26], "big") >> 36 << 36 | total
    return data[:18] + packed.to_bytes(8, "big") + data[26:]


def ogg_page(page: bytes, flags: int) -> bytes:
    """An Ogg page with other flags and the checksum that is theirs (RFC 3533), bit by bit."""
    made = bytearray(page)
    made[5], made[22:26] = flags, bytes(4)
    crc = 0
    for byte in made:
        crc ^= byte << 24
        for _ in range(8):
            crc = crc << 1 ^ (0x104C11DB7 if crc >> 31 else 0)
    made[22:26] = struct.pack("<I", crc)
    return bytes(made)


def chunk(name: bytes, body: bytes, order: str = "<") -> bytes:
    """A chunk of a WAV, or with ``>`` of an AIFF."""
    return name + struct.pack(f"{order}I", len(body)) + body + bytes(len(body) % 2)


def streamed(data: bytes, container: str) -> dict[str, bytes]:
    """A file as a program writes it to a pipe."""
    if container in ("WAV", "WAVEX"):
        at = data.index(b"data") + 4
        sizes = {
            "streamed": b"\xff" * 4,
            "streamed, 0": bytes(4),
            "streamed, sox": b"\0\xf0\xff\x7f",
        }
        made = {
            state: data[:4] + size + data[8:at] + size + data[at + 4 :]
            for state, size in sizes.items()
        }
        return made | {"streamed, notes": made["streamed"] + chunk(b"LIST", b"INFOISFT\0\0\0\0")}
    if container == "RF64":
        at = data.index(b"ds64") + 8
        return {"streamed": data[:at] + b"\xff" * 24 + data[at + 24 :]}
    if container == "AIFF":
        at = data.index(b"SSND") + 4
        made = data[:at] + bytes(4) + data[at + 4 :]
        return {"streamed": made, "streamed, notes": made + chunk(b"ANNO", b"by hand.", ">")}
    if container == "AU":
        return {"streamed": data[:8] + b"\xff" * 4 + data[12:]}
    if container == "CAF":
        at = data.index(b"data\0\0") + 4
        return {"streamed": data[:at] + b"\xff" * 8 + data[at + 8 :]}
    if container == "NIST":
        return {"streamed": data.replace(b"sample_count -i", b"sample_count_-i", 1)}
    return {}


def read_all(directory: Path, kind: tuple[str, str]) -> Iterator[Case]:
    """Every state, in every way."""
    name = " ".join(kind)
    made = states(kind)
    try:
        whole, rate = decoded(made["whole"])
    except soundfile.SoundFileError:
        whole, rate = None, RATE
    for state, data in made.items():
        want = whole
        if state == "joined" and whole is not None:
            want = np.concatenate([whole, decoded(data[len(made["whole"]) :])[0]])
        (directory / f"a.{kind[0].lower()}").write_bytes(data)
        for way, utt in utterances(directory, data, kind):
            yield Case(name, state, way, outcome(utt, way, rate, want, state, kind))


def utterances(directory: Path, data: bytes, kind: tuple[str, str]) -> Iterator:
    """(way, utterance)."""
    path = directory / f"a.{kind[0].lower()}"

    def utterance(source: str, how: str, start: float = 0.0, end: float | None = None):
        recording = Recording("r", how, source, str(directory), "wav.scp:1")
        return Utterance("u", recording, "A", "s", start, end, "wav.scp:1")

    yield "file", utterance(str(path), "file")
    yield "pipe", utterance(f"cat {path}", "pipe")
    yield "segment", utterance(str(path), "file", 0.1, 0.2)
    yield "rest", utterance(str(path), "file", 0.1)
    if kind[0] in IN_ARKS:
        other = encoded(noise(0.1), ("WAV", "PCM_16"))
        ark = directory / "a.ark"
        ark.write_bytes(b"u " + data + b"v " + other)
        yield "ark", utterance(f"{ark}:2", "ark")
        length = len(data).to_bytes(4, "little")
        ark.write_bytes(b"u AUDIO\4" + length + data + b"v " + other)
        yield "measured ark", utterance(f"{ark}:2", "ark")


def outcome(utt, way, rate, want, state, kind) -> str:
    """Read an utterance; "right", "refused", or what is wrong."""
    reader = AudioReader(AudioOptions(rate=rate, allow_pipes=True))
    try:
        seconds = reader.probe(utt)
        got, _ = reader.read(utt)
    except DataError:
        return "refused"
    except Exception as err:
        return f"{type(err).__name__}: {err}"
    if round(seconds * rate) != len(got):
        return f"stage 1 says {seconds} s, {len(got)} samples were read"
    if want is None:
        return "read what soundfile does not"
    if kind[0] in ENDLESS and state == "cut":
        want = want[: len(got) + round(utt.start * rate)]
    want = want[round(utt.start * rate) : utt.end and round(utt.end * rate)]
    if len(got) != len(want):
        return f"{len(got)} samples for {len(want)}"
    off = float(np.abs(got - want).max())
    return "right" if off <= TOLERANCE else f"other samples, by {off:.2g}"


def main() -> None:
    """The command: a table of states and ways."""
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    with tempfile.TemporaryDirectory() as tmp:
        for kind in kinds():
            for case in read_all(Path(tmp), kind):
                good = case.outcome in ("right", "refused")
                counts[case.state, case.outcome if good else "wrong"] += 1
                if not good:
                    print(f"{case.kind}, {case.state}, {case.way}: {case.outcome}")
    for state in dict.fromkeys(state for state, _ in counts):
        sums = [counts[state, word] for word in ("right", "refused", "wrong")]
        print(f"| {state} | {sum(sums)} | " + " | ".join(map(str, sums)) + " |")


if __name__ == "__main__":
    main()
