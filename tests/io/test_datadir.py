"""Good directories are read as Kaldi means them; bad ones are refused with line and utterance."""

import gzip
import shutil

import pytest

from espnet_dice.io.datadir import allowed_characters, read_data_dir
from espnet_dice.io.errors import DataError, ProblemList
from espnet_dice.io.tables import Table
from tests.corpus import make_corpus, noise, write_audio, write_tables

IDS = ("u000", "u001", "u002")


def wav_scp(*changed):
    return [*changed, *(f"{u} audio/{u}.wav" for u in IDS[len(changed) :])]


# name: (tables to write over a good directory, what the message must hold)
BAD = {
    "wav.scp empty": ({"wav_scp": []}, ["wav.scp: empty", "utterance audio-file"]),
    "text empty": ({"text": ["", " "]}, ["text: empty"]),
    "no text for one": (
        {"text": ["u000 A", "u002 C"]},
        ["wav.scp:2: u001: has no line in", "/text", "add it or remove"],
    ),
    "no audio for one": (
        {"text": ["u000 A", "u001 B", "u002 C", "u003 D"]},
        ["text:4: u003: has no line in", "/wav.scp"],
    ),
    "no speaker for one": (
        {"utt2spk": ["u000 s", "u001 s"]},
        ["wav.scp:3: u002: has no line in", "/utt2spk"],
    ),
    "two speakers": ({"utt2spk": ["u000 s t", "u001 s", "u002 s"]}, ["utt2spk:1: u000: expected"]),
    "duplicate": (
        {"wav_scp": [*wav_scp(), "u001 audio/u000.wav"]},
        ["wav.scp:4: u001: listed twice (first on line 2)"],
    ),
    "duplicate text": (
        {"text": ["u000 A", "u001 B", "u002 C", "u000 A"]},
        ["text:4: u000: listed twice (first on line 1)"],
    ),
    "no path": ({"wav_scp": wav_scp("u000")}, ["wav.scp:1: u000: no audio file on the line"]),
    "blank line": ({"text": ["u000 A", "", "u001 B", "u002 C"]}, ["text:2: blank line"]),
    "empty transcript": (
        {"text": ["u000 A", "u001", "u002 C"]},
        ["text:2: u001: empty transcript"],
    ),
    "missing file": (
        {"wav_scp": wav_scp("u000 audio/nix.wav")},
        ["wav.scp:1: u000: no such file", "audio/nix.wav", "relative to the data directory"],
    ),
    "pipe": (
        {"wav_scp": wav_scp("u000 touch ran; cat audio/u000.wav |")},
        ["wav.scp:1: u000: is a shell command", "--allow_pipes true"],
    ),
    "standard input": ({"wav_scp": wav_scp("u000 -")}, ["wav.scp:1: u000: '-'"]),
    "segment backwards": (
        {"segments": ["u000 u000 0.2 0.1", "u001 u001 0 0.1", "u002 u002 0 0.1"]},
        ["segments:1: u000: start 0.2 s and end 0.1 s"],
    ),
    "segment of nothing": (
        {"segments": ["u000 nix 0 0.1", "u001 u001 0 0.1", "u002 u002 0 0.1"]},
        ["segments:1: u000: recording nix is not in", "wav.scp"],
    ),
    "segment malformed": (
        {"segments": ["u000 u000 0", "u001 u001 0 x", "u002 u002 0 nan"]},
        ["segments:1: u000: expected", "segments:2: u001: expected", "segments:3: u002: start"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_every_problem_names_file_line_and_utterance(tmp_path, name):
    tables, fragments = BAD[name]
    write_tables(make_corpus(tmp_path / "d"), **tables)
    with pytest.raises(ProblemList) as err:
        read_data_dir(tmp_path / "d")
    for fragment in fragments:
        assert fragment in str(err.value)
    assert not (tmp_path / "d" / "ran").exists()


@pytest.mark.parametrize("table", ["wav.scp", "text"])
def test_a_missing_table_is_one_problem(tmp_path, table):
    make_corpus(tmp_path / "d")
    (tmp_path / "d" / table).unlink()
    with pytest.raises(ProblemList, match=f"{table}: missing; write") as err:
        read_data_dir(tmp_path / "d")
    assert len(err.value.problems) == 1


def test_a_missing_directory(tmp_path):
    with pytest.raises(DataError, match="nix: no such data directory"):
        read_data_dir(tmp_path / "nix")


def test_all_problems_come_at_once_and_are_counted(tmp_path):
    d = make_corpus(tmp_path / "d", 40)
    write_tables(d, text=[f"u{i:03}" for i in range(40)], wav_scp=["u000 nix.wav"])
    with pytest.raises(ProblemList) as err:
        read_data_dir(d)
    assert len(err.value.problems) == 1 + 40 + 39 + 39
    assert "119 problems" in str(err.value) and "… and 99 more" in str(err.value)


def test_not_utf8(tmp_path):
    d = make_corpus(tmp_path / "d")
    (d / "text").write_bytes(b"u000 A\nu001 \xe9T\xc9\nu002 C\n")
    with pytest.raises(ProblemList, match=r"text:2: u001: not UTF-8 \(byte 0xe9\)"):
        read_data_dir(d)


def test_characters_outside_the_token_list(tmp_path):
    tokens = tmp_path / "tokens.txt"
    tokens.write_text("<blank>\n<unk>\n▁\nA\nB\n'\n<sos/eos>\n", encoding="utf-8")
    allowed = allowed_characters(tokens)
    assert set(allowed) == set(" AB'")
    d = write_tables(make_corpus(tmp_path / "d"), text=["u000 A'B A", "u001 AÉ7", "u002 ab"])
    with pytest.raises(ProblemList) as err:
        read_data_dir(d, allowed=allowed)
    first, second = err.value.problems
    assert "text:2: u001: 'É' (U+00C9), '7' (U+0037) not in" in first and "tokens.txt" in first
    assert "text:3: u002: 'a'" in second and "upper case" in second
    write_tables(d, text=["u000 A'B A", "u001 A", "u002 B"])
    assert len(read_data_dir(d, allowed=allowed)) == 3


def test_unsorted_tables_tabs_and_line_ends_of_others(tmp_path):
    d = make_corpus(tmp_path / "d")
    (d / "text").write_bytes("\ufeffu002\tC  D\r\nu000 A\r\nu001  B \r\n".encode())
    data = read_data_dir(d)
    assert [u.id for u in data] == list(IDS)
    assert [u.text for u in data] == ["A", "B", "C D"]
    assert data.utterances[2].where.endswith("wav.scp:3")
    assert data.speakers == ["s0", "s1"]


def test_absolute_and_relative_paths(tmp_path):
    d = make_corpus(tmp_path / "d")
    write_tables(d, wav_scp=[f"u000 {d}/audio/u000.wav", *wav_scp()[1:]])
    assert read_data_dir(d).audio_files() == [str(d / "audio" / f"{u}.wav") for u in IDS]


@pytest.mark.parametrize("place", ["data/x", "dump/raw/x", "dump/raw/org/x"])
def test_paths_relative_to_an_espnet_recipe(tmp_path, monkeypatch, place):
    d = make_corpus(tmp_path / "asr1" / place)
    shutil.move(d / "audio", tmp_path / "asr1" / "downloads")
    write_tables(d, wav_scp=[f"{u} downloads/{u}.wav" for u in IDS])
    want = [str(tmp_path / "asr1" / "downloads" / f"{u}.wav") for u in IDS]
    assert read_data_dir(d).audio_files() == want
    monkeypatch.chdir(tmp_path / "asr1")
    assert read_data_dir(place).audio_files() == want


def test_segments_and_ark_entries(tmp_path):
    d = write_tables(
        tmp_path / "d",
        wav_scp=["rec wav.ark:4"],
        segments=["b rec 1.5 -1", "a rec 0 1.25"],
        text=["a A", "b B"],
        utt2spk=["a s", "b s"],
    )
    (d / "wav.ark").write_bytes(b"rec ")
    a, b = read_data_dir(d)
    assert (a.id, a.start, a.end, a.is_whole) == ("a", 0, 1.25, False)
    assert (b.start, b.end, b.where) == (1.5, None, f"{d}/segments:1")
    assert a.recording.kind == "ark" and a.recording.source == f"{d}/wav.ark:4"
    assert a.recording.path == f"{d}/wav.ark"


def test_key_follows_tables_and_audio(tmp_path):
    d = make_corpus(tmp_path / "d")
    keys = [read_data_dir(d).key()]
    assert read_data_dir(d).key() == keys[0]
    write_audio(d / "audio" / "u001.wav", noise(0.5))
    keys.append(read_data_dir(d).key())
    write_tables(d, text=["u000 X", "u001 B", "u002 C"])
    keys.append(read_data_dir(d).key())
    write_tables(d, utt2spk=["u000 t", "u001 t", "u002 t"])
    keys.append(read_data_dir(d).key())
    assert len(set(keys)) == 4


def test_speech_without_transcripts_or_speakers(tmp_path):
    d = make_corpus(tmp_path / "d")
    for name in ("text", "utt2spk"):
        (d / name).unlink()
    for transcripts in (False, None):
        data = read_data_dir(d, transcripts=transcripts)
        assert [(u.id, u.text, u.speaker) for u in data] == [(u, "", u) for u in IDS]
    write_tables(d, text=IDS)
    assert {u.text for u in read_data_dir(d, transcripts=None)} == {""}
    with pytest.raises(ProblemList, match="text:1: u000: empty transcript"):
        read_data_dir(d)
    write_tables(d, text=["u000 A", "u001", "u002"])  # some have one: the others may be forgotten
    assert [u.text for u in read_data_dir(d, transcripts=False)] == ["A", "", ""]
    with pytest.raises(ProblemList, match="text:2: u001: empty transcript"):
        read_data_dir(d, transcripts=None)
    write_tables(d, text=["u000", "u001", "u003"])  # and a text of other speech stays one
    with pytest.raises(ProblemList, match="u003: has no line in"):
        read_data_dir(d, transcripts=False)


def test_an_accent_written_in_two_ways_is_told_as_that(tmp_path):
    d = make_corpus(tmp_path / "d")
    for name, accent in (("wav.scp", "\u00e9"), ("text", "e\u0301"), ("utt2spk", "\u00e9")):
        table = d / name
        table.write_text(table.read_text().replace("u001", f"u{accent}1", 1))
    with pytest.raises(ProblemList) as err:
        read_data_dir(d)
    (said,) = err.value.problems
    assert said.startswith(f"{d}/wav.scp:2: ") and f"in {d}/text:2" in said
    assert r"u\xe91 here, ue\u03011 in" in said and "write the ids alike" in said


def test_a_file_name_with_its_accents_written_otherwise(tmp_path):
    d = make_corpus(tmp_path / "d")
    (d / "audio" / "u001.wav").rename(d / "audio" / "u\u00e91.wav")
    table = d / "wav.scp"
    table.write_text(table.read_text().replace("audio/u001.wav", "audio/ue\u03011.wav"))
    with pytest.raises(ProblemList, match="u\u00e91.wav is there, its accents in NFC: write its"):
        read_data_dir(d)


@pytest.mark.parametrize("span", ["0 1_0", "0 \uff11", "0,0 1,0", "0 0x1"])
def test_times_are_written_as_kaldi_reads_them(tmp_path, span):
    d = make_corpus(tmp_path / "d")
    (d / "segments").write_text(f"u000 u000 {span}\n", encoding="utf-8")
    with pytest.raises(ProblemList, match="segments:1: u000: expected 'utterance recording start"):
        read_data_dir(d)


@pytest.mark.parametrize("table", ["segments", "text", "utt2spk", "wav.scp"])
def test_a_table_that_is_a_link_to_nothing_is_not_passed_over(tmp_path, table):
    d = make_corpus(tmp_path / "d")
    (d / table).unlink(missing_ok=True)
    (d / table).symlink_to(tmp_path / "nowhere")
    with pytest.raises(ProblemList, match=f"d/{table}: a link to nothing; write"):
        read_data_dir(d, transcripts=False)


def test_a_table_that_is_packed_or_a_directory(tmp_path):
    d = make_corpus(tmp_path / "d")
    (d / "text").write_bytes(gzip.compress((d / "text").read_bytes()))
    (d / "utt2spk").unlink()
    (d / "utt2spk").mkdir()
    with pytest.raises(ProblemList) as err:
        read_data_dir(d)
    packed, directory = err.value.problems
    assert packed == f"{d}/text: packed by gzip; unpack it"
    assert directory.startswith(f"{d}/utt2spk: a directory; write")


@pytest.mark.parametrize("sign", ["\x0c", "\x85", "\u2028"])
def test_a_line_of_nothing_but_a_page_break_is_named(tmp_path, sign):
    (tmp_path / "text").write_text(f"u HELLO\n{sign}\n", encoding="utf-8")
    problems = []
    Table(tmp_path / "text", problems, "write it")
    (problem,) = problems
    assert problem.startswith(f"{tmp_path / 'text'}:2: ") and f"(U+{ord(sign):04X})" in problem


def test_what_commands_read_belongs_to_the_key(tmp_path):
    """With the directory that they run in: other audio behind the same words is other data."""
    keys = []
    for name in ("here", "there"):
        (tmp_path / name / "audio").mkdir(parents=True)
        for utt, n in (("u", 0.3), ("v", 0.4)):
            write_audio(tmp_path / name / f"audio/{utt}.wav", noise(n))
        scp = ["u cat audio/u.wav |", f"v cd {tmp_path / name} && cat 'audio/v.wav' |"]
        tables = {"text": ["u A", "v A"], "utt2spk": ["u s", "v s"]}
        d = write_tables(tmp_path / name, wav_scp=scp, **tables)
        keys.append(read_data_dir(d, allow_pipes=True).key())
        for utt in "uv":
            write_audio(tmp_path / name / f"audio/{utt}.wav", noise(0.5))
            keys.append(read_data_dir(d, allow_pipes=True).key())
    assert len(set(keys)) == 6
