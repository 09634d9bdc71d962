"""LibriSpeech as it is distributed: FLAC and .trans.txt become checked data directories."""

import os

import pytest

from espnet_dice.io.audio import AudioReader
from espnet_dice.io.datadir import read_data_dir
from espnet_dice.io.errors import DataError, ProblemList
from local.librispeech_data import make_librispeech
from tests.corpus import RATE
from tests.local import layouts


def test_sets_and_their_audio(tmp_path, monkeypatch):
    layouts.librispeech(tmp_path)
    monkeypatch.chdir(tmp_path)
    sets = ["train_960", "train_100", "dev", "test_clean"]
    # the directory that holds LibriSpeech will do as well
    assert make_librispeech(".", "data", sets) == dict(zip(sets, (8, 4, 3, 2), strict=True))
    monkeypatch.chdir("/")
    train = read_data_dir(tmp_path / "data/train_960")
    # 103- sorts before 1034-, in whatever order the subsets come
    assert [u.id for u in train][:5] == [
        "100-121669-0000",
        "100-121669-0001",
        "103-1240-0000",
        "103-1240-0001",
        "1034-121119-0000",
    ]
    assert train.speakers == ["100", "103", "1034", "20"]
    assert train.utterances[0].text == layouts.SENTENCES[0]
    samples, rate = AudioReader().read(train.utterances[1])
    assert rate == RATE and len(samples) == round(0.85 * RATE)
    assert {u.speaker for u in read_data_dir(tmp_path / "data/dev")} == {"1272", "116"}


def test_again_only_what_changed(tmp_path):
    corpus = layouts.librispeech(tmp_path)
    make_librispeech(corpus, tmp_path / "data", ["dev", "test_clean"])
    assert make_librispeech(corpus, tmp_path / "data", ["dev", "test_clean"]) == {}
    table = corpus / "test-clean/1089/134686/1089-134686.trans.txt"
    table.write_text(table.read_text().replace("CHAPTER", "VERSE"))
    assert make_librispeech(corpus, tmp_path / "data", ["dev", "test_clean"]) == {"test_clean": 2}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1272-128104-0001 NUMBER 7", r"trans\.txt:2: 1272-128104-0001: '7' \(U\+0037\)"),
        ("1272-128104-0009 GONE", r"trans\.txt:2: 1272-128104-0009: .*0009\.flac is missing"),
        ("1273-128104-0001 OTHER", r"trans\.txt:2: expected '1272-128104-NNNN TRANSCRIPT'"),
        ("1272-128104-0001", r"trans\.txt:2: expected '1272-128104-NNNN TRANSCRIPT'"),
        (None, r"1272-128104-0001: has no transcript but a \.flac"),
        ("1272-128104-0000 TWICE", r"trans\.txt:2: 1272-128104-0000: .*0000\.flac is missing"),
    ],
)
def test_faults_are_named_by_file_and_line(tmp_path, line, message):
    corpus = layouts.librispeech(tmp_path)
    table = corpus / "dev-clean/1272/128104/1272-128104.trans.txt"
    first = table.read_text().splitlines()[0]
    table.write_text("\n".join([first, *([line] if line else [])]) + "\n")
    with pytest.raises(ProblemList, match=message):
        make_librispeech(corpus, tmp_path / "data", ["dev_clean"])
    assert not (tmp_path / "data/dev_clean").exists()


def test_what_is_not_there(tmp_path):
    corpus = layouts.librispeech(tmp_path)
    with pytest.raises(DataError, match=r"test-other: no such subset of LibriSpeech; .*--corpus"):
        make_librispeech(corpus, tmp_path / "data", ["test_other"])
    os.remove(corpus / "dev-other/116/288045/116-288045.trans.txt")
    with pytest.raises(ProblemList, match=r"116-288045\.trans\.txt: missing"):
        make_librispeech(corpus, tmp_path / "data", ["dev"])
