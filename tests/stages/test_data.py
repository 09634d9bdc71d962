"""Stage 1 as a command: what it says of good and bad directories, and what it leaves."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from espnet_dice.io.audio import AudioOptions
from espnet_dice.io.errors import ProblemList
from espnet_dice.stages.data import check_data
from tests.corpus import make_corpus, noise, write_audio, write_tables

ROOT = Path(__file__).parents[2]


def command(*args, cwd=ROOT):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = [sys.executable, "-m", "espnet_dice.stages.data", *map(str, args)]
    return subprocess.run(run, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_summary_then_nothing_to_do_then_again_after_a_change(tmp_path):
    d = make_corpus(tmp_path / "d", 4, seconds=0.5)
    summary = check_data(d)
    assert (summary.utterances, summary.speakers) == (4, 2)
    assert summary.seconds == pytest.approx(0.515)
    assert summary.hours == pytest.approx(4 * 0.515 / 3600)
    assert summary.tokens == np.mean([len("ONE ONE"), len("TWO TWO"), 11, 9])
    assert not (d / ".fingerprint.json").exists()  # that is its maker's
    before = (d / ".checked" / ".fingerprint.json").stat().st_mtime_ns
    assert check_data(d) is None
    assert (d / ".checked" / ".fingerprint.json").stat().st_mtime_ns == before
    write_audio(d / "audio" / "u000.wav", noise(0.6))
    assert check_data(d).seconds == pytest.approx((4 * 0.515 + 0.1) / 4)
    assert check_data(d, audio=AudioOptions(resample=True)) is not None


def test_headers_of_all_files_are_checked_and_nothing_is_left(tmp_path):
    d = make_corpus(tmp_path / "d", 4)
    write_audio(d / "audio" / "u001.wav", noise(0.3), 8000)
    write_audio(d / "audio" / "u003.wav", np.zeros((100, 2)))
    with pytest.raises(ProblemList) as err:
        check_data(d)
    first, second = err.value.problems
    assert "wav.scp:2: u001: " in first and "8000 Hz" in first
    assert "wav.scp:4: u003: " in second and "2 channels" in second
    assert not (d / ".checked").exists()


def test_a_directory_that_breaks_after_its_check_is_refused(tmp_path):
    d = make_corpus(tmp_path / "d")
    assert check_data(d)
    (d / "audio" / "u001.wav").unlink()
    with pytest.raises(ProblemList, match="u001: no such file"):
        check_data(d)


def test_segments_of_a_pipe(tmp_path):
    write_audio(tmp_path / "a.flac", noise(1.0))
    d = write_tables(
        tmp_path / "d",
        wav_scp=[f"rec cat {tmp_path}/a.flac |"],
        segments=["a rec 0 0.25", "b rec 0.5 1.0"],
        text=["a A", "b B"],
        utt2spk=["a s", "b s"],
    )
    assert check_data(d, audio=AudioOptions(allow_pipes=True)).seconds == pytest.approx(0.375)


def test_command_on_good_directories(tmp_path):
    a, b = make_corpus(tmp_path / "a"), make_corpus(tmp_path / "b", 5)
    done = command("--data_dir", a, b)
    assert done.returncode == 0, done.stderr
    assert f"{a}: 3 utterances, 2 speakers, 0.00 h" in done.stderr
    assert f"{b}: 5 utterances" in done.stderr
    again = command("--data_dir", a, b)
    lines = again.stderr.splitlines()
    assert len(lines) == 2 and all("checked before, unchanged" in line for line in lines)


def test_command_on_bad_input_ends_with_2_and_one_message(tmp_path):
    d = write_tables(make_corpus(tmp_path / "d"), text=["u000 A", "u001 É", "u003 B"])
    (tmp_path / "tokens.txt").write_text("A\nB\n")
    done = command("--data_dir", d, "--tokens", tmp_path / "tokens.txt")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    for fragment in (
        f"error: {d}: 3 problems",
        f"{d}/wav.scp:3: u002: has no line in {d}/text",
        f"{d}/text:3: u003: has no line in {d}/wav.scp",
        f"{d}/text:2: u001: 'É' (U+00C9) not in {tmp_path}/tokens.txt",
    ):
        assert fragment in done.stderr
    traced = command("--data_dir", d, "--debug")
    assert traced.returncode == 1 and "Traceback" in traced.stderr


def test_pipes_in_a_command_need_the_option(tmp_path):
    d = make_corpus(tmp_path / "d")
    lines = [f"u00{i} echo {i} >> ran; cat audio/u00{i}.wav |" for i in range(3)]
    write_tables(d, wav_scp=lines)
    done = command("--data_dir", d)
    assert done.returncode == 2 and "--allow_pipes true" in done.stderr
    assert not (d / "ran").exists()
    assert command("--data_dir", d, "--allow_pipes", "true").returncode == 0
    assert sorted((d / "ran").read_text().split()) == ["0", "1", "2"]


def test_signs_that_do_not_show_are_told(tmp_path, caplog):
    said = ["ONE\u200b TWO", "می\u200cخواهم", "SO\xadFT", "PLAIN"]
    d = make_corpus(tmp_path / "d", 4, seconds=0.1)
    lines = (f"u{i:03d} {words}" for i, words in enumerate(said))
    (d / "text").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    check_data(d)
    assert "2 transcripts have signs that do not show, u000 (U+200B) for one" in caplog.text


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (["caf\u00e9", "cafe\u0301"], "1 transcripts write accents as signs of their own, u001"),
        (["cafe\u0301", "e\u0301te\u0301"], ""),
        (["caf\u00e9", "\u00e9t\u00e9"], ""),
    ],
)
def test_a_word_that_is_written_in_two_ways_is_told(tmp_path, caplog, said, told):
    d = make_corpus(tmp_path / "d", len(said), seconds=0.1)
    lines = (f"u{i:03d} {words}" for i, words in enumerate(said))
    (d / "text").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    check_data(d)
    assert told in caplog.text and bool(caplog.text.count("NFC")) == bool(told)
