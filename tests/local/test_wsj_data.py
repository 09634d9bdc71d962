"""WSJ as LDC distributes it: disks of .wv1, .dot and .ndx become checked data directories."""

import os

import numpy as np
import pytest

from espnet_dice.io.audio import AudioOptions, AudioReader
from espnet_dice.io.datadir import read_data_dir
from espnet_dice.io.errors import ConfigError, DataError, ProblemList
from local.wsj_data import make_wsj
from tests.corpus import noise
from tests.local import layouts

SETS = ["train_si284", "test_dev93", "test_eval92"]
TEXTS = {
    "01ic0201": "THE SALE OF THE HOTELS IS PART OF HOLIDAY'S STRATEGY COMMA",
    "01ic0202": "I B M SAID THE PERIOD",
    "46hc0301": "DOUBLE QUOTE WO LONG TERM RATES DASH",
}


def test_lists_words_and_speakers(tmp_path):
    layouts.wsj(tmp_path / "wsj")
    made = make_wsj(tmp_path / "wsj", tmp_path / "data", SETS)
    # speaker 401 of disk 11-2.1 is left out, as in Kaldi
    assert made == {"train_si284": 3, "test_dev93": 1, "test_eval92": 1}
    train = read_data_dir(tmp_path / "data/train_si284")
    assert {u.id: u.text for u in train} == TEXTS
    assert train.speakers == ["01i", "46h"]
    (dev,) = read_data_dir(tmp_path / "data/test_dev93")
    assert dev.text == "OF COURSE THERE ISN'T ANY GUARANTEE" and dev.speaker == "4k0"
    samples, _ = AudioReader().read(dev)
    assert np.array_equal(samples * 32768, (noise(0.9, 0) * 32767).astype(np.int16))
    assert make_wsj(tmp_path / "wsj", tmp_path / "data", SETS) == {}


def test_packed_speech_goes_through_sph2pipe(tmp_path, monkeypatch):
    corpus = layouts.wsj(tmp_path / "wsj", packed=True)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(DataError, match=r"\.wv1: packed by shorten, which .* install sph2pipe"):
        make_wsj(corpus, tmp_path / "data", ["test_dev93"])
    assert not (tmp_path / "data/test_dev93").exists()
    program = layouts.tool(tmp_path / "tools dir")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    make_wsj(corpus, tmp_path / "data", ["test_dev93"])
    with pytest.raises(ProblemList, match="is a shell command"):
        read_data_dir(tmp_path / "data/test_dev93")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # the program's place is in wav.scp
    (dev,) = read_data_dir(tmp_path / "data/test_dev93", allow_pipes=True)
    assert dev.recording.kind == "pipe"
    samples, _ = AudioReader(AudioOptions(allow_pipes=True)).read(dev)
    assert np.array_equal(samples * 32768, (noise(0.9, 0) * 32767).astype(np.int16))


def test_faults_are_named(tmp_path):
    corpus = layouts.wsj(tmp_path / "wsj")
    with pytest.raises(ConfigError, match="no set 'test_eval94'; there are .*train_si284"):
        make_wsj(corpus, tmp_path / "data", ["test_eval94"])
    dot = corpus / "wsj1/13-16.1/wsj1/si_dt_20/4k0/4k0c0300.dot"
    good = dot.read_text()
    dot.write_text("First (4k0c0300)\nIn 1993 (4k0c0301)\n")
    with pytest.raises(ProblemList, match=r"4k0c0300\.dot:2: 4k0c0301: '1' \(U\+0031\)"):
        make_wsj(corpus, tmp_path / "data", ["test_dev93"])
    dot.write_text("First (4k0c0300)\n")
    with pytest.raises(ProblemList, match=r"4k0c0301: no line for it in .*4k0c0300\.dot"):
        make_wsj(corpus, tmp_path / "data", ["test_dev93"])
    dot.unlink()
    with pytest.raises(ProblemList, match=r"4k0c0301: no transcripts 4k0c0300\.dot on the disks"):
        make_wsj(corpus, tmp_path / "data", ["test_dev93"])
    dot.write_text(good)
    audio = corpus / "wsj1/13-16.1/wsj1/si_dt_20/4k0/4k0c0301.wv1"
    audio.unlink()
    with pytest.raises(ProblemList, match=r"4k0c0301\.wv1: No such file .*the disk is not whole"):
        make_wsj(corpus, tmp_path / "data", ["test_dev93"])
    index = corpus / "wsj1/13-34.1/wsj1/doc/indices/h1_p0.ndx"
    index.write_text(";; index\n13_99_1:wsj1/x/4k0c0301.wv1\n")
    with pytest.raises(DataError, match=r"13-99\.1/.*: no disk 13-99\.1 \(there are: 11-1\.1"):
        make_wsj(corpus, tmp_path / "data", ["test_dev93"])
    index.write_text(";; index\nnonsense\n")
    with pytest.raises(ProblemList, match=r"h1_p0\.ndx:2: expected 'DISK:FILE', got 'nonsense'"):
        make_wsj(corpus, tmp_path / "data", ["test_dev93"])
    with pytest.raises(DataError, match="no disks of WSJ"):
        make_wsj(tmp_path / "data", tmp_path / "data", ["test_dev93"])
