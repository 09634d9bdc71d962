"""Teachers against transformers and ESPnet's own code; sources that are no teachers."""

import json
import os
import shutil
from fractions import Fraction
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub.errors import RemoteEntryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import HubertForCTC, Wav2Vec2FeatureExtractor

from espnet_dice.hubert import frozen
from espnet_dice.hubert.formats import hub, teacher_files
from espnet_dice.hubert.models import onednn, students
from espnet_dice.hubert.models.frames import n_frames
from espnet_dice.io.errors import ConfigError, DataError, StaleError
from espnet_dice.io.fingerprint import Fingerprint
from espnet_dice.records import experiment
from tests.hubert import espnet_checkpoints
from tests.hubert.tiny_models import BASE, LARGE, MEL, MEL_BASE, noise, save

WAVES = [0.1 * noise(6000) + 0.02, 3 * noise(400, seed=1), 0.01 * noise(3210, seed=2)]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    directory = tmp_path_factory.mktemp("base")
    return directory, save(directory, BASE, do_normalize=False)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    directory = tmp_path_factory.mktemp("large")
    return directory, save(directory, LARGE, do_normalize=True)


def hidden_states(model, speech: torch.Tensor):
    with torch.no_grad():
        return model(speech, output_hidden_states=True).hidden_states


@pytest.mark.parametrize("which", ["base", "large"])
def test_hidden_states_with_the_preprocessing_that_the_model_wants(which, request):
    directory, theirs = request.getfixturevalue(which)
    prepare = Wav2Vec2FeatureExtractor.from_pretrained(directory)
    mine = frozen.load(directory)
    assert (mine.normalize, mine.layers, mine.dim) == (which == "large", 3, 48)
    together = mine.hidden(WAVES)
    for wave, found in zip(WAVES, together, strict=True):
        ready = prepare(wave.numpy(), sampling_rate=16000, return_tensors="pt").input_values
        for a, b in zip(found, hidden_states(theirs, ready), strict=True):
            torch.testing.assert_close(a, b[0], rtol=0, atol=2e-5)


def test_the_layer_is_1_based_and_whole(base):
    directory, theirs = base
    mine = frozen.load(directory)
    wanted = hidden_states(theirs, WAVES[0][None])
    for layer in (0, 1, 2, 3):
        source = frozen.LayerFeatures(mine, layer)
        assert source.dim == 48
        found = source.features(WAVES[0].numpy())
        assert found.dtype == torch.float32 and found.shape == (n_frames(6000), 48)
        torch.testing.assert_close(found, wanted[layer][0], rtol=0, atol=1e-5)
    for a, wave in zip(source.batch(WAVES), WAVES, strict=True):
        torch.testing.assert_close(a, source.features(wave), rtol=0, atol=2e-5)


@pytest.mark.parametrize("layer", [4, -1, 1.0])
def test_layers_that_do_not_exist(base, layer):
    with pytest.raises(ConfigError, match=r"its layers are 0 to 3 \(1-based"):
        frozen.LayerFeatures(frozen.load(base[0]), layer)


def test_a_teacher_stays_frozen_inside_a_model_in_training(base):
    mine = frozen.load(base[0])
    outer = torch.nn.ModuleDict({"teacher": mine}).train()
    assert not mine.training and not any(m.training for m in mine.modules())
    assert not any(p.requires_grad for p in outer.parameters())
    a = mine(WAVES[0][None])[-1]
    assert torch.equal(a, mine(WAVES[0][None])[-1]) and not a.requires_grad
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(a, mine(WAVES[0][None])[-1])


def test_short_and_shapeless_waves(base):
    mine = frozen.load(base[0])
    with pytest.raises(DataError, match="utterance 2: 399 samples are less than one frame"):
        mine.hidden([WAVES[0], torch.zeros(399)])
    with pytest.raises(DataError, match=r"expected \(samples,\)"):
        mine.hidden([np.zeros((500, 2))])


def copy(base, directory, config=None, preprocessor=None, state=None):
    """The base teacher with something changed."""
    directory.mkdir()
    for name, change in (("config.json", config), (hub.PREPROCESSOR, preprocessor)):
        values = json.loads((base[0] / name).read_text())
        (directory / name).write_text(json.dumps(values | (change or {})))
    weights = base[0] / "model.safetensors"
    if state is None:
        shutil.copy(weights, directory)
    else:
        save_file(state(load_file(weights)), directory / weights.name)
    return directory


