"""libri20 in Kaldi style: Ogg Opus, sets apart, paths that hold from anywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_dice.io.audio import AudioReader
from espnet_dice.io.datadir import read_data_dir
from espnet_dice.io.errors import DataError, StaleError
from local.libri20_data import ALIGNMENT, make_libri20
from tests.corpus import noise, write_audio, write_tables

ROOT = Path(__file__).resolve().parents[2]
LIBRI20 = ROOT.parent / "shared" / "data" / "libri20"
SPEAKERS = {"train": ("19", "26"), "dev": ("84",), "test": ("777",)}


def lay_out(root, speakers=SPEAKERS):
    """A directory in the shape of libri20: set → speakers, one chapter of two utterances each."""
    for name, voices in speakers.items():
        utts = [(f"{voice}-100-{i:04d}", voice) for voice in voices for i in range(2)]
        for i, (utt, _) in enumerate(utts):
            audio = root / name / "audio" / f"{utt}.ogg"
            write_audio(audio, noise(0.3, i), format="OGG", subtype="OPUS")
        write_tables(
            root / name,
            wav_scp=[f"{utt} audio/{utt}.ogg" for utt, _ in utts],
            text=[f"{utt} CHAPTER ONE" for utt, _ in utts],
            utt2spk=[f"{utt} {voice}" for utt, voice in utts],
        )
    return root


def test_the_sets_are_read_from_anywhere(tmp_path, monkeypatch, capsys):
    libri20 = lay_out(tmp_path / "libri20")
    monkeypatch.chdir(tmp_path)
    make_libri20("libri20", "data")
    monkeypatch.chdir("/")
    for name, voices in SPEAKERS.items():
        made = read_data_dir(tmp_path / "data" / name)
        assert made.speakers == sorted(voices) and len(made) == 2 * len(voices)
        original = read_data_dir(libri20 / name)
        assert [(u.id, u.text) for u in made] == [(u.id, u.text) for u in original]
        samples, rate = AudioReader().read(made.utterances[0])
        assert rate == 16000 and len(samples) == round(0.3 * rate)
    before = os.stat(tmp_path / "data" / "train").st_ino
    make_libri20(libri20, tmp_path / "data")
    assert "nothing to do" in capsys.readouterr().out
    assert os.stat(tmp_path / "data" / "train").st_ino == before


def test_times_of_phones_are_copied_and_what_changes_is_made_again(tmp_path):
    libri20, data = lay_out(tmp_path / "libri20"), tmp_path / "data"
    make_libri20(libri20, data)
    assert not (data / "train" / ALIGNMENT).exists()
    times = libri20 / "train" / ALIGNMENT
    for n in range(2):
        times.write_text(f"#file onset offset #phone prev-phone next-phone speaker\n{n}\n")
        make_libri20(libri20, data)
        assert (data / "train" / ALIGNMENT).read_text() == times.read_text()
    assert not (data / "dev" / ALIGNMENT).exists()


@pytest.mark.parametrize(
    ("speakers", "message"),
    [
        ({"train": ("19", "84"), "dev": ("84",), "test": ("777",)}, "speaker 84 is in both"),
        ({"train": ("19",), "dev": ("777",), "test": ("777",)}, "speaker 777 is in both"),
        ({"train": ("19",), "dev": ("84",)}, r"no libri20: expected \{train,dev,test\}"),
    ],
)
def test_what_is_refused(tmp_path, speakers, message):
    with pytest.raises(DataError, match=message):
        make_libri20(lay_out(tmp_path / "libri20", speakers), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_an_utterance_in_two_sets(tmp_path):
    libri20 = lay_out(tmp_path / "libri20")
    utt2spk = libri20 / "dev" / "utt2spk"
    for name in ("wav.scp", "text", "utt2spk"):
        path = libri20 / "dev" / name
        path.write_text(path.read_text().replace("84-100-0000 ", "19-100-0000 "))
    assert "19-100-0000 84" in utt2spk.read_text()
    with pytest.raises(DataError, match="19-100-0000 is in both"):
        make_libri20(libri20, tmp_path / "data")


def test_audio_that_cannot_be_read(tmp_path):
    libri20 = lay_out(tmp_path / "libri20")
    (libri20 / "test" / "audio" / "777-100-0000.ogg").write_bytes(b"OggS and no more")
    with pytest.raises(DataError, match=r"test/wav\.scp:1: 777-100-0000: .* unreadable audio"):
        make_libri20(libri20, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_other_directories_are_left_alone(tmp_path):
    libri20 = lay_out(tmp_path / "libri20")
    (tmp_path / "data" / "dev").mkdir(parents=True)
    (tmp_path / "data" / "dev" / "mine").touch()
    with pytest.raises(StaleError, match="not made by this command"):
        make_libri20(libri20, tmp_path / "data")
    assert os.listdir(tmp_path / "data") == ["dev"]


def test_the_command_tells_in_one_message(tmp_path):
    command = [sys.executable, ROOT / "local" / "libri20_data.py", "--libri20", tmp_path]
    failed = subprocess.run([*map(str, command), "--out", "x"], capture_output=True, text=True)
    assert failed.returncode == 2 and failed.stderr.count("\n") == 1
    assert str(tmp_path) in failed.stderr and "train,dev,test" in failed.stderr


@pytest.mark.skipif(not LIBRI20.is_dir(), reason="libri20 is not at ../shared/data/libri20")
def test_libri20_itself(tmp_path):
    make_libri20(LIBRI20, tmp_path / "data")
    sets = {n: read_data_dir(tmp_path / "data" / n) for n in ("train", "dev", "test")}
    assert {n: (len(s), len(s.speakers)) for n, s in sets.items()} == {
        "train": (1059, 16),
        "dev": (107, 2),
        "test": (147, 2),
    }
