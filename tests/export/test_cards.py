"""Cards say what is on disk, when it is about the model that is there."""

import json
import logging
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from espnet_dice.export import cards
from espnet_dice.export.cards import card
from espnet_dice.hubert import upstreams
from espnet_dice.io.errors import ConfigError
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.records import experiment
from espnet_dice.stages import dice_results, export
from tests.stages.test_dice_results import probed
from tests.stages.test_export_hubert import trained

ROOT = Path(__file__).parents[2]


@pytest.fixture
def student(tmp_path):
    """A student of a teacher with a card, exported."""
    (tmp_path / "exp").mkdir()
    system = trained(tmp_path / "exp/dice_a")
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    (teacher / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    labels = tmp_path / "exp/labels/t_l9/train"
    labels.mkdir(parents=True)
    store = {"clusters": 50, "source": str(teacher), "layer": 9, "kl": {}}
    (labels / "store.json").write_text(json.dumps(store))
    with open(system / "config.yaml", "a") as f:
        f.write(f"labels: {labels}\n")
    assert export.export([system], onnx=False) == 1
    return system


def read(system):
    return (system / "export/hf/README.md").read_text()


def _scores(text):
    """Of the front matter, as the hub reads it."""
    return ModelCard(text).data.eval_results


def test_the_export_writes_one(student):
    text = read(student)
    ModelCard(text)
    assert "`cc-by-nc-4.0`" in text and "Not measured yet" in text and "K = 50" in text
    assert "layer 9" in text and "| teacher | `teacher` |" in text


def test_nothing_of_this_machine_is_in_what_is_taken_away(student):
    files = list((student / "export/hf").iterdir())
    assert {path.name for path in files} >= {"README.md", "config.json", "model.safetensors"}
    for path in files:
        assert str(student.parent.parent).encode() not in path.read_bytes(), path.name


def test_what_is_told_of_the_speech(student, tmp_path):
    (tmp_path / "teacher/config.json").write_text('{"_name_or_path": "owner/hubert"}')
    with pytest.raises(ConfigError, match="--lang english: give a code of two or three letters"):
        export.export([student], onnx=False, lang="english")
    how = ["--systems", str(student), "--onnx", "false", "--lang", "en", "--dataset", "owner/set"]
    export.main(how)
    data = ModelCard(read(student)).data
    assert (data.language, data.datasets) == ("en", ["owner/set"])
    assert data.base_model == "owner/hubert"
    assert export.export([student], onnx=False, lang="en", dataset="owner/set") == 0
    assert cards.refresh(student.parent) == 1  # it is kept
    assert ModelCard(read(student)).data.language == "en"
    assert export.export([student], onnx=False, lang="noinfo") == 1
    assert ModelCard(read(student)).data.language is None


def test_results_are_written_into_it(student, monkeypatch):
    exp = student.parent
    key = upstreams.key_of(student)
    models = {}
    monkeypatch.setattr(upstreams, "key_of", lambda source: models.get(source, key))
    probed(exp, models, {"a": 1}, seeds=(0, 2))
    dice_results.main(["--exp", str(exp)])
    assert "Not measured yet" in read(student)  # scoring leaves exports alone
    assert cards.refresh(exp) == 1
    text = read(student)
    assert "| speaker accuracy, % | 92.0 | 50.0 | `all about sid` |" in text
    assert "Not measured yet" not in text
    scores = {r.metric_type: (r.metric_value, r.dataset_name) for r in _scores(text)}
    assert scores["accuracy"] == (92.0, "the recipe's own test set")
    assert scores.keys() == {"cer", "accuracy", "eer"}
    # a model that was trained after the probes
    results = json.loads((exp / "results.json").read_text())
    for row in results["systems"]:
        row["model"] = "another"
    (exp / "results.json").write_text(json.dumps(results))
    assert cards.refresh(exp) == 1
    assert "Not measured yet" in read(student)


def test_an_export_of_an_older_model_is_left_alone(student, caplog):
    before = read(student)
    trained(student, seed=1)
    (student / "export/hf/README.md").write_text("mine")
    assert cards.refresh(student.parent) == 0
    assert "is of an older model: export again" in caplog.text
    (student / "model.json").unlink()
    assert cards.refresh(student.parent) == 0
    assert "its card stays as it is" in caplog.text
    assert read(student) == "mine" != before


def test_versions(tmp_path, monkeypatch):
    said = cards.made_with()
    assert "`espnet_dice " in said and "`espnet " in said and "`torch " in said
    assert (", commit " in said) == (ROOT / ".git").exists()
    monkeypatch.setattr(cards.espnet_dice, "__file__", str(tmp_path / "x/__init__.py"))
    assert "commit" not in cards.made_with()
    (tmp_path / ".git").mkdir()  # not a checkout that git can read
    assert "commit" not in cards.made_with()


def recogniser(exp):
    """What training, decoding and export leave of a recogniser, as far as its card goes."""
    directory = exp / "asr_b_seed0"
    (directory / "export/hf").mkdir(parents=True)
    (directory / "export/export.json").write_text("{}")
    (directory / "ave.pth").write_bytes(b"x")
    config = (
        "model_conf: {ctc_weight: 0.3}\ninput_size: 83\ntoken_list: [a]\ndecoder: transformer\n"
    )
    (directory / "config.yaml").write_text(config)
    known = {"task": "asr", "parameters": 200000, "seed": 0, "max_epoch": 3}
    averaged = [(3, 0.9), (2, 0.8)]
    experiment.write(
        directory, model="ave.pth", train_set="t<r", valid_set="d", averaged=averaged, **known
    )
    Fingerprint("train_asr", {}, {}).finish(directory)
    system = experiment.load(directory)
    Fingerprint("export", {}, {"model": system.sha256}).finish(directory / "export")
    for name, model in (("dev", system.sha256), ("old", "another")):
        out = directory / "decode_no_lm" / name
        out.mkdir(parents=True)
        (out / "meta.json").write_text(json.dumps({"model": model}))
    return system


def test_a_recogniser_shows_what_its_own_model_scored(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    system = recogniser(tmp_path)
    rates = {"wer": 20.5, "cer": 7.0, "words": 9, "cpu_s_per_audio_s": 0.1, "lm": None}
    rows = [
        {"system": system, "set": name, "decode": "decode_no_lm", **rates}
        for system in ("b_seed0", "c_seed0")
        for name in ("dev", "old")
    ]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    assert cards.refresh(tmp_path) == 1
    text = read(system.directory)
    (score, _) = ModelCard(text).data.eval_results
    assert (score.dataset_name, score.metric_value) == ("dev", 20.5)
    assert "`t<r`, validated on `d`" in text and "the average of 2 checkpoints" in text
    assert "| licence of this model and of its data | " + card.NOT_SAID in text