def test_the_key_is_that_of_parameters_and_meaning(base, tmp_path):
    key = teacher_files.key_of(base[0])
    assert frozen.load(base[0]).key == key
    same = copy(base, tmp_path / "same", {"transformers_version": "9", "dtype": "x"})
    assert teacher_files.key_of(same) == key
    norm = copy(base, tmp_path / "norm", preprocessor={"do_normalize": True})
    heads = copy(base, tmp_path / "heads", {"num_attention_heads": 2})
    other = copy(base, tmp_path / "other", state=lambda s: s | {"masked_spec_embed": noise(48)})
    keys = {key, *(teacher_files.key_of(d) for d in (norm, heads, other))}
    assert len(keys) == 4
    assert len({teacher_files.layer_key(key, layer) for layer in (1, 2)} | {key}) == 3


def test_a_fine_tuned_model_in_the_old_format_is_the_same_teacher(base, tmp_path):
    whole = HubertForCTC(base[1].config)
    whole.hubert.load_state_dict(base[1].state_dict())
    state = whole.state_dict()
    conv = "hubert.encoder.pos_conv_embed.conv."
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        state[conv + old] = state.pop(f"{conv}parametrizations.weight.{new}")
    base[1].config.save_pretrained(tmp_path)
    torch.save(state, tmp_path / "pytorch_model.bin")
    found = frozen.load(tmp_path).hidden(WAVES[:1])[0][-1]
    assert torch.equal(found, frozen.load(base[0]).hidden(WAVES[:1])[0][-1])


class Payload:
    def __reduce__(self):
        return (open, ("ran", "w"))


class Runs:
    def __reduce__(self):
        return (os.mkdir, ("made",))


def test_pickles_are_not_run_unless_trusted(base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base[1].config.save_pretrained(tmp_path)
    held = {**base[1].state_dict(), "lm_head": Payload(), "n": Fraction(1)}
    torch.save(held, tmp_path / "pytorch_model.bin")
    assert frozen.load(tmp_path).layers == 3
    assert not (tmp_path / "ran").exists()
    torch.save({**held, "x": Runs()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"pytorch_model\.bin: a pickle .* --trust_pickle true"):
        frozen.load(tmp_path)
    assert not (tmp_path / "ran").exists()
    assert frozen.load(tmp_path, trust_pickle=True).layers == 3
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"model_type": "sew"},
            "config.json: model_type 'sew'; a teacher is hubert or wav2vec2 or",
        ),
        ({"model_type": "wavlm"}, "missing: encoder.layers.0.attention.gru_rel_pos_const"),
        ({"adapter_attn_dim": 16}, "config.json: adapter_attn_dim"),
        ({"conv_stride": [5, 2, 2, 2, 2, 2, 1]}, "config.json: .*stride of 160 samples"),
        ({"hidden_size": 64}, "do not fit the configuration: .*is .48,., must be .64,."),
        ({"num_hidden_layers": 4}, "missing: encoder.layers.3"),
        ({"num_hidden_layers": 2}, "left over: encoder.layers.2"),
        ({"hidden_size": "wide"}, "config.json: .*hidden_size"),
        ({"hidden_act": "geluu"}, "config.json: 'geluu' is nothing that transformers knows"),
    ],
)
def test_configurations_that_are_no_teacher(base, tmp_path, config, message):
    with pytest.raises(ConfigError, match=message):
        frozen.load(copy(base, tmp_path / "t", config))


@pytest.mark.parametrize("kind", [torch.int8, torch.float8_e4m3fn])
def test_quantised_parameters_are_no_numbers_of_a_model(base, tmp_path, kind):
    directory = copy(base, tmp_path / "t", {})
    held = load_file(directory / "model.safetensors")
    name = "feature_projection.projection.weight"
    save_file({**held, name: held[name].to(kind)}, directory / "model.safetensors")
    with pytest.raises(ConfigError, match=f"quantised .*: {name} holds {str(kind)[6:]}"):
        frozen.load(directory)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "preprocessor_config.json"])
def test_a_pointer_of_git_lfs_is_told_as_that(base, tmp_path, name):
    directory = copy(base, tmp_path / "t", {})
    (directory / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ConfigError, match=f"{name}: .*a pointer: get the file with git lfs pull"):
        frozen.load(directory)


def test_a_rate_in_quotes(base, tmp_path):
    directory = copy(base, tmp_path / "t", {})
    (directory / "preprocessor_config.json").write_text('{"sampling_rate": "16000"}')
    with pytest.raises(ConfigError, match="sampling_rate: '16000' is no number of Hz"):
        frozen.load(directory)


def test_a_model_named_by_its_config(base, tmp_path):
    directory = copy(base, tmp_path / "t", {})
    assert teacher_files.key_of(directory / "config.json") == teacher_files.key_of(directory)


def test_a_preprocessor_that_does_not_say_normalises_as_transformers_does(base, tmp_path):
    made = copy(base, tmp_path / "t")
    path = made / hub.PREPROCESSOR
    values = json.loads(path.read_text())
    del values["do_normalize"]
    path.write_text(json.dumps(values))
    theirs = Wav2Vec2FeatureExtractor.from_pretrained(made)
    assert frozen.load(made).normalize is theirs.do_normalize is True
    path.unlink()
    assert not frozen.load(made).normalize


