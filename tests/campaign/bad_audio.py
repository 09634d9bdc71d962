"""Audio that is wrong."""

import gzip
from pathlib import Path

import numpy as np

from espnet_dice.stages import data, features
from tests.campaign.catalogue import Command, case
from tests.corpus import make_corpus, noise, write_audio

AREA = "Audio"
HERE = Path("d")
FILE = HERE / "audio" / "u001.wav"


def check(*more: str) -> Command:
    """Headers only, as stage 1 does."""
    return data.main, ["--data_dir", "d", *more]


def read(kind: str = "fbank", *more: str) -> Command:
    """All samples, as stage 2 does."""
    argv = ["--data_dir", "d", "--out_dir", f"dump/{kind}/d", "--feats_type", kind, "--nj", "1"]
    return features.main, [*argv, *more]


def corpus(samples: np.ndarray | None = None, rate: int = 16000, **how) -> None:
    """``d``, with other audio in one file."""
    make_corpus(HERE)
    if samples is not None:
        write_audio(FILE, samples, rate, **how)


def cut(keep: float, name: str = "u001.wav") -> None:
    """Keep a share of a file's bytes."""
    path = HERE / "audio" / name
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])


@case(
    AREA, "another sampling rate", "wav.scp:2: u001", "8000 Hz, expected 16000", "--resample true"
)
def rate() -> Command:
    corpus(noise(0.3), 8000)
    return check()


@case(AREA, "two channels", "wav.scp:2: u001", "2 channels", "--channel 0")
def stereo() -> Command:
    corpus(np.stack([noise(0.3)] * 2, 1))
    return check()


@case(
    AREA, "a channel that is not there", "wav.scp:1: u000", "has no channel 1", "--channel counts"
)
def channel() -> Command:
    corpus()
    return check("--channel", "1")


@case(AREA, "an empty file", "wav.scp:2: u001", "unreadable audio", "replace the file")
def empty() -> Command:
    corpus()
    FILE.write_bytes(b"")
    return check()


@case(AREA, "a web page that was saved as audio", "wav.scp:2: u001", "unreadable", "replace")
def page() -> Command:
    corpus()
    FILE.write_text("<html>404</html>")
    return check()


@case(AREA, "the same, named .gsm", "wav.scp:2: u001", "begins with '<html>", "replace the file")
def page_named_gsm() -> Command:
    made = entry("audio/u001.gsm", "--fs", "8000", "--resample", "true")
    (HERE / "audio/u001.gsm").write_text("<html>404</html>" * 300)
    return made


@case(AREA, "an M4A", "wav.scp:2: u001", "it is MP4 or M4A", "ffmpeg -i IN OUT.wav")
def m4a() -> Command:
    corpus()
    FILE.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(99))
    return check()


@case(AREA, "a SPHERE file packed by shorten", "wav.scp:2: u001", "packed by shorten", "sph2pipe")
def shorten() -> Command:
    corpus(noise(0.3), format="NIST")
    head = FILE.read_bytes()[:1024].replace(b"-s3 pcm", b"-s26 pcm,embedded-shorten-v2.00")
    FILE.write_bytes(head[:1024] + b"ajkg" + bytes(999))
    return check()


@case(AREA, "zeros behind a WAV", "wav.scp:2: u001", "1024 zeros follow", "sox IN OUT")
def zeros() -> Command:
    corpus()
    FILE.write_bytes(FILE.read_bytes() + bytes(1024))
    return check()


