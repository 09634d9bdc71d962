"""How a teacher wants to hear waveforms: as AutoFeatureExtractor reads it, or else it is said."""

import json
import logging

import pytest
import torch
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
)

from espnet_dice.hubert import frozen
from espnet_dice.hubert.formats import hub, teacher_files
from espnet_dice.io.errors import ConfigError
from tests.hubert import espnet_checkpoints, fairseq_checkpoints
from tests.hubert.parity import torchaudio
from tests.hubert.tiny_models import BASE, LARGE, noise, reference

WAVE = 0.1 * noise(6000) + 0.02


def made(directory, conf=LARGE, preprocessor=None, processor=None, config=None):
    """A model with the files of its preprocessing given."""
    reference(conf).save_pretrained(directory)
    for name, values in ((hub.PREPROCESSOR, preprocessor), (hub.PROCESSOR, processor)):
        if values is not None:
            (directory / name).write_text(json.dumps(values))
    if config:
        path = directory / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return directory


def same_as_transformers(directory) -> bool:
    """Whether the waveform is normalised, which must be as transformers' own classes do it."""
    prepare = AutoFeatureExtractor.from_pretrained(directory)
    ready = prepare(WAVE.numpy(), sampling_rate=16000, return_tensors="pt").input_values
    with torch.no_grad():
        wanted = AutoModel.from_pretrained(directory).eval()(ready, output_hidden_states=True)
    mine = frozen.load(directory)
    for a, b in zip(mine.hidden([WAVE])[0], wanted.hidden_states, strict=True):
        torch.testing.assert_close(a, b[0], rtol=0, atol=2e-5)
    return mine.normalize


def test_what_a_processor_saves(tmp_path, caplog):
    (tmp_path / "vocab.json").write_text('{"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4}')
    tokens = Wav2Vec2CTCTokenizer(tmp_path / "vocab.json")
    directory = made(tmp_path / "t")
    said = {}
    for normalize in (True, False):
        Wav2Vec2Processor(Wav2Vec2FeatureExtractor(do_normalize=normalize), tokens).save_pretrained(
            directory
        )
        assert same_as_transformers(directory) is normalize
        said[normalize] = teacher_files.key_of(directory)
    assert said[True] != said[False]
    assert not caplog.records


@pytest.mark.parametrize(
    ("preprocessor", "processor", "normalize", "warns"),
    [
        ({"do_normalize": False}, None, False, ""),
        ({}, None, True, ""),
        ({"do_normalize": False}, {"processor_class": "Wav2Vec2Processor"}, False, ""),
        ({"do_normalize": False}, {"feature_extractor": None}, False, ""),
        ({"do_normalize": True}, {"feature_extractor": {"do_normalize": False}}, False, "is taken"),
        (None, {"feature_extractor": {}}, True, ""),
        (None, {"audio_processor": {"do_normalize": False}}, False, ""),
    ],
)
def test_which_file_counts(tmp_path, caplog, preprocessor, processor, normalize, warns):
    directory = made(tmp_path, LARGE, preprocessor, processor)
    assert same_as_transformers(directory) is normalize
    ours = [r.getMessage() for r in caplog.records if r.name == "root"]
    assert bool(ours) == bool(warns) and all(warns in text for text in ours)


def test_a_rate_that_is_left_open(tmp_path, caplog):
    said = {"do_normalize": False, "sampling_rate": None}
    assert frozen.load(made(tmp_path, LARGE, said)).normalize is False and not caplog.records


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_encodings_of_json(tmp_path, caplog, encoding):
    directory = made(tmp_path, LARGE, {"do_normalize": False})
    for name in (hub.PREPROCESSOR, "config.json"):
        text = (directory / name).read_text()
        (directory / name).write_text(text, encoding=encoding)
    assert frozen.load(directory).normalize is False and not caplog.records


@pytest.mark.parametrize("name", [hub.PREPROCESSOR, "config.json", "model.safetensors"])
def test_what_lies_in_the_place_of_a_file(tmp_path, name):
    directory = made(tmp_path, LARGE, {"do_normalize": False})
    (directory / name).unlink()
    (directory / name).symlink_to("../blobs/0")  # copied without what it leads to
    with pytest.raises(ConfigError, match=rf"{name}: a link to nothing: copy the model with cp -L"):
        frozen.load(directory)
    (directory / name).unlink()
    (directory / name).mkdir()
    with pytest.raises(ConfigError, match=rf"{name}: a directory is where a file has to be"):
        frozen.load(directory)
    (directory / name).rmdir()
    (directory / name).write_text("[" * 100_000)
    with pytest.raises(ConfigError, match=rf"{name}: .*; copy it again"):
        frozen.load(directory)