def test_an_index_of_parameters_that_is_none(base, tmp_path):
    made = copy(base, tmp_path / "t")
    (made / "model.safetensors").rename(made / "model-1.safetensors")
    index = made / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    assert frozen.load(made).layers == 3
    index.write_text(json.dumps({"weight_map": {"a": "model-2.safetensors"}}))
    with pytest.raises(ConfigError, match=r"model-2\.safetensors: missing, though"):
        frozen.load(made)
    index.write_text("{}")
    with pytest.raises(ConfigError, match=r"index\.json: no index of"):
        frozen.load(made)


def test_its_file_of_parameters_is_the_directory(base, tmp_path):
    assert teacher_files.key_of(base[0] / "model.safetensors") == teacher_files.key_of(base[0])
    shutil.copy(base[0] / "model.safetensors", tmp_path)
    with pytest.raises(ConfigError, match=r"as its directory, with its config\.json"):
        frozen.load(tmp_path / "model.safetensors")


def test_another_sampling_rate(base, tmp_path):
    made = copy(base, tmp_path / "t", preprocessor={"sampling_rate": 8000})
    with pytest.raises(ConfigError, match="takes 8000 Hz; labels are made at 16000 Hz"):
        frozen.load(made)


def test_damaged_parameters(base, tmp_path):
    def spoilt(state):
        state["encoder.layer_norm.bias"][3] = float("nan")
        return state

    with pytest.raises(ConfigError, match=r"encoder\.layer_norm\.bias has NaN"):
        frozen.load(copy(base, tmp_path / "nan", state=spoilt))
    cut = copy(base, tmp_path / "cut")
    whole = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"model\.safetensors: damaged"):
        frozen.load(cut)
    (cut / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"no parameters there; looked for model\.safetensors"):
        frozen.load(cut)
    garbled = copy(base, tmp_path / "garbled")
    (garbled / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json: cannot be read"):
        frozen.load(garbled)


def test_sources_that_are_nothing(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="neither config.json"):
        frozen.load(tmp_path)
    with pytest.raises(ConfigError, match="no such file or directory; a teacher is"):
        frozen.load(tmp_path / "missing")

    def unreachable(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", unreachable)
    with pytest.raises(ConfigError, match="hub did not give it .*without network, copy the model"):
        frozen.load("nobody/nothing")


def test_a_cached_model_of_the_hub_needs_no_network(base, tmp_path, monkeypatch):
    cached = {f.name: str(f) for f in base[0].iterdir()}
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda _, file: cached.get(file))
    assert teacher_files.key_of("someone/hubert") == teacher_files.key_of(base[0])
    del cached[hub.PREPROCESSOR]  # never asked for: it may say do_normalize
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_: 1 / 0)
    with pytest.raises(
        ConfigError, match=rf"{base[0]} holds no {hub.PREPROCESSOR} and no .*give it"
    ):
        teacher_files.key_of("someone/hubert")


