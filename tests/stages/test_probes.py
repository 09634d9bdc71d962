"""Stage 6: every result once, again when its model, data or settings changed, and not otherwise."""

import json
import os
import re
import shutil

import pytest

from espnet_dice.hubert import upstreams
from espnet_dice.io.errors import ConfigError, DataError, DiceError, StaleError
from espnet_dice.probes.probe_corpus import Corpus, Settings
from espnet_dice.probes.systems import parse_systems
from espnet_dice.stages import probes
from espnet_dice.stages.features import make_features
from espnet_dice.stages.probes import Machine, run_probes
from tests.corpus import make_corpus, noise, write_audio
from tests.hubert import tiny_models

QUICK = Settings(epochs=1, keywords=3, sid_seconds=0.1)
ONE = Machine(nj=1)


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    root = tmp_path_factory.mktemp("probes")
    for name, n in (("train", 60), ("dev", 8), ("test", 30)):
        make_features(make_corpus(root / "data" / name, n, 0.25), root / "raw" / name, "raw")
    return root / "raw"


def corpus(dump, **settings):
    return Corpus(dump, "train", "dev", "test", Settings(**{**vars(QUICK), **settings}))


def written(exp):
    return {str(p.relative_to(exp)): p.stat().st_mtime_ns for p in exp.glob("probes/*/*.json")}


def test_a_table_of_two_systems(dump, tmp_path):
    """A model of transformers and none at all, as the recipe asks for them."""
    tiny_models.save(tmp_path / "hubert")
    exp = tmp_path / "exp"
    command = ["--system", "none=fbank", "--system", f"model={tmp_path / 'hubert'}"]
    command += ["--dump", str(dump), "--train", "train", "--dev", "dev", "--test", "test"]
    command += ["--exp", str(exp), "--epochs", "1", "--nj", "2", "--seeds", "0", "1"]
    probes.main(command)
    files = [f"{task}_seed{seed}.json" for task in ("char", "sid", "kws") for seed in (0, 1)]
    for name in ("none", "model"):
        found = {p.name for p in (exp / "probes" / name).iterdir()}
        assert found == {*files, "speed.json", "probes.log"}  # and no frames
    record = json.loads((exp / "probes/model/char_seed1.json").read_text())
    wanted = {"system": "model", "task": "char", "seed": 1, "train": 60, "dev": 8, "test": 30}
    assert {k: record[k] for k in wanted} == wanted and 0 <= record["score"] <= 300
    assert len(record["layer_weights"]) == 1 + tiny_models.BASE["num_hidden_layers"]
    model = tiny_models.reference()
    assert record["parameters"] == sum(p.numel() for p in model.parameters())
    speeds = [json.loads((exp / f"probes/{n}/speed.json").read_text()) for n in ("none", "model")]
    assert speeds[0]["key"] == speeds[1]["key"]
    assert all(s["cpu_s_per_audio_s"] > 0 and len(s["rounds"]) == 3 for s in speeds)
    before = written(exp)
    probes.main(command)
    assert written(exp) == before


def test_what_changed_is_made_again(dump, tmp_path, capsys):
    systems, exp = {"none": "fbank"}, tmp_path / "exp"
    assert run_probes(systems, corpus(dump), exp, machine=ONE) == 3
    first = written(exp)
    assert run_probes(systems, corpus(dump), exp, machine=ONE) == 0
    assert run_probes(systems, corpus(dump), exp, seeds=(0, 1), machine=ONE) == 3
    # a setting of one task leaves the others
    assert run_probes(systems, corpus(dump, sid_seconds=0.0), exp, machine=ONE) == 1
    assert run_probes(systems, corpus(dump, keyword_letters=5), exp, ["kws"], machine=ONE) == 1
    again = written(exp)
    assert {k for k in first if again[k] == first[k]} == {"probes/none/char_seed0.json"} | {
        "probes/none/speed.json"
    }
    os.unlink(exp / "probes/none/char_seed0.json")
    assert run_probes(systems, corpus(dump), exp, ["char"], machine=ONE) == 1


def test_other_speech_or_another_model_is_another_result(dump, tmp_path, monkeypatch):
    raw, exp = tmp_path / "raw", tmp_path / "exp"
    shutil.copytree(dump, raw)
    assert run_probes({"none": "fbank"}, corpus(raw), exp, ["sid"], machine=ONE) == 1
    data = make_corpus(tmp_path / "data", 60, 0.25)
    write_audio(data / "audio" / "u000.wav", noise(0.5, 9))
    make_features(data, raw / "train", "raw")
    assert run_probes({"none": "fbank"}, corpus(raw), exp, ["sid"], machine=ONE) == 1
    monkeypatch.setattr(upstreams.SPECTRAL["fbank"], "key", "other")
    assert run_probes({"none": "fbank"}, corpus(raw), exp, ["sid"], machine=ONE) == 1


