"""Hidden states of students: what transformers' own model gives."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import torch

import espnet_dice
from espnet_dice import extract
from espnet_dice.export import student as student_export
from espnet_dice.export.onnx import missing_for_onnx
from espnet_dice.io.errors import ConfigError, DataError, StaleError
from espnet_dice.io.fingerprint import NAME
from espnet_dice.stages import export
from tests.corpus import RATE, noise, write_audio
from tests.hubert import parity
from tests.hubert.tiny_models import LARGE
from tests.stages.test_export_hubert import CONV, trained

ONNX = pytest.mark.skipif(bool(missing_for_onnx()), reason="the extra onnx is not installed")


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    directory = trained(tmp_path_factory.mktemp("exp") / "dice_a")
    export.export([directory], onnx=False)
    return directory


@pytest.fixture
def wav(tmp_path):
    return write_audio(tmp_path / "u.wav", noise(0.4))


def close(ours, theirs, tolerance=1e-4):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


def test_as_transformers(system, wav):
    from transformers import HubertModel

    model = HubertModel.from_pretrained(system / "export/hf").eval()
    samples, rate = soundfile.read(wav, dtype="float32")
    with torch.no_grad():
        said = model(torch.from_numpy(samples)[None], output_hidden_states=True)
    wanted = [x[0].numpy() for x in said.hidden_states]
    assert [x.shape for x in wanted] == [(19, 48)] * 4
    for source in (system, system / "export", system / "export/hf"):
        close(espnet_dice.load(source).extract(wav), wanted)
    loaded = espnet_dice.load(system)
    close(loaded.extract(samples, rate), wanted)
    close(loaded.extract((samples * 32768).astype(np.int16), rate), wanted)
    close(loaded.extract(torch.from_numpy(samples), rate), wanted)


def test_a_model_that_normalises(tmp_path, wav):
    from transformers import HubertModel, Wav2Vec2FeatureExtractor

    from tests.hubert import tiny_models

    tiny_models.save(tmp_path / "hf", LARGE, do_normalize=True)
    samples = soundfile.read(wav, dtype="float32")[0]
    prepare = Wav2Vec2FeatureExtractor.from_pretrained(tmp_path / "hf")
    ready = prepare(samples, sampling_rate=RATE, return_tensors="pt").input_values
    model = HubertModel.from_pretrained(tmp_path / "hf").eval()
    with torch.no_grad():
        wanted = model(ready, output_hidden_states=True).hidden_states
    close(espnet_dice.load(tmp_path / "hf").extract(wav), [x[0].numpy() for x in wanted])


@pytest.mark.parametrize("name", ["fairseq HuBERT, base", "torchaudio HuBERT, large"])
def test_a_teachers_checkpoint(tmp_path, name):
    make = next(which.make for which in parity.FORMATS if which.name.startswith(name))
    case = make(tmp_path)
    loaded = espnet_dice.load(case.source)
    for wave, wanted in zip(case.waves, case.wanted, strict=True):
        close(loaded.extract(wave.numpy(), RATE)[1:], wanted)


def test_files_that_are_no_student(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ConfigError, match=r"a\.txt: cut short, or no file that torch\.save wrote"):
        espnet_dice.load(tmp_path / "a.txt")
    (tmp_path / "config.yaml").write_text("decoder: transformer\n")
    (tmp_path / "a.pth").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"a\.pth: parameters of a recogniser: give its dir"):
        espnet_dice.load(tmp_path / "a.pth")


@ONNX
def test_a_student_of_convolutions_leaves_as_onnx_only(tmp_path, wav, capsys):
    system = trained(tmp_path / "dice_c", "conv", CONV)
    export.main(["--systems", str(system)])
    assert "1 exported, 0 unchanged" in capsys.readouterr().out
    files = {f.name for f in (system / "export").iterdir()}
    assert files == {"model.onnx", "model.int8.onnx", "export.json", "README.md", "ship", NAME}
    told = student_export.told(json.loads((system / "export/export.json").read_text()))
    assert "model.int8.onnx: 0." in told and "s per second of audio" in told
    wanted = espnet_dice.load(system).extract(wav)
    for source in (system / "export", system / "export/model.onnx"):
        close(espnet_dice.load(source).extract(wav), wanted)
    int8 = espnet_dice.load(system / "export/model.int8.onnx").extract(wav)
    assert [x.shape for x in int8] == [x.shape for x in wanted]
    card = (system / "export/README.md").read_text()
    assert "as ONNX" in card and "HubertModel" not in card and "`model.int8.onnx`" in card


@ONNX
def test_graphs_that_are_no_student(tmp_path):
    import onnx

    path = tmp_path / "encoder.onnx"
    for junk in (b"", b"junk", b"version https://git-lfs.github.com/spec/v1\n"):
        path.write_bytes(junk)
        with pytest.raises(ConfigError, match=r"encoder\.onnx: no ONNX graph .*; copy it again"):
            espnet_dice.load(path)
    names, make = ("speech", "memory", "ctc"), onnx.helper
    values = [make.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["b", "s"]) for n in names]
    nodes = [make.make_node("Identity", names[:1], [name]) for name in names[1:]]
    graph = make.make_graph(nodes, "g", values[:1], values[1:])
    opset = [make.make_opsetid("", 17)]
    onnx.save(make.make_model(graph, opset_imports=opset, ir_version=8), path)
    with pytest.raises(ConfigError, match=r"gives memory, ctc; a HuBERT student gives last_hidden"):
        espnet_dice.load(path)


@ONNX
def test_a_graph_beside_a_model_of_hugging_face(system, tmp_path, wav):
    hf = shutil.copytree(system / "export/hf", tmp_path / "hf")
    (hf / "model.onnx").write_bytes(b"somebody's")
    (hf / "config.yaml").write_text("some: thing\n")
    wanted = espnet_dice.load(system).extract(wav)
    close(espnet_dice.load(hf).extract(wav), wanted, 0)
    close(espnet_dice.load(hf / "config.json").extract(wav), wanted, 0)


def test_onnx_without_its_package(system, tmp_path, monkeypatch):
    (tmp_path / "m.onnx").write_bytes(b"")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs onnxruntime: pip install"):
        espnet_dice.load(tmp_path / "m.onnx")


def test_bad_audio(system, tmp_path):
    model = espnet_dice.load(system)
    with pytest.raises(DataError, match="u: 399 samples are less than one frame"):
        model.extract(write_audio(tmp_path / "u.wav", noise(399 / RATE)))
    with pytest.raises(DataError, match="8000 Hz, the model wants 16000 Hz"):
        model.extract(np.zeros(4000), 8000)
    willing = espnet_dice.load(system, resample=True)
    assert len(willing.extract(np.zeros(4000), 8000)[0]) == 24


def test_what_is_no_model(system, tmp_path):
    with pytest.raises(ConfigError, match="owner/name: no such directory: give exp/asr_<tag>"):
        espnet_dice.load("owner/name")  # never asked of a hub
    with pytest.raises(ConfigError, match="neither a recogniser nor a HuBERT student"):
        espnet_dice.load(tmp_path)
    with pytest.raises(ConfigError, match="has no option 'beam_size'; it has channel, device"):
        espnet_dice.load(system, beam_size=3)
    (tmp_path / "config.yaml").write_text("lm: transformer\n")
    with pytest.raises(ConfigError, match="neither a recogniser nor a HuBERT student"):
        espnet_dice.load(tmp_path)
    (tmp_path / "config.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match=r"config\.yaml: no configuration of a model"):
        espnet_dice.load(tmp_path)


def test_an_unfinished_student(tmp_path):
    system = trained(tmp_path / "dice_a")
    record = json.loads((system / ".fingerprint.json").read_text())
    (system / ".fingerprint.json").write_text(json.dumps({**record, "done": False}))
    with pytest.raises(StaleError, match="never finished"):
        espnet_dice.load(system)


def test_a_channel_of_several(system, tmp_path, wav):
    samples = soundfile.read(wav)[0]
    two = write_audio(tmp_path / "two.wav", np.stack([0 * samples, samples], 1))
    with pytest.raises(DataError, match=r"choose with --channel 0 \(in Python channel=0\)"):
        espnet_dice.load(system).extract(two)
    extract.main([str(system), str(two), "--out", str(tmp_path / "f"), "--channel", "1"])
    wanted = espnet_dice.load(system).extract(wav)
    with np.load(tmp_path / "f" / "two.npz") as found:
        np.testing.assert_array_equal(found["layer_1"], wanted[1])


def test_the_command(system, tmp_path, wav, capsys):
    other = write_audio(tmp_path / "v.flac", noise(0.3, seed=1))
    out = tmp_path / "out"
    extract.main([str(system), str(wav), str(other), "--out", str(out)])
    assert "2 files in" in capsys.readouterr().out
    for file in (wav, other):
        wanted = espnet_dice.load(system).extract(file)
        with np.load(out / f"{file.stem}.npz") as found:
            assert set(found) == {f"layer_{i}" for i in range(4)}
            close([found[f"layer_{i}"] for i in range(4)], wanted, 0)
    extract.main([str(system), str(wav), "--out", str(out), "--layers", "2"])
    with np.load(out / "u.npz") as found:
        assert set(found) == {"layer_2"}
    with pytest.raises(ConfigError, match="--layers 4: the model has layers 0 to 3"):
        extract.main([str(system), str(wav), "--out", str(out), "--layers", "4"])
    with pytest.raises(ConfigError, match="two files are called u"):
        extract.main([str(system), str(wav), str(tmp_path / "x/u.wav"), "--out", str(out)])
