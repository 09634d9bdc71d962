"""Data directories that are wrong."""

import gzip
from pathlib import Path

from espnet_dice.stages import data, features
from tests.campaign.catalogue import Command, case
from tests.corpus import make_corpus

AREA = "Data directories"
HERE = Path("d")


def check(*more: str) -> Command:
    """The command that checks ``d``."""
    return data.main, ["--data_dir", "d", *more]


def edit(name: str, old: str, new: str) -> None:
    """Replace text in a table of ``d``; what is replaced must be there."""
    path = HERE / name
    text = path.read_text()
    assert old in text, (name, old)
    path.write_text(text.replace(old, new, 1))


def segmented(*lines: str) -> None:
    """``d`` with segments of its recordings."""
    make_corpus(HERE)
    ids = [line.split()[0] for line in lines]
    (HERE / "segments").write_text("".join(f"{line}\n" for line in lines))
    (HERE / "text").write_text("".join(f"{u} ONE\n" for u in ids))
    (HERE / "utt2spk").write_text("".join(f"{u} s\n" for u in ids))


@case(AREA, "the directory is not there", "d: no such", "wav.scp, text and utt2spk")
def nowhere() -> Command:
    return check()


@case(AREA, "`wav.scp` is missing", "d/wav.scp: missing", "write")
def no_scp() -> Command:
    make_corpus(HERE)
    (HERE / "wav.scp").unlink()
    return check()


@case(AREA, "`segments` is a link to nothing", "d/segments: a link to nothing", "write")
def link_to_nothing() -> Command:
    make_corpus(HERE)
    (HERE / "segments").symlink_to("nowhere")
    return check()


@case(AREA, "`wav.scp` packed", "d/wav.scp: packed by gzip", "unpack it")
def packed() -> Command:
    make_corpus(HERE)
    (HERE / "wav.scp").write_bytes(gzip.compress((HERE / "wav.scp").read_bytes()))
    return check()


@case(AREA, "`wav.scp` is empty", "d/wav.scp: empty", "write")
def empty_scp() -> Command:
    make_corpus(HERE)
    (HERE / "wav.scp").write_text("\n")
    return check()


@case(AREA, "`text` for an utterance without audio", "text:4: u009", "add it or remove")
def text_without_audio() -> Command:
    make_corpus(HERE)
    with open(HERE / "text", "a") as f:
        f.write("u009 ONE\n")
    return check()


@case(AREA, "audio without `text`", "wav.scp:2: u001", "d/text; add it or remove")
def audio_without_text() -> Command:
    make_corpus(HERE)
    edit("text", "u001", "u009")
    return check()


@case(AREA, "an id twice", "text:4: u000: listed twice (first on line 1)", "keep one")
def twice() -> Command:
    make_corpus(HERE)
    with open(HERE / "text", "a") as f:
        f.write("u000 ONE\n")
    return check()


@case(
    AREA, "an accent as one sign here, as two there", "wav.scp:2: u\u00e91", "write the ids alike"
)
def accents() -> Command:
    make_corpus(HERE)
    edit("wav.scp", "u001", "u\u00e91")
    edit("text", "u001", "ue\u03011")
    edit("utt2spk", "u001", "u\u00e91")
    return check()


@case(AREA, "a blank line", "utt2spk:2: blank line", "remove it")
def blank() -> Command:
    make_corpus(HERE)
    edit("utt2spk", "\nu001", "\n\nu001")
    return check()


@case(AREA, "`text` in Latin-1", "text:2: u001: not UTF-8 (byte 0xc9)", "iconv")
def latin() -> Command:
    make_corpus(HERE)
    path = HERE / "text"
    path.write_bytes(path.read_bytes().replace(b"u001 ", b"u001 CAF\xc9 "))
    return check()


@case(AREA, "`text` in UTF-16, as Windows saves it", "text: UTF-16", "UTF-8")
def utf16() -> Command:
    make_corpus(HERE)
    path = HERE / "text"
    path.write_bytes(path.read_text().encode("utf-16"))
    return check()


@case(AREA, "an id with a space that is none (U+00A0)", "u001\\xa0x", "wav.scp:2", "rename")
def odd_space() -> Command:
    make_corpus(HERE)
    for name in ("wav.scp", "text", "utt2spk"):
        edit(name, "u001", "u001\u00a0x")
    return check()


@case(AREA, "an id with an invisible sign (U+200B)", "text:2", "u001\\u200b", "rename")
def invisible() -> Command:
    make_corpus(HERE)
    edit("text", "u001", "u001\u200b")
    return check()


@case(AREA, "a NUL byte in `text`, as a crashed disk leaves it", "text:2: u001", "write")
def nul() -> Command:
    make_corpus(HERE)
    edit("text", "u001 TWO", "u001 T\0O")
    return check()


