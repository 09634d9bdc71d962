"""What transformers loads from an export, and hears in it."""

import json

import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModel

from espnet_dice.export import hf
from espnet_dice.hubert import frozen
from espnet_dice.hubert.models import students
from espnet_dice.io.errors import ConfigError
from tests.hubert.tiny_models import BASE, ENCODER, LARGE, STEM, noise


def student(name="hubert", conf=BASE, normalize=False) -> frozen.FrozenSSLModel:
    torch.manual_seed(1)
    model = students.build(name, conf)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.05 * torch.randn_like(p)
    return frozen.FrozenSSLModel(model, "key", "exp/dice_a", normalize)


@pytest.mark.parametrize(("conf", "normalize"), [(BASE, False), (LARGE, True)])
def test_transformers_hears_the_same(tmp_path, conf, normalize):
    mine = student(conf=conf, normalize=normalize)
    assert hf.write(mine, tmp_path) <= 1e-4
    theirs = AutoModel.from_pretrained(tmp_path).eval()
    prepare = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(theirs).__name__ == "HubertModel"
    for samples in (400, 4321):
        wave = 0.3 * noise(samples) + 0.1
        ready = prepare(wave.numpy(), sampling_rate=16000, return_tensors="pt").input_values
        with torch.no_grad():
            wanted = theirs(ready, output_hidden_states=True).hidden_states
        for a, b in zip(mine.hidden([wave])[0], wanted, strict=True):
            torch.testing.assert_close(a, b[0], rtol=0, atol=1e-4)
    again = frozen.load(tmp_path)
    assert again.normalize is normalize
    assert torch.equal(again.hidden([wave])[0][-1], mine.hidden([wave])[0][-1])


def test_the_directory_holds_no_pickle_and_can_be_read_by_others(tmp_path):
    hf.write(student(), tmp_path)
    files = {f.name: f.stat().st_mode & 0o777 for f in tmp_path.iterdir()}
    assert set(files) == {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert len(set(files.values())) == 1
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["HubertModel"]


def test_a_difference_is_found(tmp_path):
    mine = student()
    hf.write(mine, tmp_path)
    with torch.no_grad():
        mine.model.encoder.layers[1].final_layer_norm.bias += 1e-3
    with pytest.raises(ConfigError, match="computes something else: difference 0.00"):
        hf.check(mine, tmp_path)


def test_missing_parameters_are_found(tmp_path):
    from safetensors.torch import load_file, save_file

    mine = student()
    hf.write(mine, tmp_path)
    path = tmp_path / "model.safetensors"
    state = load_file(path)
    del state["encoder.layer_norm.weight"]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"missing_keys.*encoder\.layer_norm\.weight"):
        hf.check(mine, tmp_path)


def test_other_encoders_have_no_place_there(tmp_path):
    mine = student("espnet", {"encoder_conf": ENCODER, **STEM})
    assert not hf.can_export(mine) and not hf.carries_code(mine)
    with pytest.raises(ConfigError, match="no class for EspnetStudent; export it as ONNX"):
        hf.write(mine, tmp_path)