def test_a_system_gets_the_same_figures_in_any_company(dump, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    run_probes({"a": "fbank"}, corpus(dump), one, ["kws", "sid"], machine=ONE)
    run_probes({"b": "fbank", "a": "fbank"}, corpus(dump), two, ["sid"], (1, 0), Machine(2))
    run_probes({"b": "fbank", "a": "fbank"}, corpus(dump), two, machine=Machine(2))
    for name in ("sid_seed0.json", "kws_seed0.json"):
        assert (one / "probes/a" / name).read_text() == (two / "probes/a" / name).read_text()


def test_parts_and_phones(dump, tmp_path):
    small = corpus(dump, train_seconds=5.0, test_seconds=2.0)
    task = small.task("char")
    parts = task.parts
    seconds = [sum(small.samples[u.id] for u in part) / 16000 for part in (parts.train, parts.test)]
    assert 4 < seconds[0] <= 5 and 1 < seconds[1] <= 2 and len(parts.dev) == 8
    for name in ("train", "dev", "test"):
        lines = [f"{u.id} W AH N" for u in small.utterances(name)]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    spoken = corpus(dump, phones=str(tmp_path))
    assert spoken.task("char").inventory == ["", "AH", "N", "W"]
    before = spoken.keys("char")
    (tmp_path / "test").write_text(lines[0].replace("AH", "AA") + "\n")
    assert corpus(dump, phones=str(tmp_path)).keys("char") != before
    (tmp_path / "test").unlink()
    with pytest.raises(DataError, match="test: No such file"):
        corpus(dump, phones=str(tmp_path)).keys("char")


def test_speakers_of_several_sets(dump):
    task = corpus(dump, sid_sets=("dev", "test")).task("sid")
    assert {len(part) for part in (task.parts.dev, task.parts.test)} == {8}
    with pytest.raises(DataError, match="in two sessions"):
        corpus(dump, sid_split="session").task("sid")


def test_what_is_wrong_is_told_before_anything_is_heard(dump, tmp_path, monkeypatch):
    exp = tmp_path / "exp"
    monkeypatch.setattr(probes, "probe_system", lambda *_: pytest.fail("heard"))
    with pytest.raises(StaleError, match="nothing/here|run the features stage"):
        run_probes({"none": "fbank"}, Corpus(dump, "train", "dev", "gone", QUICK), exp)
    with pytest.raises(ConfigError, match="no such file or directory"):
        run_probes({"none": str(tmp_path / "no")}, corpus(dump), exp)
    with pytest.raises(DataError, match="no word of 9 letters"):
        run_probes({"none": "fbank"}, corpus(dump, keyword_letters=9), exp)
    assert not exp.exists()


def test_an_error_of_a_child_is_the_message(dump, tmp_path):
    with pytest.raises(DiceError, match=r"a: .* take .* GB of disk .* --max_gb"):
        run_probes(
            {"a": "fbank"}, corpus(dump), tmp_path, ["char"], machine=Machine(1, max_gb=1e-6)
        )


def test_names_of_systems():
    assert parse_systems(["a=x/y=z", "b_c-1.0=fbank"]) == {"a": "x/y=z", "b_c-1.0": "fbank"}
    for entries in (["a"], ["=x"], ["a="], ["../a=x"], ["a/b=x"], [".a=x"]):
        with pytest.raises(ConfigError, match=re.escape(f"{entries[0]}: write NAME=SOURCE")):
            parse_systems(entries)
    with pytest.raises(ConfigError, match="a: given twice"):
        parse_systems(["a=x", "a=y"])


def test_probes_of_speech_without_transcripts(tmp_path):
    for name, n in (("train", 12), ("dev", 4), ("test", 4)):
        data = make_corpus(tmp_path / "data" / name, n, 0.1)
        (data / "text").unlink()
        make_features(data, tmp_path / "raw" / name, "raw")
    said = r"wav.scp:\d+: u0\d\d: .*no transcript, which probe (char|kws) needs: .*leave \1 out of"
    for task in ("char", "kws"):
        with pytest.raises(DataError, match=said):
            corpus(tmp_path / "raw").task(task)
    assert len(corpus(tmp_path / "raw").task("sid").parts.all) == 12
