"""Parameters wherever training programs put them: the model is the one that was saved."""

import json
import logging
import sys
from argparse import Namespace
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from transformers import HubertForCTC, HubertModel, Wav2Vec2FeatureExtractor

from espnet_dice.hubert import frozen
from espnet_dice.hubert.formats import teacher_files
from espnet_dice.io.errors import ConfigError
from tests.hubert import fairseq_checkpoints, parity
from tests.hubert.tiny_models import BASE, noise, reference

WAVE = 0.1 * noise(6000) + 0.02
MODEL = reference(BASE)
OTHER = {k: v + 0.1 for k, v in MODEL.state_dict().items()}


def wanted(model=MODEL):
    with torch.no_grad():
        return model(WAVE[None], output_hidden_states=True).hidden_states


def prefixed(prefix, state=None):
    return {prefix + k: v for k, v in (state or MODEL.state_dict()).items()}


def older(state=None):
    """Without what a model does without, and under a weight norm's old names."""
    names = (("parametrizations.weight.original0", "weight_g"), ("original1", "weight_v"))
    made = {}
    for key, value in (state or MODEL.state_dict()).items():
        for now, old in (*names, ("parametrizations.weight.", "")):
            key = key.replace(now, old)
        made[key] = value
    del made["masked_spec_embed"]
    return made


def directory(path, held, name="pytorch_model.bin"):
    MODEL.config.save_pretrained(path)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(path)
    torch.save(held, path / name)
    return path


def is_the_model(source):
    found = frozen.load(source).hidden([WAVE])[0]
    for a, b in zip(found, wanted(), strict=True):
        torch.testing.assert_close(a, b[0], rtol=0, atol=2e-5)


class Wrapped(torch.nn.Module):
    """A model as a training program has it."""

    def __init__(self, hubert):
        super().__init__()
        self.hubert = hubert
        self.head = torch.nn.Linear(48, 3)


def wrapped_by_torch():
    """Names that torch itself makes."""
    whole = Wrapped(HubertModel(MODEL.config))
    whole.hubert.load_state_dict(MODEL.state_dict())
    yield "compiled", torch.compile(whole).state_dict()
    yield "averaged", torch.optim.swa_utils.AveragedModel(whole).state_dict()
    yield "compiled and averaged", torch.optim.swa_utils.AveragedModel(torch.compile(whole))
    whole.hubert.encoder.layers[1] = torch.compile(whole.hubert.encoder.layers[1])
    whole.hubert.encoder = torch.compile(whole.hubert.encoder)
    yield "compiled inside", whole.state_dict()


def test_wrappers_of_torch(tmp_path):
    for name, held in wrapped_by_torch():
        state = held.state_dict() if isinstance(held, torch.nn.Module) else held
        assert not any(k.startswith("feature_extractor") for k in state)
        is_the_model(directory(tmp_path / name, state))


@pytest.mark.parametrize(
    "prefix",
    [
        "_orig_mod.",
        "module._orig_mod.hubert.",
        "model.module.wav2vec2.",
        "_forward_module.net.ssl.encoder.",
        "a.b.c.",
    ],
)
def test_prefixes(tmp_path, prefix):
    is_the_model(directory(tmp_path, {**prefixed(prefix), "head.weight": noise(3, 48)}))


def test_a_class_derived_from_huberts_with_a_projection(tmp_path):
    """ContentVec's: no prefix says what is the model and what its head."""
    head = {"final_proj.weight": noise(3, 48), "final_proj.bias": noise(3)}
    is_the_model(directory(tmp_path, {**prefixed(""), **head}))


@pytest.mark.parametrize(
    "held",
    [
        {"state_dict": prefixed("model.hubert."), "epoch": 3, "optimizer_states": []},
        {"model": prefixed("module."), "optimizer": {"state": {0: {"exp_avg": noise(3)}}}},
        {"model_state_dict": prefixed("")},
        {"module": prefixed("_orig_mod."), "ds_version": "0.14"},
        {"checkpoint": {"net": {"generator": prefixed("")}}},
        {**prefixed(""), "args": Namespace(lr=1.0), "n": torch.float16},
    ],
)
def test_containers(tmp_path, caplog, held):
    is_the_model(directory(tmp_path, held))
    assert not caplog.records


@pytest.mark.parametrize(
    ("held", "taken"),
    [
        ({"ema": OTHER, "model": prefixed("")}, "in model"),
        ({"model": prefixed(""), "best": OTHER}, "in model"),
        (prefixed("ema_model.module.", OTHER) | prefixed("model."), "behind model."),
        (prefixed("teacher.", OTHER) | prefixed("student."), "behind student."),
        (prefixed("ema.", OTHER) | prefixed(""), "at the top"),
        (prefixed("ema.", older(OTHER)) | prefixed(""), "at the top"),
        ({"ema": OTHER, "model": older()}, "in model"),
        ({"ema": older(OTHER), "model": prefixed("")}, "in model"),
        *(
            ({average: OTHER, "model": older()}, "in model")
            for average in (
                "EMA",
                "modelEMA",
                "EMAModel",
                "teacherModel",
                "momentum_encoder",
                "polyak",
                "ExponentialMovingAverage",
                "encoder_k",
                "grads",
            )
        ),
    ],
)
def test_several_models(tmp_path, caplog, held, taken):
    is_the_model(directory(tmp_path, held))
    [warning] = caplog.records
    assert warning.levelno == logging.WARNING
    assert f"pytorch_model.bin: several models in it fit: the one {taken} " in warning.getMessage()


