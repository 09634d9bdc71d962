"""Directories that ESPnet or Kaldi prepared, and ESPnet's own data stage."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from espnet_dice.io.audio import AudioOptions, AudioReader
from espnet_dice.io.datadir import read_data_dir
from espnet_dice.io.errors import ConfigError, DataError, ProblemList, StaleError
from local.combine_data import combine
from local.decoders import found_command, plain_file
from local.espnet_data import make_sets
from local.take_data import parse_names, take_sets
from tests.corpus import make_corpus, noise, write_audio, write_tables
from tests.local import layouts

ROOT = Path(__file__).resolve().parents[2]
OURS = {"train": "train", "test": "test"}


def state_of(root):
    return {p: (p.stat().st_mtime_ns, p.is_file() and p.read_bytes()) for p in root.rglob("*")}


def kaldi(root):
    """``asr1/data/train_nodev`` with segments, pipes relative to asr1, and WSJ's notation."""
    recipe = root / "asr1"
    for i, coding in enumerate(("pcm", "pcm,embedded-shorten-v2.00")):
        layouts.write_sphere(recipe / f"downloads/r{i}.sph", noise(2.0, i), coding=coding)
    write_audio(recipe / "downloads/r2.flac", noise(2.0, 2), format="FLAC")
    write_tables(
        recipe / "data/train_nodev",
        wav_scp=[
            "r0 sph2pipe -f wav -p -c 1 ./downloads/r0.sph |",
            "r1 sph2pipe -f wav -p downloads/r1.sph |",
            "r2 flac -c -d -s downloads/r2.flac |",
        ],
        segments=[f"u{i}{j} r{i} {j}.0 {j}.9" for i in range(3) for j in range(2)],
        text=[f"u{i}{j} ONE <NOISE> ,COMMA 'EM" for i in range(3) for j in range(2)],
        utt2spk=[f"u{i}{j} s{i}" for i in range(3) for j in range(2)],
    )
    return recipe


def test_a_prepared_directory_is_taken_and_not_changed(tmp_path, monkeypatch):
    recipe = kaldi(tmp_path)
    program = layouts.tool(tmp_path / "tools")
    before = state_of(recipe)
    names = parse_names(["train=train_nodev"])
    made = take_sets(recipe / "data", tmp_path / "data", names, "wsj", str(program.parent))
    assert made == {"train": (6, 0)} and state_of(recipe) == before
    monkeypatch.chdir("/")
    utts = {u.id: u for u in read_data_dir(tmp_path / "data/train", allow_pipes=True)}
    assert [u.recording.kind for u in utts.values()] == ["file"] * 2 + ["pipe"] * 2 + ["file"] * 2
    reader = AudioReader(AudioOptions(allow_pipes=True))
    for utt, u in utts.items():
        i, j = int(utt[1]), int(utt[2])
        assert u.text == "ONE COMMA 'EM" and u.speaker == f"s{i}"
        wanted = noise(2.0, i)[16000 * j :][:14400]
        wanted = np.round(wanted * 32768) if i == 2 else (wanted * 32767).astype(np.int16)
        samples, _ = reader.read(u)
        assert np.array_equal(samples * 32768, wanted)
    assert take_sets(recipe / "data", tmp_path / "data", names, "wsj", str(program.parent)) == {}
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(ProblemList, match=r"wav\.scp:2: r1: .*: sph2pipe is not on PATH: install"):
        take_sets(recipe / "data", tmp_path / "other", names, "wsj")


def test_espnets_dump_with_paths_relative_to_its_recipe(tmp_path):
    write_audio(tmp_path / "asr1/dump/raw/test/data/format.1/u1.flac", noise(0.5), format="FLAC")
    write_tables(
        tmp_path / "asr1/dump/raw/test",
        wav_scp=["u1 dump/raw/test/data/format.1/u1.flac"],
        text=["u1 hello world"],
        utt2spk=["u1 u1"],
    )
    take_sets(tmp_path / "asr1/dump/raw", tmp_path / "data", {"test": "test"}, "letters")
    (utt,) = read_data_dir(tmp_path / "data/test")
    assert utt.text == "HELLO WORLD" and AudioReader().probe(utt) == 0.5


@pytest.mark.parametrize(
    ("sets", "rules", "error", "message"),
    [
        (["train_960"], "none", DataError, r"no set 'train_960' .*there: a\); .*--data_names"),
        (["a"], "letters", ProblemList, r"a/text: u000: '7' .*as they are: --text_rules none"),
        (["a="], "none", ConfigError, r"'a=': write SET, or SET=NAME"),
    ],
)
def test_what_is_refused(tmp_path, sets, rules, error, message):
    make_corpus(tmp_path / "theirs/a", utterances=1)
    (tmp_path / "theirs/a/text").write_text("u000 GATE 7\n")
    with pytest.raises(error, match=message):
        take_sets(tmp_path / "theirs", tmp_path / "data", parse_names(sets), rules)
    assert not (tmp_path / "data").exists()


