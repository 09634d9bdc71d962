"""Entries of wav.scp name what the system opens, and commands run as Kaldi runs them.

The reference is the system: ``open`` of the path as it is written, ``/bin/sh -c`` as of popen.
"""

import os
import subprocess

import numpy as np
import pytest
import soundfile

from espnet_dice.io.audio import AudioOptions, AudioReader
from espnet_dice.io.datadir import read_data_dir
from espnet_dice.io.errors import DataError, ProblemList
from local.combine_data import combine
from tests.corpus import noise, write_audio, write_tables


def corpus(directory, *entries):
    """A data directory with these entries of wav.scp."""
    ids = [f"u{i}" for i in range(len(entries))]
    return write_tables(
        directory,
        wav_scp=[f"{u} {entry}" for u, entry in zip(ids, entries, strict=True)],
        text=[f"{u} ONE" for u in ids],
        utt2spk=[f"{u} s" for u in ids],
    )


def samples(path):
    return soundfile.read(path, dtype="float32")[0]


def linked(tmp_path):
    """``work/train`` → ``disk/sets/train``, and other audio where the path's text leads."""
    write_audio(tmp_path / "disk/wav/a.wav", noise(0.3))
    write_audio(tmp_path / "wav/a.wav", noise(0.2, 1))
    corpus(tmp_path / "disk/sets/train", "../../wav/a.wav")
    (tmp_path / "work").mkdir()
    (tmp_path / "work/train").symlink_to(tmp_path / "disk/sets/train")
    return tmp_path / "work/train"


def test_dots_behind_a_link_go_where_the_system_goes(tmp_path):
    train = linked(tmp_path)
    wanted = samples(os.path.join(train, "../../wav/a.wav"))
    assert len(wanted) == 4800
    (utt,) = read_data_dir(train)
    np.testing.assert_array_equal(AudioReader().read(utt)[0], wanted)
    combine(tmp_path / "all", [train])  # writes absolute paths
    (utt,) = read_data_dir(tmp_path / "all")
    np.testing.assert_array_equal(AudioReader().read(utt)[0], wanted)


def test_a_directory_that_is_named_by_dots(tmp_path, monkeypatch):
    write_audio(tmp_path / "recipe/downloads/a.wav", noise(0.2))
    write_audio(tmp_path / "here/downloads/a.wav", noise(0.3))
    corpus(tmp_path / "recipe/data/train", "downloads/a.wav")
    (tmp_path / "here/work").mkdir()
    monkeypatch.chdir(tmp_path / "here/work")
    (utt,) = read_data_dir("../../recipe/data/train")
    assert os.path.samefile(utt.recording.source, tmp_path / "recipe/downloads/a.wav")


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1)])
def test_each_line_is_decided_by_itself(tmp_path, order):
    places = [tmp_path / "abs/a.wav", tmp_path / "recipe/wav/a.wav", tmp_path / "recipe/d/x/a.wav"]
    for i, place in enumerate(places):
        write_audio(place, noise(0.1, i))
    entries = [str(places[0]), "wav/a.wav", "a.wav"]
    d = corpus(tmp_path / "recipe/d/x", *(entries[i] for i in order))
    assert read_data_dir(d).audio_files() == [str(places[i]) for i in order]


def test_a_path_relative_to_the_working_directory_comes_last(tmp_path, monkeypatch):
    write_audio(tmp_path / "here/wav/a.wav", noise(0.1))
    d = corpus(tmp_path / "p/q/r/s/t/far/data", "wav/a.wav")
    monkeypatch.chdir(tmp_path / "here")
    assert read_data_dir(d).audio_files() == [str(tmp_path / "here/wav/a.wav")]
    write_audio(d / "wav/a.wav", noise(0.1))
    assert read_data_dir(d).audio_files() == [str(d / "wav/a.wav")]


ODD = [
    "a b.wav",
    "a  b.wav",
    "a,b.wav",
    "a:7.wav",
    "données.wav",
    "a[1].wav",
    "a'b\".wav",
    "日.wav",
]


def test_odd_file_names(tmp_path):
    for name in ODD:
        write_audio(tmp_path / "d/odd é, [x]" / name, noise(0.1))
    d = corpus(tmp_path / "d", *(f"odd é, [x]/{name}" for name in ODD))
    assert read_data_dir(d).audio_files() == [str(tmp_path / "d/odd é, [x]" / n) for n in ODD]