def test_of_two_models_the_one_that_fits(tmp_path, caplog):
    small = reference({**BASE, "hidden_size": 32, "num_hidden_layers": 2}).state_dict()
    is_the_model(directory(tmp_path, prefixed("student.", small) | prefixed("teacher.")))
    assert not caplog.records


@pytest.mark.parametrize("safe", [False, True])
def test_shards(tmp_path, safe):
    made = directory(tmp_path, {})
    (made / "pytorch_model.bin").unlink()
    stem, end = ("model", "safetensors") if safe else ("pytorch_model", "bin")
    state = {k: v.contiguous() for k, v in MODEL.state_dict().items()}
    names = [f"{stem}-0000{i}-of-00002.{end}" for i in (1, 2)]
    for i, name in enumerate(names):
        part = {k: state[k] for k in list(state)[i::2]}
        (save_file if safe else torch.save)(part, made / name)
    index = {"weight_map": {k: names[i % 2] for i, k in enumerate(state)}}
    (made / f"{stem}.{end}.index.json").write_text(json.dumps(index))
    is_the_model(made)
    assert teacher_files.key_of(made / f"{stem}.{end}.index.json") == teacher_files.key_of(made)
    (made / names[1]).unlink()
    with pytest.raises(ConfigError, match=rf"{names[1]}: missing, though {stem}\.{end}\.index"):
        frozen.load(made)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {}}, "no index of parameters: no weight_map"),
        ({"weight_map": None}, "no index of parameters: no weight_map"),
        ([], "no index of parameters: no weight_map"),
        *(({"weight_map": {"a": name}}, "not in the model's own") for name in (5, None, [], "")),
        *(({"weight_map": {"a": name}}, "not in the model's own") for name in ("..", ".", "a/b")),
    ],
)
def test_indices_that_are_none(tmp_path, index, message):
    made = directory(tmp_path, {}, "a.bin")
    (made / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ConfigError, match=f"index.json: .*{message}"):
        frozen.load(made)


def test_formats_under_each_others_names(tmp_path):
    made = directory(tmp_path, MODEL.state_dict(), "model.safetensors")
    is_the_model(made)
    (made / "model.safetensors").unlink()
    save_file(
        {k: v.contiguous() for k, v in MODEL.state_dict().items()}, made / "pytorch_model.bin"
    )
    is_the_model(made)


def test_tensors_without_values(tmp_path):
    for name, change in (("sparse", torch.Tensor.to_sparse), ("meta", lambda x: x.to("meta"))):
        key = "feature_projection.projection.weight"
        made = directory(
            tmp_path / name, MODEL.state_dict() | {key: change(MODEL.state_dict()[key])}
        )
        with pytest.raises(ConfigError, match=rf"{key} has no values, or is sparse: save it"):
            frozen.load(made)


def test_parameters_without_their_settings(tmp_path):
    made = directory(tmp_path, MODEL.state_dict())
    (made / "config.json").unlink()
    with pytest.raises(ConfigError, match="give a Hugging Face model as its directory, with its c"):
        frozen.load(made / "pytorch_model.bin")


def test_old_names(tmp_path):
    state = {}
    for key, value in HubertForCTC(MODEL.config).state_dict().items():
        key = key.removeprefix("hubert.")
        new = MODEL.state_dict().get(key, value)
        for old, now in (("weight_g", "original0"), ("weight_v", "original1")):
            key = key.replace(f"parametrizations.weight.{now}", old)
        if "layer_norm" in key:
            key = key.replace("weight", "gamma").replace("bias", "beta")
        state[key if key.startswith("lm_head") else f"hubert.{key}"] = new
    assert sum("gamma" in k for k in state) > 5 and sum("weight_g" in k for k in state) == 1
    is_the_model(directory(tmp_path, state))


def test_one_name_of_each_kind_is_shown(tmp_path):
    state = {k.replace("layers", "blocks"): v for k, v in MODEL.state_dict().items()}
    made = directory(tmp_path, {"state_dict": prefixed("net.", state)})
    with pytest.raises(ConfigError) as said:
        frozen.load(made)
    text = str(said.value)
    assert "pytorch_model.bin (in state_dict behind net.): the parameters do not fit" in text
    assert "missing: feature_extractor.conv_layers.0.conv.weight and " in text
    assert "left over: feature_extractor.conv_blocks.0.conv.weight and " in text
    assert text.count("missing") == text.count("left over") == 1 and len(text) < 600