def test_directories_that_are_in_the_way(tmp_path):
    make_corpus(tmp_path / "data/a", utterances=1)
    with pytest.raises(ConfigError, match="is the recipe's own; leave --data_dir out"):
        take_sets(tmp_path / "data", tmp_path / "data", {"a": "a"})
    make_corpus(tmp_path / "theirs/a", utterances=2)
    with pytest.raises(StaleError, match=r"not made by this command: remove it"):
        take_sets(tmp_path / "theirs", tmp_path / "data", {"a": "a"})
    assert len(read_data_dir(tmp_path / "data/a")) == 1


def test_commands_that_have_to_be_run(tmp_path):
    layouts.write_sphere(tmp_path / "a b.sph", noise(0.1))
    write_audio(tmp_path / "a.flac", noise(0.1), format="FLAC")
    here = str(tmp_path)
    assert plain_file("sph2pipe -f wav -p -c 1 'a b.sph'", here) == f"{here}/a b.sph"
    assert plain_file("/opt/bin/flac -dcs a.flac", here) == f"{here}/a.flac"
    for command in (
        "sph2pipe -f wav -c 2 'a b.sph'",  # another channel
        "sph2pipe -f wav -t 0:1 'a b.sph'",  # a part of it
        "flac -c -d -s --skip=100 a.flac",
        "flac -c -d -s a.flac | sox -t wav - -r 8000 -t wav -",
        "sox a.flac -t wav -",
        "flac -c -d -s gone.flac",
        "cat 'a b.sph",
    ):
        assert plain_file(command, here) is None
    assert found_command("cd /x && sph2pipe y") == "cd /x && sph2pipe y"
    assert found_command("cat x", "/usr/bin:/bin").endswith("/cat x")
    for command in ("for f in a b; do cat $f; done", "if true; then cat x; fi", ". ./path.sh; y"):
        assert found_command(command) == command


def test_a_name_with_the_end_of_a_line_is_refused(tmp_path):
    d = make_corpus(tmp_path / "a\nb" / "train")
    for line in ("u000 audio/u000.wav", "u000 cat audio/u000.wav |"):
        rest = (d / "wav.scp").read_text().partition("\n")[2]
        (d / "wav.scp").write_text(f"{line}\n{rest}")
        with pytest.raises(DataError, match=r"u000: the end of a line in '.*a\\nb.*: rename"):
            take_sets(d.parent, tmp_path / "data", {"train": "train"})
    assert not (tmp_path / "data/train").exists()


def test_espnets_own_data_stage(tmp_path, monkeypatch):
    root = layouts.espnet(tmp_path)
    recipe = root / "egs2/fake/asr1"
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    made = make_sets(root, "fake", tmp_path / "data", OURS, "wsj", "--stage 2")
    assert made == {"train": (3, 0), "test": (1, 0)}
    assert (recipe / "runs").read_text() == "data.sh --stage 2\n"
    train = read_data_dir(tmp_path / "data/train", allow_pipes=True)
    # the checkout's sph2pipe is found by its path.sh, here and in later stages
    assert [u.recording.kind for u in train] == ["file", "file", "pipe"]
    assert str(root / "tools/sph2pipe/sph2pipe") in train.utterances[2].recording.source
    assert {u.text for u in train} == {"ONE 'TIS HIGH TECH"}
    assert make_sets(root, "fake", tmp_path / "data", OURS, "wsj", "--stage 2") == {}
    assert (recipe / "runs").read_text().count("\n") == 1, "the data stage was run twice"
    make_sets(root, "fake", tmp_path / "data", OURS, "wsj")
    assert (recipe / "runs").read_text() == "data.sh --stage 2\ndata.sh \n"


def test_a_data_stage_that_fails(tmp_path):
    root = layouts.espnet(tmp_path, db="")
    command = [sys.executable, ROOT / "local/espnet_data.py", "--espnet_root", root]
    command += ["--recipe", "fake", "--out", tmp_path / "data", "train"]
    failed = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert failed.returncode == 2 and "Fill the value of 'FAKE' of db.sh" in failed.stderr
    assert "local/data.sh ended with exit code 1, see above" in failed.stderr.splitlines()[-1]
    assert not (tmp_path / "data").exists()
    with pytest.raises(DataError, match=r"egs2/wsj/asr1: no path\.sh; --espnet_root is a git"):
        make_sets(root, "wsj", tmp_path / "data", {"train": "train"})


@pytest.mark.parametrize("text", [None, "u000\nu001 SAID\nu002\n"])
def test_speech_without_transcripts(tmp_path, text):
    source = make_corpus(tmp_path / "theirs/x")
    for name in ("text", "utt2spk"):
        (source / name).unlink()
    if text:
        (source / "text").write_text(text)
    assert take_sets(tmp_path / "theirs", tmp_path / "ours", {"x": "x"}, "letters") == {"x": (3, 0)}
    combine(tmp_path / "all", [tmp_path / "ours/x"])
    for made in ("ours/x", "all"):
        found = read_data_dir(tmp_path / made, transcripts=False)
        assert [u.text for u in found] == ["", "SAID" if text else "", ""]
        assert [u.speaker for u in found] == ["u000", "u001", "u002"]
