"""The stage: a line a layer, kept while nothing changed, the same twice; what it refuses."""

import numpy as np
import pytest

from espnet_dice.io.errors import ConfigError, DataError
from espnet_dice.io.json_files import read_json
from espnet_dice.stages import abx
from espnet_dice.stages.features import make_features
from tests.corpus import RATE, write_audio, write_tables
from tests.hubert import tiny_models

TONES = {"A": 300, "B": 900, "C": 2000}


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Two speakers' tones of three pitches, in two contexts, and where each is."""
    root = tmp_path_factory.mktemp("abx")
    rng = np.random.default_rng(0)
    data, lines = root / "data", ["#file onset offset #phone prev-phone next-phone speaker"]
    utts = [f"u{k}" for k in range(4)]
    for k, utt in enumerate(utts):
        samples = 0.05 * rng.normal(size=4 * RATE)
        for place, name in enumerate(rng.choice(list(TONES), 20)):
            start = 0.2 * place
            t = np.arange(round(0.1 * RATE)) / RATE
            tone = 0.3 * np.sin(2 * np.pi * TONES[name] * (1 + 0.02 * (k % 2)) * t)
            samples[round(start * RATE) :][: len(t)] += tone
            context = ("X Y", "Y X")[place % 2]
            lines.append(f"{utt} {start:.2f} {start + 0.1:.2f} {name} {context} s{k % 2}")
        write_audio(data / f"{utt}.wav", np.clip(samples, -1, 1))
    write_tables(
        data,
        wav_scp=[f"{utt} {utt}.wav" for utt in utts],
        utt2spk=[f"{utt} s{k % 2}" for k, utt in enumerate(utts)],
        phones_item=lines,
    )
    make_features(data, root / "raw" / "test", "raw")
    return root


def score(speech, exp, *more):
    item = str(speech / "data" / "phones.item")
    argv = ["--dump", str(speech / "raw"), "--sets", "test", "--alignment", item, "--nj", "1"]
    abx.main([*argv, "--exp", str(exp), *more])


def test_a_table_of_two_systems(speech, tmp_path, capsys):
    teacher = tmp_path / "teacher"
    tiny_models.save(teacher)
    systems = ["--system", "mfcc=mfcc", "--system", f"tiny={teacher}"]
    score(speech, tmp_path / "exp", *systems)
    table = capsys.readouterr().out
    mfcc, tiny = (read_json(tmp_path / f"exp/abx/{name}.json") for name in ("mfcc", "tiny"))
    assert mfcc["layers"].keys() == {"0"} and len(tiny["layers"]) > 2
    assert mfcc["layers"]["0"]["within"] < 5 and mfcc["layers"]["0"]["across"] < 5
    assert mfcc["cells"] == tiny["cells"] == mfcc["found"]
    assert mfcc["utterances"] == 4 and len(table.splitlines()) == 3 + len(tiny["layers"])
    times = [p.stat().st_mtime_ns for p in sorted((tmp_path / "exp/abx").iterdir())]
    score(speech, tmp_path / "exp", *systems)
    assert times == [p.stat().st_mtime_ns for p in sorted((tmp_path / "exp/abx").iterdir())]
    assert capsys.readouterr().out == table
    errors = {n: sum(tiny["layers"][n].values()) for n in tiny["layers"]}
    best = tmp_path / "exp/abx/layer"
    score(speech, tmp_path / "exp", "--system", f"tiny={teacher}", "--choose", str(best))
    assert best.read_text().strip() == min(errors, key=errors.get)
    score(speech, tmp_path / "exp", "--system", f"tiny={teacher}", "--layers", "1")
    one = read_json(tmp_path / "exp/abx/tiny.json")
    assert one["layers"] == {"1": tiny["layers"]["1"]}


def test_what_is_refused(speech, tmp_path):
    teacher = tmp_path / "teacher"
    tiny_models.save(teacher)
    with pytest.raises(ConfigError, match="--layers 9: the model's layers are 0 .* to"):
        score(speech, tmp_path / "exp", "--system", f"tiny={teacher}", "--layers", "9")
    with pytest.raises(ConfigError, match="tiny .*: --layers -1: the model's layers are 0"):
        score(speech, tmp_path / "exp", "--system", f"tiny={teacher}", "--layers", "-1")
    assert not list((tmp_path / "exp").glob("abx/*.json"))
    with pytest.raises(ConfigError, match="mfcc has no layer to choose"):
        score(speech, tmp_path, "--system", "m=mfcc", "--choose", str(tmp_path / "layer"))
    (tmp_path / "x.ctm").write_text("other 1 0.1 0.1 AH\n")
    with pytest.raises(DataError, match="none of the utterances"):
        score(speech, tmp_path, "--system", "m=mfcc", "--alignment", str(tmp_path / "x.ctm"))