def test_all_files_of_a_model_are_asked_of_the_hub(base, tmp_path, monkeypatch):
    made = copy(base, tmp_path / "t")
    state = load_file(made / "model.safetensors")
    (made / "model.safetensors").unlink()
    (made / hub.PREPROCESSOR).rename(made / hub.PROCESSOR)
    torch.save(state, made / "a.bin")
    index = {"weight_map": dict.fromkeys(state, "a.bin")}
    (made / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    asked = []

    def fetch(_, file):
        asked.append(file)
        if not (made / file).exists():
            raise RemoteEntryNotFoundError("no such file", response=MagicMock())
        return str(made / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    assert teacher_files.key_of("someone/hubert") == teacher_files.key_of(made)
    assert {hub.PREPROCESSOR, hub.PROCESSOR, *hub.WEIGHTS, "a.bin"} <= set(asked)
    held = {f.name: str(f) for f in made.iterdir()} | {hub.PREPROCESSOR: object()}
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda _, file: held.get(file))
    asked.clear()
    teacher_files.key_of("someone/hubert")
    assert not asked
    (made / "a.bin").rename(made / "b.bin")  # of the cache's shards one is not there
    with pytest.raises(ConfigError, match="hub did not give it"):
        teacher_files.key_of("someone/hubert")
    assert asked


def own_experiment(directory, name="hubert", conf=BASE, normalize=False):
    """What training leaves, without training."""
    torch.manual_seed(3)
    model = students.build(name, conf).eval()
    directory.mkdir()
    config = {"student": name, "student_conf": conf, "collate_fn_conf": {"normalize": normalize}}
    (directory / "config.yaml").write_text(yaml.safe_dump(config | {"output_dir": "exp/x"}))
    state = {f"student.{k}": v for k, v in model.state_dict().items()}
    torch.save({**state, "head.embeddings": torch.zeros(3)}, directory / "ave.pth")
    experiment.write(directory, task="dice", model="ave.pth", parameters=1, seed=0, max_epoch=1)
    Fingerprint("train_dice", {}, {}).finish(directory)
    return directory, model


@pytest.mark.parametrize("normalize", [False, True])
def test_our_own_experiment_is_a_teacher(tmp_path, normalize):
    directory, model = own_experiment(tmp_path / "dice_a", normalize=normalize)
    mine = frozen.load(directory)
    assert mine.normalize is normalize
    speech = frozen.normalized(WAVES[0][None], None) if normalize else WAVES[0][None]
    with torch.no_grad(), onednn.worth_it(0):  # by the same kernels, for the same bits
        wanted = model(speech)[2][0]
    assert torch.equal(frozen.LayerFeatures(mine, 2).features(WAVES[0]), wanted)


@pytest.mark.parametrize("stem", [{"conv_dim": [8] * 7}, MEL], ids=["convolutions", "mel"])
def test_a_conv_student_is_a_teacher(tmp_path, stem):
    conf = {"hidden_size": 32, "num_hidden_layers": 2, "kernel_size": 7, **stem}
    directory, _ = own_experiment(tmp_path / "dice_c", "conv", conf)
    assert frozen.load(directory).layers == 2


def test_a_student_with_a_mel_stem_is_a_teacher(tmp_path):
    conf = {**MEL_BASE, "mel_norm": "corpus"}
    directory, model = own_experiment(tmp_path / "dice_m", conf=conf)
    mine = frozen.load(directory)
    with torch.no_grad():
        for wave, found in zip(WAVES, mine.hidden(WAVES), strict=True):
            for a, b in zip(found, model(wave[None]), strict=True):
                torch.testing.assert_close(a, b[0], rtol=0, atol=2e-5)


def test_an_experiment_that_is_not_whole(tmp_path):
    directory, _ = own_experiment(tmp_path / "dice_a")
    (directory / "ave.pth").write_bytes(b"other")
    with pytest.raises(StaleError, match="not the one that was trained"):
        frozen.load(directory)
    Fingerprint("train_dice", {}, {}).begin(directory)
    with pytest.raises(StaleError, match="never finished"):
        frozen.load(directory)


@pytest.fixture(scope="module")
def ssl1(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ssl1")
    return directory, espnet_checkpoints.ssl1(directory)


def test_an_experiment_and_its_model_are_the_same_teacher(ssl1):
    mine = frozen.load(ssl1[0])
    assert mine.normalize and mine.layers == 2
    assert teacher_files.key_of(ssl1[0] / "valid.loss.ave.pth") == mine.key


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("normalize", "utterance_mvn", "normalize: utterance_mvn; a teacher has null"),
        ("frontend", "default", "with frontend 'default'; a teacher has the encoder torchaudio"),
        ("preencoder", "sinc", "preencoder: sinc; a teacher has linear"),
        ("encoder", "rnn", "encoder"),
    ],
)
def test_espnet_models_that_are_no_teacher(ssl1, tmp_path, key, value, message):
    config = yaml.safe_load((ssl1[0] / "config.yaml").read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config | {key: value}))
    (tmp_path / "7epoch.pth").symlink_to(ssl1[0] / "valid.loss.ave.pth")
    with pytest.raises(ConfigError, match=message):
        frozen.load(tmp_path / "7epoch.pth")


def test_which_of_several_checkpoints(tmp_path, ssl1):
    (tmp_path / "config.yaml").write_text("encoder: conformer\n")
    for name in ("3epoch.pth", "4epoch.pth"):
        (tmp_path / name).symlink_to(ssl1[0] / "valid.loss.ave.pth")
    with pytest.raises(
        ConfigError, match=r"give the \.pth file itself; .*3epoch\.pth, 4epoch\.pth"
    ):
        frozen.load(tmp_path)


def test_an_encoder_that_espnet_does_not_know():
    with pytest.raises(ConfigError, match="encoder must be one of transformer.*, not 'mamba'"):
        students.build("espnet", {"encoder": "mamba"})


def test_normalisation_is_per_utterance():
    speech = torch.nn.utils.rnn.pad_sequence(WAVES, batch_first=True) + 0.5
    lengths = torch.tensor([len(w) for w in WAVES])
    found = frozen.normalized(speech, lengths)
    for row, n in zip(range(3), lengths.tolist(), strict=True):
        alone = speech[row, :n].double()
        wanted = (alone - alone.mean()) / (alone.var(unbiased=False) + 1e-7).sqrt()
        torch.testing.assert_close(found[row, :n].double(), wanted, rtol=0, atol=1e-5)
        assert not found[row, n:].any()