def test_several_files_on_a_line(tmp_path):
    for name in ("a0.wav", "a1.wav"):
        write_audio(tmp_path / "d" / name, noise(0.1))
    d = corpus(tmp_path / "d", "a0.wav a1.wav", "a0.wav\ta1.wav", "a0.wav 16000", "a0.wav x.wav")
    with pytest.raises(ProblemList) as err:
        read_data_dir(d)
    one, tab, rate, lost = err.value.problems
    for said, line in ((one, 1), (tab, 2)):
        assert f"wav.scp:{line}: " in said
        assert "several files on a line (a0.wav, a1.wav): choose one" in said
    for said in (rate, lost):
        assert "no such file" in said and "a0.wav is there: leave the rest of the line out" in said


COMMANDS = [
    "cat wav/a.wav |",
    "cat wav/a.wav | \t ",
    "cat 'wav/b c.wav' |",
    'cat "wav/b c.wav" | cat |',
    "cat < wav/a.wav |",
    "cat<wav/a.wav|",
    "cd wav && cat a.wav |",
    "cd 'wav' ; cat ./a.wav |",
    "for f in wav/a.*; do cat $f; done |",
    "{bin}/cat wav/a.wav |",
    "cat $PWD/wav/a.wav |",
    "false | cat wav/a.wav |",
    "cat wav/a.wav bin/none wav 2>/dev/null; true wav |",
]


@pytest.mark.parametrize("where", ["inside", "elsewhere"])
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run_as_kaldi_runs_them(tmp_path, monkeypatch, command, where):
    recipe = tmp_path / "recipe"
    for name in ("a.wav", "b c.wav"):
        write_audio(recipe / "wav" / name, noise(0.1))
    (recipe / "bin").mkdir()
    (recipe / "data/train/wav").mkdir(parents=True)  # a word of a command, and no place of its
    (recipe / "bin/cat").symlink_to("/bin/cat")
    command = command.format(bin=recipe / "bin")
    d = corpus(recipe / "data/train", command)
    if where == "elsewhere" and not any(s in command for s in ("$", "cd ")):
        monkeypatch.chdir(tmp_path)  # what is named is found from the recipe
    else:
        monkeypatch.chdir(recipe)
    wanted = subprocess.run(
        ["/bin/sh", "-c", command.strip().removesuffix("|")], cwd=recipe, capture_output=True
    ).stdout
    assert len(wanted) > 3000
    options = AudioOptions(allow_pipes=True)
    (utt,) = read_data_dir(d, allow_pipes=True)
    found = AudioReader(options).read(utt)[0]
    np.testing.assert_array_equal(found, samples(recipe / "wav/a.wav"))
    combine(tmp_path / "all", [d])
    monkeypatch.chdir("/")
    (utt,) = read_data_dir(tmp_path / "all", allow_pipes=True)
    np.testing.assert_array_equal(AudioReader(options).read(utt)[0], found)


@pytest.mark.parametrize("command", ["cat a.wav | false |", "cat a.wav; exit 3 |", "cat 'a.wav |"])
def test_a_command_that_fails_is_an_error(tmp_path, command):
    write_audio(tmp_path / "d/a.wav", noise(0.1))
    (utt,) = read_data_dir(corpus(tmp_path / "d", command), allow_pipes=True)
    with pytest.raises(DataError, match=r"wav\.scp:1: u0: .*exit code [123]"):
        AudioReader(AudioOptions(allow_pipes=True)).read(utt)


@pytest.mark.parametrize(
    ("entry", "hint"),
    [
        ('"a.wav"', "leave the quotes out"),
        ("~/a.wav", "~ and variables are not replaced here"),
        ("$HOME/a.wav", "~ and variables are not replaced here"),
        ("https://x.org/a.wav", r"https://x.org/a.wav; addresses are not read"),
        ("file:///data/a.wav", "addresses are not read: write the path alone"),
        (r"C:\data\a.wav", "a path of Windows"),
        (r"\a.wav", "nothing is escaped here"),
        ("a.wav\u3000", r"signs that do not show: 'a.wav\\u3000'"),
        ("a.wav[0:10]", "parts of an entry are not read"),
        (".", "it is a directory"),
        ("/dev/zero", "it is no plain file"),
        ("b.wav", "relative to the data directory"),
    ],
)
def test_what_to_do_about_an_entry_that_is_no_file(tmp_path, entry, hint):
    write_audio(tmp_path / "d" / "a.wav", noise(0.1))
    with pytest.raises(ProblemList, match=f"wav.scp:1: u0: no such file: .*{hint}|file: {hint}"):
        read_data_dir(corpus(tmp_path / "d", entry))