@case(AREA, "an MP3 with a hole", "wav.scp:2: u001", "3000 bytes behind MPEG", "replace the file")
def hole() -> Command:
    corpus(noise(4.0), format="MP3")
    data = FILE.read_bytes()
    data = data[data.index(data[:2], 4) :]  # without the frame that counts the others
    at = data.index(data[:4], len(data) // 2)
    FILE.write_bytes(data[:at] + bytes(3000) + data[at + 3000 :])
    return check()


@case(AREA, "a file packed by gzip", "wav.scp:2: u001", "packed by gzip: unpack it")
def gzipped() -> Command:
    corpus()
    FILE.write_bytes(gzip.compress(FILE.read_bytes()))
    return check()


@case(AREA, "a pointer of Git LFS", "wav.scp:2: u001", "git lfs pull")
def pointer() -> Command:
    corpus()
    FILE.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    return check()


def entry(text: str, *more: str) -> Command:
    """Another line in ``wav.scp``."""
    corpus()
    table = HERE / "wav.scp"
    table.write_text(table.read_text().replace("u001 audio/u001.wav", f"u001 {text}"))
    return check(*more)


@case(AREA, "an archive without an offset", "wav.scp:2: u001", "offset is wanted", "FILE.ark:123")
def no_offset() -> Command:
    made = entry("audio/a.ark")
    (HERE / "audio/a.ark").write_bytes(b"u001 " + FILE.read_bytes())
    return made


@case(AREA, "a part of an entry", "wav.scp:2: u001", "parts of an entry are not read", "segments")
def part() -> Command:
    return entry("audio/u001.wav[0:99]")


@case(AREA, "a path in quotes", "wav.scp:2: u001: no such file", "leave the quotes out")
def quotes() -> Command:
    return entry('"audio/u001.wav"')


@case(AREA, "an address", "wav.scp:2: u001: no such file", "download it, and write its path")
def address() -> Command:
    return entry("https://example.org/u001.wav")


@case(AREA, "a path of Windows", "wav.scp:2: u001: no such file", "write / in it")
def windows() -> Command:
    return entry(r"audio\u001.wav")


@case(AREA, "a command that writes text", "wav.scp:2: u001: `echo hello`", "let the command write")
def text_of_command() -> Command:
    return entry("echo hello |", "--allow_pipes", "true")


@case(AREA, "a command that writes half a file", "u001: `head -c 500", "let the command write")
def half_of_command() -> Command:
    return entry("head -c 500 audio/u001.wav |", "--allow_pipes", "true")


@case(AREA, "a command that is not there", "u001: `no_such_sox a.wav`", "not found")
def no_command() -> Command:
    return entry("no_such_sox a.wav |", "--allow_pipes", "true")


@case(AREA, "a pipeline without its beginning", "u001: `cat gone.wav", "cat: gone.wav: No such")
def broken_pipeline() -> Command:
    return entry("cat gone.wav | cat |", "--allow_pipes", "true")


@case(AREA, "a header, no samples", "wav.scp:2: u001", "zero samples", "remove the utterance")
def no_samples() -> Command:
    corpus(np.zeros(0))
    return check()


@case(AREA, "a WAV cut short", "wav.scp:2: u001", "header promises", "copy the file again")
def cut_wav() -> Command:
    corpus()
    cut(0.5)
    return check()


@case(AREA, "a FLAC cut short", "wav.scp:2: u001", "promises 48000 samples", "copy the file again")
def cut_flac() -> Command:
    corpus()
    write_audio(HERE / "audio" / "u001.flac", noise(3.0))
    text = (HERE / "wav.scp").read_text().replace("u001.wav", "u001.flac")
    (HERE / "wav.scp").write_text(text)
    cut(0.7, "u001.flac")
    return check()


@case(AREA, "NaN samples", "wav.scp:2: u001", "NaN", "write the file again")
def nan() -> Command:
    corpus(np.full(4000, np.nan), subtype="FLOAT")
    return read()


@case(AREA, "floats as large as 16-bit integers", "wav.scp:2: u001", "[-1, 1]", "32768")
def scale() -> Command:
    corpus(30000 * noise(0.3), subtype="FLOAT")
    return read()


@case(AREA, "the same, for `--feats_type raw`", "wav.scp:2: u001", "[-1, 1]", "32768")
def scale_raw() -> Command:
    corpus(30000 * noise(0.3), subtype="FLOAT")
    return read("raw")


@case(AREA, "shorter than a frame", "wav.scp:2: u001", "20.0 ms are too short", "remove")
def short() -> Command:
    corpus(noise(0.02))
    return read()


@case(AREA, "a speed factor of zero", "speed factors [0.0, 1.0]", "from 0.1")
def speed() -> Command:
    corpus()
    return read("fbank", "--speed_perturb", "0 1.0")


@case(AREA, "speed factors with commas", "--speed_perturb '0.9,1.0'", "numbers")
def commas() -> Command:
    corpus()
    return read("fbank", "--speed_perturb", "0.9,1.0")


@case(AREA, "a sampling rate of zero", "--fs", "0")
def no_rate() -> Command:
    corpus()
    return check("--fs", "0")


@case(AREA, "a negative channel", "--channel", "-1")
def negative_channel() -> Command:
    corpus()
    return check("--channel", "-1")


@case(
    AREA,
    "lengths that leave nothing",
    "dump/fbank/d: all utterances are shorter than 5 s",
    "--min_wav_duration",
)
def all_short() -> Command:
    corpus()
    return read("fbank", "--min_wav_duration", "5")


@case(AREA, "a shortest above the longest", "--min_wav_duration 5", "--max_wav_duration 2", "give")
def crossed() -> Command:
    corpus()
    return read("fbank", "--min_wav_duration", "5", "--max_wav_duration", "2")
