"""Joined data directories: all utterances once, audio found from anywhere, clashes named."""

import pytest

from espnet_dice.io.datadir import read_data_dir
from espnet_dice.io.errors import DataError
from local.combine_data import combine


def lay_out(root, utts, entry="{utt}.wav"):
    root.mkdir()
    for utt in utts:
        (root / f"{utt}.wav").touch()
    tables = {
        "wav.scp": [f"{utt} " + entry.format(utt=utt) for utt in utts],
        "text": [f"{utt} SAID BY {root.name.upper()}" for utt in utts],
        "utt2spk": [f"{utt} {root.name}" for utt in utts],
    }
    for file, lines in tables.items():
        (root / file).write_text("".join(f"{line}\n" for line in lines))
    return root


def test_all_utterances_with_their_audio(tmp_path):
    a, b = lay_out(tmp_path / "a", ["u1", "u3"]), lay_out(tmp_path / "b", ["u2"])
    assert combine(tmp_path / "out", [a, b]) == 3
    joined = {u.id: u for u in read_data_dir(tmp_path / "out")}
    assert sorted(joined) == ["u1", "u2", "u3"]
    assert joined["u2"].text == "SAID BY B" and joined["u3"].speaker == "a"
    assert joined["u3"].recording.source == str(a / "u3.wav")


def test_again_only_when_a_source_changed(tmp_path):
    a = lay_out(tmp_path / "a", ["u1"])
    combine(tmp_path / "out", [a])
    before = (tmp_path / "out/text").stat().st_mtime_ns
    combine(tmp_path / "out", [a])
    assert (tmp_path / "out/text").stat().st_mtime_ns == before
    (a / "text").write_text("u1 ANOTHER WORD\n")
    combine(tmp_path / "out", [a])
    assert (tmp_path / "out/text").read_text() == "u1 ANOTHER WORD\n"


def test_the_same_utterance_twice(tmp_path):
    a, b = lay_out(tmp_path / "a", ["u1"]), lay_out(tmp_path / "b", ["u1"])
    with pytest.raises(DataError, match=r"utterance u1 is in .*a too: rename"):
        combine(tmp_path / "out", [a, b])
    assert not (tmp_path / "out").exists()


def test_one_command_in_two_directories_is_two_recordings(tmp_path):
    a, b = (lay_out(tmp_path / name, ["r1"], "cat {utt}.wav |") for name in "ab")
    for path, utt in ((a, "x"), (b, "y")):
        (path / "segments").write_text(f"{utt} r1 0 -1\n")
        for table in ("text", "utt2spk"):
            (path / table).write_text(f"{utt} S\n")
    with pytest.raises(DataError, match="recording r1 is another one in"):
        combine(tmp_path / "out", [a, b])
    assert combine(tmp_path / "out", [a]) == 1


def test_whole_recordings_under_other_ids_stay_segments(tmp_path):
    a = lay_out(tmp_path / "a", ["r1"])
    (a / "segments").write_text("spk-r1 r1 0 -1\n")
    for table in ("text", "utt2spk"):
        (a / table).write_text("spk-r1 S\n")
    combine(tmp_path / "out", [a])
    (one,) = read_data_dir(tmp_path / "out")
    assert (one.id, one.recording.id, one.is_whole) == ("spk-r1", "r1", True)
