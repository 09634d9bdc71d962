"""AN4 in Kaldi style: both layouts, the split by speaker, paths that hold from anywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_dice.io.datadir import read_data_dir
from espnet_dice.io.errors import ConfigError, DataError, StaleError
from local.an4_data import make_an4
from tests.corpus import noise, write_audio

ROOT = Path(__file__).resolve().parents[2]
AN4 = ROOT.parent / "shared" / "data" / "an4"


def lay_out(root, sets, entry="audio/{utt}.wav"):
    """A directory in the shape of AN4: set → speakers, three utterances each."""
    for name, speakers in sets.items():
        directory = root / name
        (directory / "audio").mkdir(parents=True)
        utts = [(f"{s}-an{i}", s) for s in speakers for i in range(3)]
        for utt, _ in utts:
            (directory / "audio" / f"{utt}.wav").touch()
        table = {
            "wav.scp": [f"{utt} " + entry.format(utt=utt, dir=directory) for utt, _ in utts],
            "text": [f"{utt} ENTER {'ABCDEFGHIJ'[i % 10]}" for i, (utt, _) in enumerate(utts)],
            "utt2spk": [f"{utt} {speaker}" for utt, speaker in utts],
        }
        for file, lines in table.items():
            (directory / file).write_text("".join(f"{x}\n" for x in lines))
    return root


def test_dev_speakers_are_split_off_evenly(tmp_path):
    speakers = [f"{sex}{i:02d}" for sex in "fm" for i in range(10)]
    an4 = lay_out(tmp_path / "an4", {"train": speakers, "test": ["fx", "mx"]})
    make_an4(an4, tmp_path / "data", dev_speakers=4)
    train, dev, test = (read_data_dir(tmp_path / "data" / n) for n in ("train", "dev", "test"))
    assert dev.speakers == ["f02", "f07", "m02", "m07"]
    assert sorted(train.speakers + dev.speakers) == speakers and test.speakers == ["fx", "mx"]
    assert len(train) == 16 * 3
    again = make_an4(an4, tmp_path / "data", dev_speakers=4)
    assert [u.id for u in again["dev"]] == [u.id for u in dev]
    with pytest.raises(ConfigError, match="dev_speakers 20"):
        make_an4(an4, tmp_path / "data", dev_speakers=20)


def test_the_layout_of_espnet_keeps_its_dev_set_and_its_pipes(tmp_path):
    sets = {"train_nodev": ["fa", "mb"], "train_dev": ["fc"], "test": ["md"]}
    an4 = lay_out(tmp_path / "an4", sets, "env cat {dir}/audio/{utt}.wav |")
    with pytest.raises(DataError, match="env is not on PATH"):
        make_an4(an4, tmp_path / "data", tools=str(tmp_path))
    assert not (tmp_path / "data").exists()
    made = make_an4(an4, tmp_path / "data")
    assert {u.speaker for u in made["train"]} == {"fa", "mb"}
    assert {u.speaker for u in made["dev"]} == {"fc"}
    entry = (tmp_path / "data" / "dev" / "wav.scp").read_text().splitlines()[0].split(" ", 1)[1]
    assert entry.endswith("|")
    subprocess.run(entry[:-1], shell=True, check=True, cwd="/")


def test_espnets_sphere_files_need_no_command(tmp_path):
    sets = {"train_nodev": ["fa", "mb"], "train_dev": ["fc"], "test": ["md"]}
    an4 = lay_out(tmp_path / "an4", sets, "sph2pipe -f wav -p -c 1 {dir}/audio/{utt}.wav |")
    for path in an4.rglob("*.wav"):
        write_audio(path, noise(0.1))
    make_an4(an4, tmp_path / "data")
    (one, *_) = read_data_dir(tmp_path / "data/dev")  # no pipe is left to be allowed
    assert one.recording.source == f"{an4}/train_dev/audio/{one.id}.wav"


def test_other_directories_are_left_alone(tmp_path):
    an4 = lay_out(tmp_path / "an4", {"train": ["fa", "fb", "mc"], "test": ["md"]})
    (tmp_path / "data" / "dev").mkdir(parents=True)
    (tmp_path / "data" / "dev" / "mine").touch()
    with pytest.raises(StaleError, match="not made by this command"):
        make_an4(an4, tmp_path / "data", dev_speakers=1)
    assert os.listdir(tmp_path / "data") == ["dev"]


def test_what_is_no_an4_is_told_in_one_message(tmp_path):
    command = [sys.executable, ROOT / "local" / "an4_data.py", "--an4", tmp_path, "--out", "x"]
    failed = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert failed.returncode == 2 and failed.stderr.count("\n") == 1
    assert str(tmp_path) in failed.stderr and "train_nodev" in failed.stderr


@pytest.mark.skipif(not AN4.is_dir(), reason="AN4 is not at ../shared/data/an4")
def test_an4_itself(tmp_path):
    make_an4(AN4, tmp_path / "data")
    sets = {n: read_data_dir(tmp_path / "data" / n) for n in ("train", "dev", "test")}
    assert sum(len(s) for s in (sets["train"], sets["dev"])) == 948 and len(sets["test"]) == 130
    assert len(sets["dev"].speakers) == 10
    assert {s[0] for s in sets["dev"].speakers} == {"f", "m"}
    assert not set(sets["dev"].speakers) & set(sets["train"].speakers)