def test_what_is_there_is_said(tmp_path):
    held = {"weights": {"enc": {"a.b": noise(2), "c": noise(1)}}, "epoch": 3, "x": noise(1)}
    made = directory(tmp_path, held)
    with pytest.raises(ConfigError) as said:
        frozen.load(made)
    assert "holds no parameters of a hubert under transformers' names" in str(said.value)
    assert "1 tensor at the top (x …), 2 tensors in weights.enc (a.b …), epoch: int" in str(
        said.value
    )
    directory(tmp_path / "whole", torch.nn.Linear(2, 2))
    with pytest.raises(ConfigError, match=r"an object of torch.*Linear: save its state_dict\(\)"):
        frozen.load(tmp_path / "whole")
    torch.save(MODEL.state_dict(), tmp_path / "alone.pt")
    with pytest.raises(ConfigError, match=r"alone\.pt: no checkpoint .*give a Hugging Face model"):
        frozen.load(tmp_path / "alone.pt")
    torch.save(fairseq_checkpoints.parameters("hubert_base"), tmp_path / "bare.pt")
    with pytest.raises(ConfigError, match=r"bare\.pt: .* have fairseq's names, but no settings"):
        frozen.load(tmp_path / "bare.pt")


def foreign(made):
    """An object whose class is gone when the file is read, as Lightning's hyper-parameters are."""
    kind = type("HParams", (), {"__module__": "their_project.config"})
    sys.modules["their_project"], sys.modules["their_project.config"] = (
        ModuleType("their_project"),
        ModuleType("their_project.config"),
    )
    sys.modules["their_project.config"].HParams = kind
    value = kind()
    value.sizes = [1, 2]
    try:
        made(value)
    finally:
        del sys.modules["their_project"], sys.modules["their_project.config"]


def lightning(state, value):
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.1.0",
        "state_dict": state,
        "callbacks": {"ModelCheckpoint{'monitor': 'val'}": {"best": torch.tensor(1.5)}},
        "optimizer_states": [{"state": {0: {"exp_avg": noise(4)}}}],
        "hparams_name": "config",
        "hyper_parameters": {"config": value, "args": Namespace(lr=1e-3)},
    }


@pytest.fixture
def torchaudio_case(tmp_path):
    return parity.torchaudio("wav2vec2_model", False, tmp_path)


def around(torchaudio_case, name, held):
    """The teacher's file, replaced."""
    path = torchaudio_case.source.with_name(name)
    path.with_name(f"{name}.json").write_text('{"encoder_num_heads": 4}')
    torch.save(held, path)
    return parity.Case(path, torchaudio_case.waves, torchaudio_case.wanted)


def test_a_checkpoint_of_lightning_with_classes_that_are_not_here(torchaudio_case, tmp_path):
    state = torch.load(torchaudio_case.source)
    mask = {"model.mask_generator.mask_embedding": noise(48)}
    held = {f"model.wav2vec2.{k}": v for k, v in state.items()} | mask
    foreign(lambda value: around(torchaudio_case, "a.ckpt", lightning(held, value)))
    case = parity.Case(tmp_path / "a.ckpt", torchaudio_case.waves, torchaudio_case.wanted)
    assert case.error() < parity.BOUND
    embedding = frozen.load(case.source).model.masked_spec_embed
    assert torch.equal(embedding, mask["model.mask_generator.mask_embedding"])
    foreign(lambda value: directory(tmp_path / "hf", lightning(prefixed("net.hubert."), value)))
    is_the_model(tmp_path / "hf")


@pytest.mark.parametrize(
    "held",
    [
        lambda s: {"model": s},
        lambda s: {"model_state_dict": s, "optimizer": {}},
        lambda s: {f"module._orig_mod.{k}": v for k, v in s.items()},
        lambda s: {"a": {"b": {f"model.wav2vec2.{k}": v for k, v in s.items()}}},
    ],
)
def test_torchaudios_models(torchaudio_case, held):
    state = torch.load(torchaudio_case.source)
    assert around(torchaudio_case, "b.pt", held(state)).error() < parity.BOUND


@pytest.mark.parametrize("layout", ["hydra", "s3prl"])
def test_fairseqs_models(tmp_path, layout):
    def wrapped(name):
        held = getattr(fairseq_checkpoints, layout)(name)
        key = "model" if "model" in held else "model_weight"
        return held | {key: {f"module._orig_mod.{k}": v for k, v in held[key].items()}}

    assert parity.golden(wrapped, "hubert_base", tmp_path).error() < parity.BOUND


@pytest.mark.parametrize("which", ["hubert1", "ssl1"])
def test_espnets_models(tmp_path, which):
    case = getattr(parity, which)(tmp_path)
    path = tmp_path / "valid.loss.ave.pth"
    state = {f"module.{k}": v for k, v in torch.load(path).items()}
    torch.save({"model": state, "optimizers": [{}], "reporter": {}}, path)
    assert case.error() < parity.BOUND
