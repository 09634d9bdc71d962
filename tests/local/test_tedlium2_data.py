"""TED-LIUM 2 as it is distributed: NIST SPHERE and .stm become checked data directories."""

import numpy as np
import pytest

from espnet_dice.io.audio import AudioReader
from espnet_dice.io.datadir import read_data_dir
from espnet_dice.io.errors import DataError, ProblemList
from local.tedlium2_data import make_tedlium2, pad
from tests.corpus import RATE, noise
from tests.local import layouts


def test_segments_words_and_speakers(tmp_path):
    layouts.tedlium2(tmp_path)
    made = make_tedlium2(tmp_path, tmp_path / "data", ["train", "dev", "test"])
    assert made == {"train": 3, "dev": 1, "test": 1}
    train = {u.id: u for u in read_data_dir(tmp_path / "data/train")}
    # ids hold the times of the .stm; the padded segments meet halfway between 1.60 and 1.45
    assert {utt: (u.text, u.start, u.end, u.speaker) for utt, u in train.items()} == {
        "AaronHuey_2010X-0000045-0000150": (
            "I'M HERE TODAY TO SHOW MY PHOTOGRAPHS",
            0.3,
            1.525,
            "AaronHuey_2010X",
        ),
        "AaronHuey_2010X-0000160-0000240": (
            "MANY OF YOU MAY HAVE HEARD OF THE LAKOTA",
            1.525,
            2.375,
            "AaronHuey_2010X",
        ),
        "Adam_2009P-0000020-0000100": ("IT'S SO THE KIDS'", 0.05, 1.1, "Adam_2009P"),
    }
    (dev,) = read_data_dir(tmp_path / "data/dev")
    assert (dev.text, dev.start, dev.end) == ("WHAT I'M GOING TO SHOW YOU FIRST", 0.5, 1.6)
    samples, rate = AudioReader().read(dev)
    wanted = (noise(3.0, 0) * 32767).astype(np.int16)[8000 : round(1.6 * RATE)]
    assert rate == RATE and np.array_equal(samples * 32768, wanted)
    assert make_tedlium2(tmp_path, tmp_path / "data", ["train", "dev"]) == {}


def test_padding_by_hand():
    # Kaldi's own example, padded as its recipe for TED-LIUM does
    padded = np.array(pad([(0.2, 6.2), (6.3, 9.8)], 60.0))
    np.testing.assert_allclose(padded, [(0.05, 6.225), (6.225, 9.9)], rtol=1e-12)
    assert pad([(0.1, 2.0)], 2.05) == [(0.0, 2.05)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0.1 1.0 <o,f0,male> in 2010", r"\.stm:5: AimeeMullins_2009P-0000010-0000100: '2'"),
        ("1.0 0.1 <o,f0,male> back", r"\.stm:5: start 1\.0 s and end 0\.1 s: expected start < end"),
        ("soon", r"\.stm:5: expected 'talk channel speaker start end <label> words'"),
    ],
)
def test_faults_are_named_by_file_and_line(tmp_path, line, message):
    sets = {"test": {"AimeeMullins_2009P": [*layouts.STM["test"]["AimeeMullins_2009P"]]}}
    sets["test"]["AimeeMullins_2009P"] += ["1.5 1.9 <o,f0,male> fine", line]
    layouts.tedlium2(tmp_path, sets)
    with pytest.raises(ProblemList, match=message):
        make_tedlium2(tmp_path, tmp_path / "data", ["test"])
    assert not (tmp_path / "data/test").exists()


def test_audio_that_is_not_there(tmp_path):
    corpus = layouts.tedlium2(tmp_path)
    for name in ("train", "test"):
        talk = next(iter(layouts.STM[name]))
        (corpus / name / "sph" / f"{talk}.sph").unlink()
        with pytest.raises(ProblemList, match=rf"{talk}\.sph is missing"):
            make_tedlium2(corpus, tmp_path / "data", [name])
    with pytest.raises(DataError, match=r"eval.stm: no \.stm files; --corpus is TEDLIUM_release2"):
        make_tedlium2(corpus, tmp_path / "data", ["eval"])