@case(AREA, "an audio file that is not there", "wav.scp:2: u001", "no such file", "absolute, or")
def no_audio() -> Command:
    make_corpus(HERE)
    edit("wav.scp", "u001.wav", "u001.flac")
    return check()


@case(AREA, "a directory as audio", "wav.scp:2: u001", "no such file")
def directory() -> Command:
    make_corpus(HERE)
    edit("wav.scp", "audio/u001.wav", "audio")
    return check()


@case(AREA, "no path behind an id", "wav.scp:2: u001", "no audio file on the line")
def no_path() -> Command:
    make_corpus(HERE)
    edit("wav.scp", "u001 audio/u001.wav", "u001")
    return check()


@case(AREA, "a sampling rate behind the path", "wav.scp:2: u001", "u001.wav 16000", "paths in")
def more_words() -> Command:
    make_corpus(HERE)
    edit("wav.scp", "u001.wav", "u001.wav 16000")
    return check()


@case(AREA, "a shell command, not allowed", "wav.scp:2: u001: is a shell", "--allow_pipes true")
def pipe() -> Command:
    make_corpus(HERE)
    edit("wav.scp", "audio/u001.wav", "cat audio/u001.wav |")
    return check()


@case(AREA, "a shell command that fails", "wav.scp:2: u001", "exit code 3", "no licence")
def failing_pipe() -> Command:
    make_corpus(HERE)
    edit("wav.scp", "audio/u001.wav", "echo no licence >&2; exit 3 |")
    return check("--allow_pipes", "true")


@case(AREA, "a command to write to, not to read from", "wav.scp:2: u001", "not something to read")
def output() -> Command:
    make_corpus(HERE)
    edit("wav.scp", "audio/u001.wav", "| cat")
    return check("--allow_pipes", "true")


@case(AREA, "two speakers for an utterance", "utt2spk:2: u001", "expected 'utterance speaker'")
def two_speakers() -> Command:
    make_corpus(HERE)
    edit("utt2spk", "u001 s1", "u001 s1 s2")
    return check()


@case(AREA, "an empty transcript", "text:2: u001: empty", "write one or remove")
def no_words() -> Command:
    make_corpus(HERE)
    edit("text", "u001 TWO TWO", "u001 ")
    return check()


@case(AREA, "a segment of a recording that is not there", "segments:1: a: recording u7", "wav.scp")
def lost_recording() -> Command:
    segmented("a u7 0 0.1")
    return check()


@case(
    AREA,
    "a segment that ends before it starts",
    "segments:1: a: start 0.2 s",
    "expected 0 <= start",
)
def backwards() -> Command:
    segmented("a u000 0.2 0.1")
    return check()


@case(AREA, "a segment that starts below zero", "segments:1: a: start -1", "expected 0 <= start")
def negative() -> Command:
    segmented("a u000 -1 0.1")
    return check()


@case(AREA, "a segment to infinity", "segments:1: a:", "inf", "expected")
def infinite() -> Command:
    segmented("a u000 0 inf")
    return check()


@case(AREA, "times that are no numbers", "segments:1: a: ", "expected 'utterance recording")
def no_times() -> Command:
    segmented("a u000 0:00 0:01")
    return check()


@case(AREA, "a segment beyond its recording", "segments:1: a", "goes beyond", "fix segments")
def beyond() -> Command:
    segmented("a u000 0 9.5")
    return check()


@case(AREA, "a segment shorter than a sample", "segments:1: a", "no sample; remove it")
def no_sample() -> Command:
    segmented("a u000 0.1 0.10001")
    return check()


@case(
    AREA,
    "an archive entry beyond the end of the archive",
    "wav.scp:2: u001",
    "ark:99999",
    "make it again",
)
def beyond_ark() -> Command:
    make_corpus(HERE)
    (HERE / "a.ark").write_bytes(b"u001 RIFF")
    edit("wav.scp", "audio/u001.wav", "a.ark:99999")
    return check()


@case(
    AREA, "an archive entry that is no audio", "wav.scp:2: u001", "no audio at this offset", "make"
)
def no_ark_audio() -> Command:
    make_corpus(HERE)
    (HERE / "a.ark").write_bytes(b"u001 \0BFM " + bytes(64))
    edit("wav.scp", "audio/u001.wav", "a.ark:5")
    return check()


@case(AREA, "speed-perturbed ids that are there already", "sp0.9-u000", "rename")
def perturbed_twice() -> Command:
    make_corpus(HERE)
    for name in ("wav.scp", "text", "utt2spk"):
        edit(name, "u001 ", "sp0.9-u000 ")
    argv = ["--data_dir", "d", "--out_dir", "out", "--nj", "1", "--speed_perturb", "0.9 1.0"]
    return features.main, argv


@case(AREA, "features into a directory of something else", "d: not empty", "another --out_dir")
def into_data() -> Command:
    make_corpus(HERE)
    return features.main, ["--data_dir", "d", "--out_dir", "d", "--nj", "1"]