@pytest.mark.parametrize("conf", [BASE, LARGE])
@pytest.mark.parametrize("processor", [None, {"processor_class": "Wav2Vec2Processor"}])
def test_where_nothing_says(tmp_path, caplog, conf, processor):
    large = conf is LARGE
    directory = made(tmp_path, conf, processor=processor)
    mine = frozen.load(directory)
    assert mine.normalize is large
    [warning] = caplog.records
    assert warning.levelno == logging.WARNING
    text = warning.getMessage()
    assert str(directory) in text and hub.PREPROCESSOR in text
    assert ("mean 0 and variance 1" if large else "not normalised") in text
    (directory / hub.PREPROCESSOR).write_text(json.dumps({"do_normalize": not large}))
    assert teacher_files.key_of(directory) != mine.key
    assert same_as_transformers(directory) is not large


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"preprocessor": {"sampling_rate": 8000}}, hub.PREPROCESSOR),
        ({"processor": {"feature_extractor": {"sampling_rate": 8000}}}, hub.PROCESSOR),
        ({"processor": {"sampling_rate": 8000}, "preprocessor": {}}, hub.PROCESSOR),
        (
            {"preprocessor": {"sampling_rate": 8000}, "processor": {"feature_extractor": {}}},
            hub.PREPROCESSOR,
        ),
        ({"config": {"sampling_rate": 8000}}, "config.json"),
    ],
)
def test_another_sampling_rate_wherever_it_stands(tmp_path, files, named):
    with pytest.raises(ConfigError, match=rf"{named}: the model takes 8000 Hz; labels are made at"):
        frozen.load(made(tmp_path, BASE, **files))


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        ({"feature_extractor": [1]}, "its feature extractor has no settings"),
        ([1], "no settings of a preprocessor"),
        ({"feature_extractor": {"do_normalize": "no"}}, "do_normalize: 'no' must be true or false"),
        (
            {"feature_extractor": {"feature_extractor_type": "WhisperFeatureExtractor"}},
            "feature_extractor_type: WhisperFeatureExtractor; a teacher takes waveforms",
        ),
    ],
)
def test_settings_that_are_none(tmp_path, processor, message):
    with pytest.raises(ConfigError, match=rf"{hub.PROCESSOR}: {message}"):
        frozen.load(made(tmp_path, BASE, processor=processor))


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("hydra", "hubert_base"),
        ("hydra", "hubert_large"),
        ("old", "wav2vec2_base"),
        ("fine_tuned", "hubert_large"),
        ("s3prl", "hubert_base"),
        ("s3prl", "hubert_large"),
        ("authors_wavlm", "wavlm_large"),
    ],
)
def test_fairseqs_task_says_it_or_it_is_assumed(tmp_path, caplog, monkeypatch, layout, name):
    path, large = tmp_path / "m.pt", name.endswith("large")
    fairseq_checkpoints.save(getattr(fairseq_checkpoints, layout)(name), path)
    assert frozen.load(path).normalize is large and not caplog.records
    settings = fairseq_checkpoints.settings

    def silent(which):
        return tuple({k: v for k, v in s.items() if k != "normalize"} for s in settings(which))

    monkeypatch.setattr(fairseq_checkpoints, "settings", silent)
    fairseq_checkpoints.save(getattr(fairseq_checkpoints, layout)(name), path)
    assert frozen.load(path).normalize is large
    [warning] = caplog.records
    assert f"{path}: nothing says" in warning.getMessage()


@pytest.mark.parametrize("large", [False, True])
def test_a_state_dict_of_torchaudio_does_not_say_it(tmp_path, caplog, large):
    path = torchaudio("wav2vec2_model", large, tmp_path).source
    assert frozen.load(path).normalize is large
    [warning] = caplog.records
    assert f"{path}: nothing says" in warning.getMessage()
    assert '{"normalize_waveform": …}' in warning.getMessage()
    caplog.clear()
    beside = tmp_path / "model.pth.json"
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {"normalize_waveform": False}))
    assert not frozen.load(path).normalize and not caplog.records


def test_espnets_frontend_says_its_rate(tmp_path):
    import yaml

    espnet_checkpoints.ssl1(tmp_path)
    path = tmp_path / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["frontend_conf"]["fs"] = 8000
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match="frontend_conf: fs: 8000; a teacher has .*16000"):
        frozen.load(tmp_path)
